use super::*;

#[test]
fn only_a_score_below_zero_is_protection() {
    for (score, expected) in [("-900\n", true), ("-1\n", true), ("0\n", false), ("500\n", false), ("", false)]
    {
        assert_eq!(is_protected(score), expected, "{score:?}");
    }
}

#[tokio::test]
async fn a_process_begins_with_the_score_and_so_does_what_it_starts() {
    let mut command = Command::new("sh");
    command.args(["-c", "cat /proc/$$/oom_score_adj /proc/self/oom_score_adj"]);
    // To go below one's own score takes a capability that the tests may lack.
    begin_with_score(&mut command, b"993");
    let output = command.output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "993\n993\n");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_ne!(own.trim(), "993", "this process keeps its own");
}
