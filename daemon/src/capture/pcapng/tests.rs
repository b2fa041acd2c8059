use super::*;

/// The blocks of a file: each one's type and body.
fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let word = |bytes: &[u8]| u32::from_ne_bytes(bytes[..4].try_into().unwrap());
    let mut found = Vec::new();
    while !file.is_empty() {
        let length = usize::try_from(word(&file[4..])).unwrap();
        let (block, rest) = file.split_at(length);
        let (body, end) = block[8..].split_last_chunk::<4>().unwrap();
        assert_eq!((length % 4, word(end)), (0, word(&block[4..])));
        found.push((word(block), body.to_vec()));
        file = rest;
    }
    found
}

fn record<'a>(interface: &'a str, bytes: &'a [u8], leaves: bool, comment: &'a str) -> Record<'a> {
    Record { time: Duration::new(1_700_000_000, 42), interface, leaves, length: 99, bytes, comment }
}

#[test]
fn a_file_has_a_section_each_interface_once_and_packets_with_comments() {
    let mut bytes = Vec::new();
    let mut file = Pcapng::new(&mut bytes, 2048).unwrap();
    file.write(record("eth0", &[1, 2, 3, 4, 5], false, "forwarded")).unwrap();
    file.write(record("eth1", &[6], true, "")).unwrap();
    file.write(record("eth0", &[], false, "dropped")).unwrap();
    let blocks = blocks(&bytes);
    let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [SECTION, INTERFACE, ENHANCED_PACKET, INTERFACE, ENHANCED_PACKET, ENHANCED_PACKET]);
    let packet = &blocks[2].1;
    let words: Vec<u32> =
        packet[..20].chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
    assert_eq!((words[0], words[3], words[4]), (0, 5, 99));
    assert_eq!(u64::from(words[1]) << 32 | u64::from(words[2]), 1_700_000_000_000_000_042);
    assert_eq!(packet[20..28], [1, 2, 3, 4, 5, 0, 0, 0]);
    assert_eq!(packet[28..36], [2, 0, 4, 0, 1, 0, 0, 0]);
    assert_eq!(packet[36..49], [&[1, 0, 9, 0][..], b"forwarded"].concat());
    // The second interface, and out of it.
    assert_eq!((blocks[4].1[0], blocks[4].1[28]), (1, 2));
    assert_eq!(blocks[5].1[0], 0);
}
