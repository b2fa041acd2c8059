use super::*;

fn votes() -> Votes {
    let heard = Receipt { instance: 7, sequence: u32::MAX };
    let of = vec![Vote { node: 1, heard: Some(heard) }, Vote { node: u64::MAX, heard: None }];
    Votes { instance: 42, sequence: 1 << 40, of }
}

#[test]
fn what_is_sent_is_read() {
    for votes in [votes(), Votes { of: Vec::new(), ..votes() }] {
        assert_eq!(Votes::decode(&votes.encode()), Ok(votes));
    }
}

#[test]
fn whatever_else_comes_is_refused() {
    let bytes = votes().encode();
    for length in
        (0..bytes.len()).filter(|length| length.saturating_sub(HEADER) % ENTRY != 0 || *length < HEADER)
    {
        assert_eq!(Votes::decode(&bytes[..length]), Err(Malformed), "{length} bytes");
    }
    let mut of_no_life = bytes.clone();
    of_no_life[HEADER + 8..HEADER + 16].fill(0);
    assert_eq!(Votes::decode(&of_no_life), Err(Malformed));
    let mut heartbeat = bytes.clone();
    heartbeat[0] = 1;
    assert_eq!(Votes::decode(&heartbeat), Err(Malformed));
    let vote = votes().of[0];
    let many = Votes { of: vec![vote; NODES_AT_MOST + 1], ..votes() };
    assert_eq!(Votes::decode(&many.encode()), Err(Malformed));
}
