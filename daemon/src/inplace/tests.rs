use super::Estate;
use super::channel::Channel;
use super::estate::LOCK;
use super::message::{AT_A_TIME, PROTOCOL, Word};
use fulcrum_config::Protocol;
use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};

fn both() -> (Channel, Channel) {
    let (ours, theirs) = Channel::pair().unwrap();
    (ours, Channel::of(theirs).unwrap())
}

#[test]
fn whole_messages_arrive_with_their_files() {
    let (ours, theirs) = both();
    let mut file = tempfile::tempfile().unwrap();
    let names: Vec<String> = (0..AT_A_TIME).map(|number| format!("tcp [2001:db8::1]:{number}")).collect();
    let files: Vec<_> = names.iter().map(|_| file.as_fd()).collect();
    ours.send(&Word::Hello { protocol: PROTOCOL, version: "1.2.3".to_owned() }, &[]).unwrap();
    ours.send(&Word::Files { names: names.clone() }, &files).unwrap();
    file.write_all(b"the same").unwrap();
    drop(ours);
    let (word, none) = theirs.receive(None).unwrap().unwrap();
    assert_eq!((word, none.len()), (Word::Hello { protocol: PROTOCOL, version: "1.2.3".to_owned() }, 0));
    let (word, files) = theirs.receive(None).unwrap().unwrap();
    assert_eq!((word, files.len()), (Word::Files { names }, AT_A_TIME));
    let mut same = std::fs::File::from(files.into_iter().next().unwrap());
    let mut text = String::new();
    same.rewind().unwrap();
    same.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the same");
    assert!(theirs.receive(None).unwrap().is_none(), "the other end is closed");
}

#[test]
fn who_says_nothing_is_not_waited_for_and_nonsense_is_an_error() {
    let (ours, theirs) = both();
    #[allow(clippy::disallowed_methods, reason = "a deadline that is over")]
    let now = std::time::Instant::now();
    let error = theirs.receive(Some(now)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    rustix::net::send(&ours, b"{\"unheard-of\":1}", rustix::net::SendFlags::empty()).unwrap();
    assert!(theirs.receive(None).is_err());
}

/// A group's name may be 63 bytes long; so may be every name of a message.
#[test]
fn the_longest_message_fits() {
    let groups: BTreeMap<String, u64> =
        (0..AT_A_TIME).map(|number| (format!("{number:063}"), u64::MAX)).collect();
    let (ours, theirs) = both();
    ours.send(&Word::Led { groups: groups.clone() }, &[]).unwrap();
    assert_eq!(theirs.receive(None).unwrap().unwrap().0, Word::Led { groups });
}

#[test]
fn what_is_lent_is_there_under_its_name_and_what_is_left_is_closed() {
    let (old, new) = (Estate::default(), Estate::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    old.lb.put(Protocol::Tcp, address, listener.into());
    old.lb.put(Protocol::Udp, address, OwnedFd::from(tempfile::tempfile().unwrap()));
    old.keep(LOCK, tempfile::tempfile().unwrap());
    let lent = old.lend().unwrap();
    let names: Vec<&str> = lent.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [&format!("tcp {address}"), &format!("udp {address}"), LOCK]);
    for (name, file) in lent {
        new.receive(&name, file);
    }
    let mut taken = new.lb.take_all();
    taken.sort_by_key(|(protocol, ..)| *protocol);
    assert_eq!(taken.len(), 2);
    let listener = TcpListener::from(taken.into_iter().find(|it| it.0 == Protocol::Tcp).unwrap().2);
    assert_eq!(listener.local_addr().unwrap(), address);
    assert!(new.inherit(LOCK).is_some() && new.inherit(LOCK).is_none());
    assert!(!old.is_left());
    old.leave();
    assert!(old.is_left());
    assert_eq!(old.lend().unwrap().len(), 0);
}
