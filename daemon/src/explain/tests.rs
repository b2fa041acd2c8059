use super::*;

fn backend(name: &str, state: &str, backup: bool) -> serde_json::Value {
    serde_json::json!({
        "name": name, "address": "10.1.0.1:80", "state": state, "reason": "because", "since_seconds": 1, "weight": 1.0,
        "backup": backup, "connections": 0, "stats": {},
    })
}

fn of_backends(backends: &[serde_json::Value]) -> Vec<String> {
    let described: Service = serde_json::from_value(serde_json::json!({
        "name": "web", "group": "g", "vips": [], "protocol": "tcp", "ports": "80", "mode": "proxy", "mode_reason": "why",
        "up": true, "connections": 0, "stats": {}, "errors": [], "backends": backends,
    }))
    .unwrap();
    service(&described).into_iter().filter(|step| step.about == "backend").map(|step| step.text).collect()
}

#[test]
fn each_backend_takes_traffic_or_has_a_reason_why_not() {
    let told =
        of_backends(&[backend("a", "up", false), backend("b", "down", false), backend("c", "up", true)]);
    assert_eq!(
        told,
        [
            "new connections go to a (10.1.0.1:80)",
            "none go to b (10.1.0.1:80), which is down: because",
            "none go to c (10.1.0.1:80), which is up: it is a backup, and others are up",
        ]
    );
    let told = of_backends(&[backend("b", "draining", false), backend("c", "up", true)]);
    assert_eq!(told[0], "new connections go to c (10.1.0.1:80)");
    assert_eq!(of_backends(&[backend("b", "down", false)])[0], "no backend takes new connections");
}

#[test]
fn names_that_begin_or_end_alike_are_near() {
    assert!(likeness("shop", "shopp") > likeness("mail", "shopp"));
    assert!(likeness("10.0.0.101", "10.0.0.10") > likeness("10.1.0.5", "10.0.0.10"));
}
