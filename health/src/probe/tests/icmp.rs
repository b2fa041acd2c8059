use super::*;

#[tokio::test]
async fn this_machine_answers() {
    for address in ["127.0.0.1:0", "127.1.2.3:80", "[::1]:0", "[::1]:443"] {
        assert_eq!(run(address.parse().unwrap(), CheckKind::Icmp).await, Outcome::Passed, "{address}");
    }
}

#[tokio::test]
async fn thousands_of_targets_share_a_socket() {
    let tools = std::sync::Arc::new(Tools::default());
    let mut probes = tokio::task::JoinSet::new();
    for n in 0..4000u32 {
        let tools = std::sync::Arc::clone(&tools);
        let address = (std::net::Ipv4Addr::from(0x7f01_0000 + n), 0).into();
        let mut target = target(address, CheckKind::Icmp);
        std::sync::Arc::make_mut(&mut target.check).timeout = Duration::from_secs(30);
        probes.spawn(async move { probe(&target, &tools).await });
    }
    let outcomes = probes.join_all().await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Passed));
}

#[tokio::test]
async fn two_engines_on_one_machine_do_not_take_each_others_answers() {
    let (one, two) = (Tools::default(), Tools::default());
    let target = target("127.0.0.1:0".parse().unwrap(), CheckKind::Icmp);
    for _ in 0..100 {
        let (first, second) = tokio::join!(probe(&target, &one), probe(&target, &two));
        assert_eq!((first, second), (Outcome::Passed, Outcome::Passed));
    }
}
