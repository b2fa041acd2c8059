//! A table in a map of maps is replaced as a whole, through the loader. As root.
#![allow(clippy::expect_used, clippy::arithmetic_side_effects, unsafe_code, reason = "a test")]

use aya::Ebpf;
use aya::maps::{Array, ArrayOfMaps, MapData};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};

const ROWS: usize = 65_537;

/// One value that is the whole table.
#[derive(Clone, Copy)]
#[repr(C)]
struct Table([u32; ROWS]);

// SAFETY: an array of integers, valid for any bytes.
unsafe impl aya::Pod for Table {}

fn table(value: impl Fn(usize) -> u32) -> Array<MapData, Table> {
    let mut map = Array::create(1, 0).expect("an array of one table");
    map.set(0, Table(std::array::from_fn(value)), 0).expect("written");
    map
}

#[test]
fn an_inner_map_is_replaced_while_the_program_runs() {
    let object = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/map_in_map.o"));
    let mut ebpf = Ebpf::load(object).expect("maps; as root");
    let map = ebpf.take_map("tables").expect("declared");
    let mut tables: ArrayOfMaps<MapData, Array<MapData, Table>> = map.try_into().expect("a map of maps");
    let program: &mut SchedClassifier = ebpf.program_mut("read_row").expect("there").try_into().expect("one");
    program.load().expect("the verifier takes it");
    let row = |program: &SchedClassifier, row: u16| {
        let frame = [&[0; 14], &row.to_be_bytes()[..]].concat();
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() };
        program.test_run(options).expect("runs").return_value
    };
    assert_eq!(row(program, 7), u32::MAX - 2, "there is no table yet");
    tables.set(0, &table(|row| u32::try_from(row).expect("small") + 1), 0).expect("set");
    assert_eq!((row(program, 0), row(program, u16::MAX)), (1, 65_536));
    tables.set(0, &table(|row| u32::try_from(row).expect("small") * 2), 0).expect("replaced");
    assert_eq!((row(program, 0), row(program, u16::MAX)), (0, 131_070));
}
