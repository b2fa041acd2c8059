use super::*;
use std::sync::mpsc;

/// A thread that holds a lock until it is told to end, in one way or another.
fn noticed(end: impl FnOnce(Life) + Send + 'static) -> bool {
    let (send, receive) = mpsc::channel();
    let holder = std::thread::spawn(move || {
        let (life, memory) = Life::hold().unwrap();
        send.send(memory).unwrap();
        end(life);
    });
    let memory = receive.recv().unwrap();
    let dead = wait_for_death(&memory).unwrap();
    holder.join().unwrap();
    dead
}

#[test]
fn a_thread_that_ends_with_the_lock_is_noticed() {
    assert!(noticed(std::mem::forget));
}

#[test]
fn letting_go_is_no_death() {
    assert!(!noticed(drop));
}
