use super::*;
use crate::parse;

/// A node's own file of a pair that both have.
fn file(node: &str, own: &str, port: u16) -> String {
    format!(
        "{own}node: {node}\nnodes:\n  lb1: {{addresses: [10.0.0.11], keys: [\"{}\"]}}\n  lb2: \
         {{addresses: [10.0.0.12], keys: ['{}']}}\ninterfaces: {{eth0: {{networks: [10.0.0.0/24]}}}}\n# A \
         comment.\ngroups: {{web: {{vrid: 51, vips: [10.0.0.100]}}}}\nservices:\n  http: {{vip: 10.0.0.100, port: \
         {port}, backends: [10.0.0.21:80], check: none}}\n",
        pin(1),
        pin(2),
    )
}

fn pin(number: u8) -> crate::KeyPin {
    crate::KeyPin::new([number; 32])
}

#[test]
fn what_is_shared_is_the_others_and_what_is_own_stays() {
    let theirs = file("lb1", "admin: {socket: /run/lb1.sock}\npeer: {key: /etc/lb1.key, port: 4800}\n", 81);
    let own = file("lb2", "admin: {socket: /run/lb2.sock}\npeer:\n  key: /etc/lb2.key\n", 80);
    let adopted = adopt(&theirs, &own).unwrap();
    let adopted = parse(&adopted, "adopted", "host").unwrap().config;
    let (theirs, own) =
        (parse(&theirs, "theirs", "host").unwrap().config, parse(&own, "own", "host").unwrap().config);
    assert_eq!(adopted.shared, theirs.shared);
    assert_eq!((&adopted.node, &adopted.admin, &adopted.peer.key), (&own.node, &own.admin, &own.peer.key));
    assert_eq!((&adopted.services, adopted.peer.port), (&theirs.services, 4800));
}

#[test]
fn what_only_the_other_has_of_its_own_goes() {
    let theirs = file("lb1", "admin: {socket: /run/lb1.sock}\npeer: {key: /etc/lb1.key}\n", 81);
    let own = file("lb2", "", 80);
    let adopted = parse(&adopt(&theirs, &own).unwrap(), "adopted", "host").unwrap().config;
    let own = parse(&own, "own", "host").unwrap().config;
    assert_eq!((&adopted.node, &adopted.admin, &adopted.peer), (&own.node, &own.admin, &own.peer));
    // And the other way round.
    let back = parse(&adopt(&file("lb2", "", 80), &theirs).unwrap(), "adopted", "host").unwrap().config;
    assert_eq!(back.peer.key.to_str(), Some("/etc/lb1.key"));
}

#[test]
fn what_is_no_map_is_refused() {
    for text in ["[", "- a", "", "plain"] {
        assert!(adopt(text, "node: lb2").is_err(), "{text:?}");
    }
}
