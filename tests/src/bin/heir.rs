//! What a daemon starts to take over from it, up to the point that its argument says: then it fails in some way. As `stands`,
//! followed by a command line, it has a real one go all the way to where it has everything, and then kills it.
#![allow(clippy::disallowed_methods, reason = "it starts a process")]

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitCode, Stdio};

const FILES: usize = 64;

fn say(to: impl AsFd, text: &str, files: &[OwnedFd]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    sendmsg(to, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next message, with what came along; empty once the other end is closed.
fn hear(from: impl AsFd) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut bytes = vec![0; 65_536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            files.extend(some);
        }
    }
    bytes.truncate(got.bytes);
    Ok((String::from_utf8_lossy(&bytes).into_owned(), files))
}

fn fail(how: &str) -> io::Result<()> {
    let daemon = io::stdin();
    let protocol = if how == "protocol" { 1000 } else { 1 };
    say(&daemon, &format!(r#"{{"hello":{{"protocol":{protocol},"version":"9.9.9"}}}}"#), &[])?;
    let serial = if how == "serial" { 1000 } else { 1 };
    say(&daemon, &format!(r#"{{"prepared":{{"serial":{serial}}}}}"#), &[])?;
    loop {
        match (hear(&daemon)?.0.as_str(), how) {
            ("", _) | (r#""all""#, "dies") => return Ok(()),
            (r#""all""#, "fails") => say(&daemon, r#"{"failed":{"why":"there is no room for it"}}"#, &[])?,
            _ => {}
        }
    }
}

fn die_when_it_stands(mut command: Command) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let mut real = command.stdin(Stdio::from(theirs)).spawn()?;
    drop(command);
    let to_real = ours.try_clone()?;
    std::thread::spawn(move || {
        while let Ok((text, files)) = hear(io::stdin()) {
            if text.is_empty() || say(&to_real, &text, &files).is_err() {
                return;
            }
        }
    });
    loop {
        let (text, files) = hear(&ours)?;
        if text.is_empty() || text == r#""stands""# {
            real.kill()?;
            real.wait()?;
            return Ok(());
        }
        say(io::stdin(), &text, &files)?;
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let how = arguments.next().unwrap_or_default();
    let result = match (how.to_str(), arguments.next()) {
        (Some("stands"), Some(program)) => {
            let mut command = Command::new(program);
            command.args(arguments);
            die_when_it_stands(command)
        }
        (how, _) => fail(how.unwrap_or_default()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
