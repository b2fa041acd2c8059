use super::{GROUPS_AT_MOST, Heartbeat, Malformed, Said, State};
use fulcrum_config::AdvertInterval;
use proptest::prelude::*;

fn heartbeat() -> Heartbeat {
    let said = |group, state| Said { group, state, epoch: 7, interval: AdvertInterval::DEFAULT };
    let states = [State::Leads(254), State::Resigns, State::Unfit, State::Offers(64)];
    let groups = states.into_iter().zip(1..).map(|(state, group)| said(group, state)).collect();
    Heartbeat { instance: 5, sequence: 6, groups }
}

#[test]
fn what_is_written_reads_the_same() {
    for heartbeat in [heartbeat(), Heartbeat { groups: Vec::new(), ..heartbeat() }] {
        assert_eq!(Heartbeat::decode(&heartbeat.encode()), Ok(heartbeat));
    }
}

#[test]
fn the_longest_fits_into_a_datagram() {
    let groups = vec![heartbeat().groups[0]; GROUPS_AT_MOST];
    let bytes = Heartbeat { groups, ..heartbeat() }.encode();
    assert!(bytes.len() <= 1100, "{}", bytes.len());
    assert!(Heartbeat::decode(&bytes).is_ok());
    let groups = vec![heartbeat().groups[0]; GROUPS_AT_MOST + 1];
    assert_eq!(Heartbeat::decode(&Heartbeat { groups, ..heartbeat() }.encode()), Err(Malformed));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let good = heartbeat().encode();
    for length in 0..good.len() {
        let is_whole = length >= 17 && (length - 17).is_multiple_of(20);
        assert_eq!(Heartbeat::decode(&good[..length]).is_ok(), is_whole, "{length}");
    }
    for (at, value) in [(0, 2), (25, 4), (26, 0), (26, 255), (46, 1), (86, 0)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(Heartbeat::decode(&bad), Err(Malformed), "byte {at} is {value}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(heartbeat) = Heartbeat::decode(&bytes) {
            prop_assert_eq!(heartbeat.encode(), bytes);
        }
    }
}
