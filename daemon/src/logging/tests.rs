use super::*;

#[test]
fn a_full_queue_leaves_lines_out_and_says_so() {
    let (queue, lines) = Queue::new(2, 1);
    let waiting = Arc::clone(&queue.waiting);
    for n in 0..5 {
        queue.make_writer().write_all(format!("line {n}\n").as_bytes()).expect("memory");
    }
    // The place that is kept for it.
    queue.line(queue.all).write_all(b"who did what\n").expect("memory");
    drop(queue);
    let mut written = Vec::new();
    write(&lines, &waiting, &mut written);
    let written = String::from_utf8(written).expect("text");
    assert_eq!(
        written,
        "3 log lines were left out: they came faster than they were read\nline 0\nline 1\nwho did what\n"
    );
    assert_eq!(waiting.load(Ordering::Relaxed), 0);
}

#[test]
fn who_did_what_is_logged_whatever_else_is() {
    for wanted in [None, Some("warn"), Some("off"), Some("error,fulcrum_lb=debug"), Some("")] {
        let (filter, mistake) = filter(wanted.map(OsStr::new));
        assert!(filter.to_string().contains("audit=info"), "{wanted:?}: {filter}");
        assert_eq!(mistake, None, "{wanted:?}");
    }
}

#[test]
fn a_mistyped_level_is_told() {
    for wanted in ["wran", "fulcrum_lb=debgu", "warn,degub"] {
        let (filter, mistake) = filter(Some(OsStr::new(wanted)));
        assert!(mistake.is_some_and(|mistake| mistake.contains(wanted)), "{wanted}");
        assert!(filter.to_string().contains("info"), "{filter}");
    }
}
