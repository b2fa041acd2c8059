use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

const MANY: u64 = BULK_AFTER;

#[test]
fn only_bulk_is_spliced() {
    let mut bulk = Bulk::default();
    for _ in 0..100 {
        bulk.handle_copy(MANY, 1_000, true);
    }
    assert!(!bulk.wants_splice(), "many small messages are no bulk");
    for _ in 0..100 {
        bulk.handle_copy(LARGE as u64, LARGE, true);
    }
    assert!(!bulk.wants_splice(), "too little so far");
    for _ in 0..LARGE_READS {
        assert!(!bulk.wants_splice());
        bulk.handle_copy(MANY, LARGE, true);
    }
    assert!(bulk.wants_splice());
}

#[test]
fn small_reads_end_it() {
    let mut bulk = Bulk::default();
    (0..LARGE_READS).for_each(|_| bulk.handle_copy(MANY, LARGE, true));
    (1..SMALL_READS).for_each(|_| bulk.handle_splice(100));
    bulk.handle_splice(LARGE);
    assert!(bulk.wants_splice(), "one large read among them begins the count anew");
    (0..SMALL_READS).for_each(|_| bulk.handle_splice(100));
    assert!(!bulk.wants_splice());
}

#[test]
fn a_slow_receiver_does_not_hide_bulk() {
    let mut bulk = Bulk::default();
    for _ in 0..LARGE_READS {
        bulk.handle_copy(MANY, LARGE, false);
        assert!(bulk.is_slow());
        bulk.handle_copy(MANY, 8_192, true);
        assert!(!bulk.is_slow());
    }
    assert!(bulk.wants_splice());
}

#[test]
fn pipes_are_bounded_and_never_reused_with_bytes_in_them() {
    let mut pipes = Pipes::new(2);
    let (mut first, second) = (pipes.take().unwrap(), pipes.take().unwrap());
    assert!(pipes.take().is_none(), "both are in use");
    let (mut near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    assert_eq!(first.fill(&far), Ok(None));
    near.write_all(b"left behind").unwrap();
    assert_eq!(first.fill(&far), Ok(Some(11)));
    pipes.give_back(first);
    pipes.give_back(second);
    let (empty, made_anew) = (pipes.take().unwrap(), pipes.take().unwrap());
    assert_eq!((empty.held, made_anew.held), (0, 0));
    near.write_all(b"new").unwrap();
    let mut pipe = made_anew;
    assert_eq!(pipe.fill(&far), Ok(Some(3)));
    let (mut out, into) = UnixStream::pair().unwrap();
    assert_eq!(pipe.drain(&into), Ok(Some(3)));
    drop(into);
    let mut got = Vec::new();
    out.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"new");
}
