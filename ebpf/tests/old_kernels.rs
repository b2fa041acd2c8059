//! What kernels before this machine's would refuse, seen without one.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test")]

use aya_obj::Object;
use aya_obj::generated::bpf_insn;

const OBJECTS: [(&str, &[u8]); 6] = [
    ("checks", include_bytes!(concat!(env!("OUT_DIR"), "/checks.o"))),
    ("cut", include_bytes!(concat!(env!("OUT_DIR"), "/cut.o"))),
    ("fence", include_bytes!(concat!(env!("OUT_DIR"), "/fence.o"))),
    ("forward", include_bytes!(concat!(env!("OUT_DIR"), "/forward.o"))),
    ("forward_xdp", include_bytes!(concat!(env!("OUT_DIR"), "/forward_xdp.o"))),
    ("second_chance", include_bytes!(concat!(env!("OUT_DIR"), "/second_chance.o"))),
];

const EXIT: u8 = 0x95;
const CALL: u8 = 0x85;
const LOAD_64: u8 = 0x18;
const CLASS: u8 = 7;
const JUMPS: [u8; 2] = [5, 6];
const OPERATION: u8 = 0xf0;

/// The instructions that may come next, each with whether it is reached by a jump.
fn next(at: usize, instruction: &bpf_insn) -> Vec<(usize, bool)> {
    let target = || (at + 1).wrapping_add_signed(isize::from(instruction.off));
    match instruction.code {
        EXIT => vec![],
        LOAD_64 => vec![(at + 2, false)],
        CALL => vec![(at + 1, false)],
        code if !JUMPS.contains(&(code & CLASS)) => vec![(at + 1, false)],
        code if code & OPERATION == 0 => vec![(target(), true)],
        _ => vec![(at + 1, true), (target(), true)],
    }
}

/// Before 6.2 the verifier takes the way back to an instruction that led here only as a jump: what check_cfg of
/// kernel/bpf/verifier.c says is a "back-edge", in its order.
fn back_edges(instructions: &[bpf_insn]) -> Vec<(usize, usize)> {
    let (mut entered, mut left) = (vec![false; instructions.len()], vec![false; instructions.len()]);
    let (mut found, mut way) = (Vec::new(), vec![(0, 0)]);
    entered[0] = true;
    while let Some((at, edge)) = way.pop() {
        let Some((to, jumps)) = next(at, &instructions[at]).get(edge).copied() else {
            left[at] = true;
            continue;
        };
        way.push((at, edge + 1));
        if !entered[to] {
            entered[to] = true;
            way.push((to, 0));
        } else if !left[to] && !jumps {
            found.push((at, to));
        }
    }
    found
}

#[test]
fn no_loop_falls_into_its_beginning() {
    let mut loops = 0;
    for (name, bytes) in OBJECTS {
        let object = Object::parse(bytes).expect("an object");
        assert!(!object.functions.is_empty());
        for function in object.functions.values() {
            assert_eq!(back_edges(&function.instructions), [], "{name}: {}", function.name);
            loops += function
                .instructions
                .iter()
                .filter(|it| it.off < 0 && JUMPS.contains(&(it.code & CLASS)))
                .count();
        }
    }
    // The capture has loops in any case.
    assert!(loops > 0);
}

#[test]
fn one_that_does_is_found() {
    let instruction = |code, off| bpf_insn {
        code,
        off,
        imm: 0,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
    };
    const ADD: u8 = 0x07;
    const JUMP: u8 = 0x05;
    const JUMP_IF: u8 = 0x15;
    // Into the middle, then the end, which falls into the beginning.
    let rotated = [instruction(JUMP, 1), instruction(ADD, 0), instruction(JUMP_IF, -2), instruction(EXIT, 0)];
    assert_eq!(back_edges(&rotated), [(1, 2)]);
    let plain = [instruction(ADD, 0), instruction(JUMP_IF, -2), instruction(EXIT, 0)];
    assert_eq!(back_edges(&plain), []);
}
