use super::*;
use fulcrum_config::preflight::State;
use serde_json::json;

/// Allowed, healthy, desired, expected; what its controller looked at.
fn budget(name: &str, [allowed, healthy, desired, expected]: [i32; 4], observed: i64) -> PodDisruptionBudget {
    let value = json!({
        "metadata": {"name": name, "namespace": "shop", "generation": 2},
        "status": {
            "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": desired,
            "expectedPods": expected, "observedGeneration": observed,
        },
    });
    serde_json::from_value(value).unwrap_or_default()
}

#[test]
fn those_that_allow_nothing_are_named_by_whether_health_would_help() {
    let budgets = [
        budget("well", [1, 3, 2, 3], 2),
        budget("strict", [0, 3, 3, 3], 2),
        budget("strict-and-ill", [0, 2, 3, 3], 2),
        budget("ill", [0, 2, 2, 3], 2),
        // An eviction is under way; no pods; not looked at yet; no controller.
        budget("busy", [0, 3, 2, 3], 2),
        budget("empty", [0, 0, 0, 0], 2),
        budget("new", [0, 3, 3, 3], 1),
        PodDisruptionBudget { status: None, ..budget("unseen", [0, 0, 0, 0], 2) },
    ];
    let lines = lines("cluster prod", &budgets);
    let told: Vec<_> = lines.iter().map(|line| (line.state, line.found.as_str())).collect();
    let [(State::Warning, never), (State::Warning, now)] = told[..] else { panic!("{told:?}") };
    assert!(
        never.ends_with(": shop/strict (needs 3 of 3 pods), shop/strict-and-ill (needs 3 of 3 pods)"),
        "{never}"
    );
    assert!(now.ends_with(": shop/ill (needs 2 pods, 2 healthy)"), "{now}");
}

#[test]
fn good_ones_are_counted_and_of_many_bad_ones_some_are_named() {
    let said = |budgets: &[PodDisruptionBudget]| lines("cluster prod", budgets).remove(0);
    assert_eq!(said(&[]).state, State::Ok);
    assert!(said(&[budget("well", [1, 3, 2, 3], 2)]).found.contains("each of its 1"));
    let many: Vec<_> = (0..12).map(|place| budget(&format!("b{place}"), [0, 1, 1, 1], 2)).collect();
    assert!(said(&many).found.ends_with("shop/b4 (needs 1 of 1 pods) and 7 more"), "{}", said(&many).found);
}
