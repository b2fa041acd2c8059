use super::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// A socket of ours and the other end of it.
fn pair() -> (Side, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    (Side::new(socket.into(), true), peer)
}

/// Waits for what only the kernel knows of as yet. ERR and HUP come unasked.
fn wait_for(side: &Side, wanted: PollFlags) {
    let mut polled = [PollFd::new(side, wanted)];
    assert_eq!(poll(&mut polled, Some(&PATIENCE)), Ok(1));
    assert!(polled[0].revents().contains(wanted), "{:?}", polled[0].revents());
}

/// A direction that splices.
fn bulk() -> Flow {
    let mut flow = Flow::default();
    (0..4).for_each(|_| flow.bulk.handle_copy(1 << 20, 1 << 16, true));
    assert!(flow.bulk.wants_splice());
    flow
}

/// The write in one direction takes the reset from the socket; the other finds nothing but an end.
fn cut(mut down: Flow, pipes: usize) {
    let mut moving = Moving::new(Pipes::new(pipes));
    let ((mut client, mut client_peer), (mut backend, mut backend_peer)) = (pair(), pair());
    backend_peer.write_all(b"half").unwrap();
    wait_for(&backend, PollFlags::IN);
    socket2::SockRef::from(&backend_peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(backend_peer);
    wait_for(&backend, PollFlags::ERR);

    backend.readable = true;
    let mut up = Flow::default();
    up.put(&[b"x"]);
    assert_eq!(up.pump(&mut client, &mut backend, &mut moving, false), Err(Broken::Target));
    assert_eq!(down.pump(&mut backend, &mut client, &mut moving, false), Err(Broken::Source));
    let mut got = [0; 4];
    client_peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"half", "what came before goes on");
    client_peer.set_nonblocking(true).unwrap();
    assert_eq!(client_peer.read(&mut got).unwrap_err().kind(), ErrorKind::WouldBlock, "but no end");
}

#[test]
fn a_reset_that_a_write_noticed_is_no_end() {
    cut(Flow::default(), 0);
}

#[test]
fn nor_is_it_for_a_pipe() {
    cut(bulk(), 1);
}

#[test]
fn an_end_that_came_before_the_reset_is_one() {
    let mut moving = Moving::new(Pipes::new(0));
    let ((mut client, mut client_peer), (mut backend, mut backend_peer)) = (pair(), pair());
    backend_peer.write_all(b"whole").unwrap();
    drop(backend_peer);
    wait_for(&backend, PollFlags::RDHUP);
    backend.handle_event(EventFlags::IN | EventFlags::RDHUP);
    // Its peer is closed, and answers with a reset.
    backend.write(b"x", false).unwrap();
    wait_for(&backend, PollFlags::ERR);
    backend.write(b"x", false).unwrap_err();
    let mut down = Flow::default();
    assert_eq!(down.pump(&mut backend, &mut client, &mut moving, false), Ok(Stopped::Waiting));
    let mut got = Vec::new();
    client_peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"whole");
}

#[test]
fn a_pipe_that_stops_at_urgent_data_is_no_end() {
    let mut moving = Moving::new(Pipes::new(1));
    let ((mut client, mut client_peer), (mut backend, mut backend_peer)) = (pair(), pair());
    backend_peer.write_all(b"before").unwrap();
    socket2::SockRef::from(&backend_peer).send_out_of_band(b"!").unwrap();
    backend_peer.write_all(b"behind").unwrap();
    drop(backend_peer);
    wait_for(&backend, PollFlags::RDHUP);
    let mut down = bulk();
    // Nothing was said of urgent data as yet.
    for _ in 0..2 {
        backend.readable = true;
        assert_eq!(down.pump(&mut backend, &mut client, &mut moving, false), Ok(Stopped::Waiting));
    }
    let mut got = Vec::new();
    client_peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"beforebehind");
}
