//! What a script's process does before it becomes the script.
#![allow(unsafe_code)]

use rustix::fs::{Mode, OFlags};
use tokio::process::Command;

#[cfg(test)]
mod tests;

/// Has `command` begin as killable as any other when memory runs out, if this process is protected from that.
pub fn without_our_protection(command: &mut Command) {
    if std::fs::read_to_string("/proc/self/oom_score_adj").is_ok_and(|score| is_protected(&score)) {
        begin_with_score(command, b"0");
    }
}

fn is_protected(score: &str) -> bool {
    score.trim().parse::<i32>().is_ok_and(|score| score < 0)
}

/// Done by the new process itself, so that nothing it starts is earlier. A kernel that refuses it refuses no script.
fn begin_with_score(command: &mut Command, score: &'static [u8]) {
    // SAFETY: between fork and exec nothing may take a lock or allocate: these are three system calls and no more.
    unsafe {
        command.pre_exec(move || {
            let file = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty());
            let _refused_or_not = file.and_then(|file| rustix::io::write(&file, score));
            Ok(())
        });
    }
}
