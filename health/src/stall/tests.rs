use super::*;

#[test]
fn only_what_is_lost_while_watching_counts() {
    #[allow(clippy::disallowed_methods)] // Any moment will do.
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut stall = Stall::new(start);
    for (now, watching, lost) in [
        (50, true, 0),
        // A little late is no stall.
        (149, true, 0),
        (1149, true, 950),
        // Asleep because nothing was to be done.
        (9149, false, 950),
        (9199, true, 950),
        (9399, true, 1100),
    ] {
        stall.handle_tick(watching, at(now));
        assert_eq!(stall.lost(), Duration::from_millis(lost), "at {now}");
        assert_eq!(stall.poll_timeout(), at(now) + TICK);
    }
}
