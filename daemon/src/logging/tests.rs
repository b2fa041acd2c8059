use super::*;

#[test]
fn a_full_queue_leaves_lines_out_and_says_so() {
    let (queue, lines) = sync_channel(2);
    let writer = Queue(queue);
    for n in 0..5 {
        writer.make_writer().write_all(format!("line {n}\n").as_bytes()).expect("memory");
    }
    drop(writer);
    let mut written = Vec::new();
    write(&lines, &mut written);
    let written = String::from_utf8(written).expect("text");
    assert_eq!(written, "3 log lines were left out: they came faster than they were read\nline 0\nline 1\n");
}
