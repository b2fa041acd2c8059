use super::*;

const MOST: u32 = 235_926;

fn noted(workload: u32, protected: u32) -> BTreeMap<Class, u32> {
    BTreeMap::from([(Class::Workload, workload), (Class::Protected, protected)])
}

#[test]
fn the_control_plane_keeps_its_room_whatever_the_others_note() {
    let all = |noted: &BTreeMap<Class, u32>, any| {
        let rooms = rooms(noted, any, MOST);
        (rooms[&Class::Workload], rooms[&Class::Protected])
    };
    let share = MOST / 8;
    assert_eq!(all(&noted(0, 0), true), (MOST - share, share));
    assert_eq!(all(&noted(1_000_000, 0), true), (0, share));
    assert_eq!(all(&noted(5, 1_000_000), true), (MOST - share - 5, 0), "nor does it take from them");
    assert_eq!(all(&noted(0, 0), false), (MOST, 0));
}
