use super::*;
use rustix::event::{EventfdFlags, eventfd};

#[test]
#[allow(clippy::disallowed_methods)] // A moment to count from.
fn a_thread_that_does_not_answer_is_stuck_until_it_does() {
    let pulse = Arc::new(Pulse::default());
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
    let mut pulses = Pulses::default();
    pulses.watch("tcp-0".to_owned(), Arc::clone(&pulse), Arc::clone(&wake));
    let begun = Instant::now();
    let after = |milliseconds| begun.checked_add(Duration::from_millis(milliseconds)).unwrap();
    let nobody = Vec::<String>::new();

    assert_eq!(pulses.check(begun), nobody);
    let mut count = [0; 8];
    rustix::io::read(&*wake, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1, "it was woken once");
    assert_eq!(pulses.check(after(2999)), nobody);
    assert_eq!(pulses.check(after(3000)), ["tcp-0"]);
    pulse.answer();
    assert_eq!(pulses.check(after(3500)), nobody);
    // Asked again then, and so with three seconds more.
    assert_eq!(pulses.check(after(6499)), nobody);
    assert_eq!(pulses.check(after(6500)), ["tcp-0"]);
}
