//! Frames that programs are given by the kernel to try them (BPF_PROG_RUN).

use crate::error::KernelError;
use aya::programs::{ProgramError, TestRun, TestRunOptions, TestRunResult};
use std::time::Duration;

/// struct __sk_buff: its size, and where the priority and the number of the interface stand.
pub(crate) const SKB_BYTES: usize = 192;
pub(crate) const SKB_PRIORITY: usize = 32;
pub(crate) const SKB_INTERFACE: usize = 40;

/// A frame may grow by as much: an answer with what it is about.
const ROOM: usize = 256;

/// What a program made of a frame.
pub(crate) struct Trial {
    pub(crate) value: u32,
    pub(crate) frame: Vec<u8>,
    /// The mean of the runs.
    pub(crate) time: Duration,
}

/// What the program is told of the frame: these fields, each with its offset; all others are 0.
pub(crate) fn context<const BYTES: usize>(fields: &[(usize, u32)]) -> [u8; BYTES] {
    let mut context = [0; BYTES];
    for (at, value) in fields {
        if let Some(field) = context.get_mut(*at..).and_then(|rest| rest.first_chunk_mut()) {
            *field = value.to_ne_bytes();
        }
    }
    context
}

/// Gives the program a frame `repeat` times, each time as the run before has left it.
pub(crate) fn run<P>(program: &P, context: &[u8], frame: &[u8], repeat: u32) -> Result<Trial, KernelError>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let mut out = vec![0; frame.len().saturating_add(ROOM)];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(context),
        repeat,
        ..TestRunOptions::default()
    };
    let result: Result<TestRunResult, ProgramError> = program.test_run(options);
    let result = result.map_err(|error| KernelError::of("the frame can't be tried", &error))?;
    out.truncate(usize::try_from(result.data_size_out).unwrap_or(0));
    Ok(Trial { value: result.return_value, frame: out, time: result.duration })
}
