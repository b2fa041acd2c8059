//! The demo tells its story to the end. The pair's is not tried here: what it shows has tests of its own.

use fulcrum_tests::Result;
use fulcrum_tests::lab::output;

#[test]
fn the_demo_of_kubernetes_goes_from_kubectl_apply_to_an_answer_and_on_without_leader_and_api() -> Result<()> {
    let demo = env!("CARGO_BIN_EXE_fulcrum-demo");
    let told = output("timeout", &["--kill-after=10", "240", demo, "--kubernetes", "--no-wait"])?;
    let steps = [
        "$ kubectl apply",
        "its status says 10.77.0.1",
        "the first answer",
        "is killed, as by a power cut",
        "answers on: no VIP depends on the cluster",
        "is back in its pool, and then the Service is gone",
    ];
    let mut rest = told.as_str();
    for step in steps {
        let found = rest.split_once(step);
        assert!(found.is_some(), "`{step}` is not told, or not in its place:\n{told}");
        rest = found.map_or("", |(_, rest)| rest);
    }
    Ok(())
}
