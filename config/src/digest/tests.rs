use super::*;

fn digest(text: &str) -> SharedDigest {
    let (document, faults) = Document::read(text);
    assert!(faults.is_empty(), "{faults:?}");
    shared(&document, &Allocations::default(), &Overrides::default(), &Fragments::default())
}

const FILE: &str = "\
node: lb-1
nodes:
  lb-1: {addresses: [10.0.0.11]}
  lb-2: {addresses: [10.0.0.12], priority: 90}
admin: {socket: /run/one.sock}
";

#[test]
fn what_is_each_nodes_own_does_not_count() {
    let other = FILE.replace("node: lb-1\n", "").replace("/run/one.sock", "/run/two.sock");
    assert_eq!(digest(FILE), digest(&other));
    assert_eq!(digest(FILE), digest(&format!("{FILE}peer: {{key: /etc/other.key}}\n")));
}

#[test]
fn order_quotes_and_comments_do_not_count() {
    let other = "\
# Another hand.
nodes:
  lb-2:
    priority: \"90\"
    addresses:
      - 10.0.0.12   # the second
  lb-1: {addresses: [\"10.0.0.11\"]}
";
    assert_eq!(digest(FILE), digest(other));
}

#[test]
fn everything_else_counts() {
    let mut all = vec![digest(FILE)];
    for other in [
        FILE.replace("90", "91"),
        FILE.replace("10.0.0.12", "10.0.0.13"),
        FILE.replace("lb-2", "lb-3"),
        FILE.replace(", priority: 90", ""),
        FILE.replace("[10.0.0.11]", "[10.0.0.11, 10.0.1.11]"),
        format!("{FILE}peer: {{port: 4748}}\n"),
        format!("{FILE}peer: {{port: 4748, heartbeat: 20ms}}\n"),
        format!("{FILE}services: {{}}\n"),
    ] {
        let digest = digest(&other);
        assert!(!all.contains(&digest), "{other}");
        all.push(digest);
    }
}

#[test]
fn the_order_of_a_list_counts() {
    assert_ne!(digest("backends: [a, b]"), digest("backends: [b, a]"));
    assert_ne!(digest("backends: [ab, c]"), digest("backends: [a, bc]"));
}
