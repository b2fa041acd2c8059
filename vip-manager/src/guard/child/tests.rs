use super::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

const PATIENCE: Duration = Duration::from_millis(300);

#[test]
fn a_guard_that_did_not_run_does_not_resign_for_a_daemon_that_did() {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let mut child = Child::new(theirs.as_fd()).unwrap();
    let mut buffer = vec![0; MAX_BYTES];
    let tell = |message: &ToGuard| {
        send(&ours, &message.encode().unwrap(), SendFlags::empty()).unwrap();
    };
    let orders = Orders {
        resignations: Vec::new(),
        addresses: Vec::new(),
        devices: Vec::new(),
        down_interval: PATIENCE,
    };
    ToGuard::group("web", Some(&orders)).iter().for_each(tell);
    let begun = child.last_beat;
    // The daemon says until a moment later that it runs, and the guard knows the time only then.
    let moment = begun.saturating_add(PATIENCE.saturating_mul(5));
    let clock = || {
        tell(&ToGuard::Beat { at_nanoseconds: u64::try_from(moment.as_nanos()).unwrap() });
        moment
    };
    assert_eq!(child.look(&mut buffer, clock), Some(Vec::new()));
    let silent = moment.saturating_add(PATIENCE);
    assert_eq!(child.look(&mut buffer, || silent - Duration::from_nanos(1)), Some(Vec::new()));
    assert_eq!(child.look(&mut buffer, || silent), Some(vec!["web".to_owned()]));
    drop(ours);
    assert_eq!(child.look(&mut buffer, || silent), None);
}
