//! Services of clusters that have objects of MetalLB.

use super::*;

/// An `IPAddressPool` whose `spec` has this.
fn pool(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {{name: {name}, namespace: metallb-system}}\nspec: {{{spec}}}\n"
    )
}

fn advertisement(spec: &str) -> String {
    format!(
        "apiVersion: metallb.io/v1beta1\nkind: L2Advertisement\nmetadata: {{name: all, namespace: metallb-system}}\nspec: {{{spec}}}\n"
    )
}

fn metallb() -> World {
    World::new().cluster("metallb: true")
}

fn with(pools: &[(&str, &str)]) -> World {
    let world = metallb().with(&advertisement(""));
    pools.iter().fold(world, |world, (name, spec)| world.with(&pool(name, spec)))
}

fn named(pool: &str) -> String {
    format!("metallb.io/address-pool: {pool}")
}

fn within(world: &World) -> Json {
    world.service()["vip"]["within"].clone()
}

const A: (&str, &str) = ("a", "addresses: [10.0.1.16/30]");
const B: (&str, &str) = ("b", "addresses: [10.0.1.32-10.0.1.39, \"2001:db8::1:0/124\"]");
const OF_A: &str = "10.0.1.16-10.0.1.19";
const OF_B: [&str; 2] = ["10.0.1.32-10.0.1.39", "2001:db8::1:0-2001:db8::1:f"];

#[test]
fn without_its_objects_the_files_pools_hold_alone() {
    let vip = json!({ "families": ["ipv4"] });
    assert_eq!(World::new().with(&pool(A.0, A.1)).service()["vip"], vip, "it is not asked for");
    assert_eq!(metallb().service()["vip"], vip, "there are no such objects");
    assert_eq!(metallb().annotation(&named("inside")).service()["vip"]["pool"], "inside");
}

#[test]
fn a_service_that_names_no_pool_gets_those_that_are_for_all() {
    let world = with(&[A, B, ("named", "addresses: [10.0.1.64/28], autoAssign: false")]);
    assert_eq!(world.service()["vip"]["within"], json!([OF_A, OF_B[0], OF_B[1]]));
    assert_eq!(within(&world.annotation(&named("named"))), json!(["10.0.1.64-10.0.1.79"]));
}

#[test]
fn pools_that_are_for_it_come_first_by_their_priority() {
    let of = |spec: &str| format!("addresses: [{spec}");
    let allocation = |more: &str| format!(", serviceAllocation: {{{more}}}");
    let last = of("10.0.1.1/32]") + &allocation("namespaces: [shop]");
    let first =
        of("10.0.1.2/32]") + &allocation("priority: 1, serviceSelectors: [{matchLabels: {tier: front}}]");
    let second =
        of("10.0.1.3/32]") + &allocation("priority: 20, namespaceSelectors: [{matchLabels: {team: web}}]");
    let others = of("10.0.1.4/32]") + &allocation("priority: 1, namespaces: [other]");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: web}}\n";
    let pools = [A, ("last", &last), ("first", &first), ("second", &second), ("others", &others)];
    let single = |last: u8| format!("10.0.1.{last}-10.0.1.{last}");
    let world = with(&pools).with(namespace);
    assert_eq!(within(&world), json!([single(2), single(3), single(1), OF_A]));
    let world = with(&pools).with(&namespace.replace("web", "mail"));
    assert_eq!(within(&world), json!([single(2), single(1), OF_A]));
    let problem = with(&pools).annotation(&named("others")).problem();
    assert_eq!(problem.reason, "NoPoolForIt", "{}", problem.message);
    let problem = with(&[("others", &others)]).problem();
    assert_eq!(problem.reason, "NoPoolForIt", "{}", problem.message);
}

#[test]
fn a_pool_that_can_not_be_read_costs_those_who_name_it_and_nobody_else() {
    let bad = ("bad", "addresses: [10.0.1.9-10.0.1.1]");
    assert_eq!(within(&with(&[A, bad])), json!([OF_A]));
    let remarks = with(&[A, bad]).translate().remarks;
    assert!(remarks.iter().any(|it| it.contains("the IPAddressPool metallb-system/bad can't be used")));
    let problem = with(&[A, bad]).annotation(&named("bad")).problem();
    assert_eq!(problem.reason, "BadPool");
    assert!(problem.message.contains("10.0.1.9-10.0.1.1"), "{}", problem.message);
}

#[test]
fn a_pool_that_only_the_file_has_is_named_as_ever() {
    assert_eq!(
        with(&[A]).annotation(&named("inside")).service()["vip"],
        json!({ "families": ["ipv4"], "pool": "inside" })
    );
    let problem = with(&[A]).annotation(&named("nowhere")).problem();
    assert_eq!(problem.reason, "NoSuchPool");
    assert!(problem.message.contains("no IPAddressPool and no pool `nowhere`"), "{}", problem.message);
}

#[test]
fn a_wished_address_must_be_of_a_pool_that_is_for_it() {
    let asks = |address: &str| format!("metallb.io/loadBalancerIPs: \"{address}\"");
    let named_only = ("named", "addresses: [10.0.1.64/28], autoAssign: false, avoidBuggyIPs: true");
    let vip = with(&[A, named_only]).annotation(&asks("10.0.1.70")).service()["vip"].clone();
    assert_eq!(vip, json!({ "families": ["ipv4"], "address": "10.0.1.70" }));
    let both = format!("{}, {}", asks("10.0.1.70"), named("named"));
    assert_eq!(with(&[A, named_only]).annotation(&both).service()["vip"], vip);
    for wrong in [asks("10.0.1.200"), format!("{}, {}", asks("10.0.1.70"), named("a"))] {
        let problem = with(&[A, named_only]).annotation(&wrong).problem();
        assert_eq!(problem.reason, "AddressOfNoPool", "{}", problem.message);
    }
    let buggy = ("buggy", "addresses: [10.0.1.240/28], avoidBuggyIPs: true");
    assert_eq!(with(&[buggy]).annotation(&asks("10.0.1.255")).problem().reason, "AddressOfNoPool");
}

#[test]
fn addresses_that_end_in_0_or_255_are_avoided() {
    let buggy = ("buggy", "addresses: [10.0.0.250-10.0.1.9], avoidBuggyIPs: true");
    let world = with(&[buggy]);
    assert_eq!(within(&world), json!(["10.0.0.250-10.0.0.254", "10.0.1.1-10.0.1.9"]));
}

#[test]
fn what_nothing_announces_is_not_served() {
    let problem = metallb().with(&pool(A.0, A.1)).with(&advertisement("ipAddressPools: [b]")).problem();
    assert_eq!(problem.reason, "NotAdvertised");
    assert!(problem.message.contains("ipAddressPools: [a]"), "{}", problem.message);
    // The other one is.
    let world =
        metallb().with(&pool(A.0, A.1)).with(&pool(B.0, B.1)).with(&advertisement("ipAddressPools: [b]"));
    assert_eq!(within(&world), json!(OF_B));
    let elsewhere = advertisement("").replace("metallb-system", "elsewhere");
    assert_eq!(metallb().with(&pool(A.0, A.1)).with(&elsewhere).problem().reason, "NotAdvertised");
    // Nobody could reach it there, so it is not served there either.
    let world =
        metallb().with(&pool(A.0, A.1)).with(&pool(B.0, B.1)).with(&advertisement("ipAddressPools: [b]"));
    assert_eq!(world.said("10.0.1.17").problem().reason, "NotAdvertised");
    // A cluster that does not know advertisements announces all.
    assert_eq!(within(&metallb().with(&pool(A.0, A.1))), json!([OF_A]));
    let on_nodes = metallb().with(&pool(A.0, A.1)).with(&advertisement("interfaces: [eth1]")).translate();
    assert!(on_nodes.remarks.iter().any(|it| it.contains("no meaning here")), "{:?}", on_nodes.remarks);
    assert_eq!(on_nodes.outcomes[&web()].notes, [""; 0]);
}

#[test]
fn ranges_that_the_file_does_not_grant_are_told_with_the_line_that_would() {
    let problem = with(&[("out", "addresses: [10.0.7.0/28, 10.0.8.1-10.0.8.9]")]).problem();
    assert_eq!(problem.reason, "NotGranted");
    let line = "`out: {addresses: [\"10.0.7.0-10.0.7.15\", \"10.0.8.1-10.0.8.9\"]}`";
    assert!(problem.message.contains(line), "{}", problem.message);
    let problem = with(&[("inside", "addresses: [10.0.7.0/28]")]).problem();
    assert!(problem.message.contains("of pool `inside` there"), "{}", problem.message);
}

#[test]
fn what_another_gave_it_is_preferred_as_long_as_it_has_nothing_of_ours() {
    // Whether there are objects of MetalLB or not.
    assert_eq!(
        World::new().said("10.0.1.17").service()["vip"],
        json!({ "families": ["ipv4"], "prefer": ["10.0.1.17"] })
    );
    let world = with(&[A]).said("10.0.1.17");
    assert_eq!(
        world.service()["vip"],
        json!({ "families": ["ipv4"], "within": [OF_A], "prefer": ["10.0.1.17"] })
    );
    // It asks for another one.
    let asks = World::new().said("10.0.1.17").spec("loadBalancerIP: 10.0.1.99").service()["vip"].clone();
    assert_eq!(asks, json!({ "families": ["ipv4"], "address": "10.0.1.99" }));
    // It has one of ours.
    let held = World::new().said("10.0.1.17").held("10.0.1.18");
    assert_eq!(held.service()["vip"], json!({ "families": ["ipv4"] }));
    let had = &held.translate().outcomes[&web()].had;
    assert!(had[0].0.to_string() == "10.0.1.17" && had[0].1.contains("another service has it"), "{had:?}");
    // A name is no address, and one of another family is not taken.
    assert_eq!(World::new().said("2001:db8::1:7").service()["vip"], json!({ "families": ["ipv4"] }));
}

#[test]
fn what_a_service_has_it_keeps_whatever_becomes_of_pools_that_it_does_not_name() {
    for world in [with(&[A]).held("10.0.1.77"), with(&[A]).said("10.0.1.77")] {
        assert_eq!(within(&world), json!(["10.0.1.77-10.0.1.77", OF_A]));
        let notes = world.translate().outcomes[&web()].notes.clone();
        assert!(notes[0].contains("it keeps 10.0.1.77"), "{notes:?}");
    }
    // What no pool of the file has it can't keep.
    assert_eq!(within(&with(&[A]).said("10.0.9.9")), json!([OF_A]));
    assert_eq!(with(&[A]).said("10.0.9.9").translate().outcomes[&web()].notes, [""; 0]);
    let within_them = with(&[A]).held("10.0.1.17");
    assert_eq!(within(&within_them), json!([OF_A]));
    assert_eq!(within_them.translate().outcomes[&web()].notes, [""; 0]);
    let none_left = with(&[("others", "addresses: [10.0.1.0/28], autoAssign: false")]).held("10.0.1.77");
    assert_eq!(within(&none_left), json!(["10.0.1.77-10.0.1.77"]));
    // Who names another pool asks for another address.
    assert_eq!(within(&with(&[A]).annotation(&named("a")).held("10.0.1.77")), json!([OF_A]));
}

#[test]
fn who_is_not_served_for_now_keeps_the_place_of_its_address() {
    let world = metallb().with(&pool(A.0, A.1)).with(&advertisement("ipAddressPools: [b]"));
    let translate = |world: World| {
        let config = world.config();
        let cluster = config.kubernetes.values().next().unwrap();
        translate(cluster, &config, &world.read())
    };
    let translation = translate(world.held("10.0.1.17"));
    assert_eq!(translation.outcomes[&web()].problem.as_ref().map(|it| it.reason), Some("NotAdvertised"));
    let services = parsed(&translation);
    let place = &services["prod/shop/web:http"];
    assert!(place["NotAdvertised"].as_str().is_some_and(|it| it.contains("L2Advertisement")), "{place}");
    // Once it is deleted, it is given back.
    let gone = with(&[A]).object("uid: 7d0c", "deletionTimestamp: \"2026-11-21T00:00:00Z\"\n  uid: 7d0c");
    assert_eq!(&*translate(gone.held("10.0.1.17")).fragment, "");
    // Its own address is of no pool that is silent.
    let elsewhere = metallb().with(&pool(A.0, A.1)).with(&advertisement("ipAddressPools: [b]"));
    assert_eq!(within(&elsewhere.held("10.0.1.77")), json!(["10.0.1.77-10.0.1.77"]));
}

#[test]
fn one_address_of_each_family_can_be_wished_for() {
    let dual = || {
        with(&[A, B])
            .object("ipFamilies: [IPv4]", "ipFamilies: [IPv4, IPv6]")
            .object("ipFamilyPolicy: SingleStack", "ipFamilyPolicy: RequireDualStack")
    };
    let world = dual().annotation("metallb.io/loadBalancerIPs: \"10.0.1.33,2001:db8::1:7\"");
    let vip = world.service()["vip"].clone();
    assert_eq!(vip["within"], json!(["10.0.1.33-10.0.1.33", "2001:db8::1:7-2001:db8::1:7"]));
    // Of one pool.
    let world = dual().annotation("metallb.io/loadBalancerIPs: \"10.0.1.17,2001:db8::1:7\"");
    assert_eq!(world.problem().reason, "AddressOfNoPool");
    // Preferred families are those that its pools have.
    let prefers = with(&[A])
        .object("ipFamilies: [IPv4]", "ipFamilies: [IPv4, IPv6]")
        .object("ipFamilyPolicy: SingleStack", "ipFamilyPolicy: PreferDualStack");
    assert_eq!(prefers.service()["vip"]["families"], json!(["ipv4"]));
}

#[test]
fn many_ranges_are_cut_and_what_it_has_is_among_them() {
    let many: Vec<String> = (0..40).map(|number| format!("10.0.1.{}/32", 10 + 2 * number)).collect();
    let spec = format!("addresses: [{}]", many.join(", "));
    let world = with(&[("many", &spec)]).held("10.0.1.88");
    let within = within(&world);
    assert_eq!(within.as_array().map(Vec::len), Some(33));
    assert_eq!(within[0], "10.0.1.88-10.0.1.88");
    let notes = &world.translate().outcomes[&web()].notes;
    assert!(notes.len() == 1 && notes[0].contains("the first 32 ranges"), "{notes:?}");
}
