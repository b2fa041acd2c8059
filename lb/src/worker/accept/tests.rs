use super::*;

/// All connections arrive at the first worker, as an unlucky hash may have it.
fn spread(connections: usize, workers: usize) -> Vec<usize> {
    let mut loads = vec![0; workers];
    for _ in 0..connections {
        let to = less_busy(0, loads[0], loads.iter().copied()).map_or(0, |(other, _)| other);
        loads[to] += 1;
    }
    loads
}

#[test]
fn a_handful_of_connections_is_spread_evenly() {
    assert_eq!(spread(1, 2), [1, 0], "one is not passed on");
    for connections in [4, 8, 16, 64] {
        for workers in [2, 4] {
            let loads = spread(connections, workers);
            let (most, least) = (loads.iter().max().unwrap(), loads.iter().min().unwrap());
            assert!(most - least <= 2 + least / 8, "{connections} over {workers}: {loads:?}");
        }
    }
}

#[test]
fn a_small_difference_is_left_alone() {
    assert_eq!(less_busy(0, 105, [105, 100].into_iter()), None);
    assert_eq!(less_busy(0, 120, [120, 100].into_iter()), Some((1, Difference::Small)));
    assert_eq!(less_busy(0, 300, [300, 100].into_iter()), Some((1, Difference::Large)));
    assert_eq!(less_busy(0, 5, std::iter::once(5)), None, "there is no other worker");
}

#[test]
fn only_want_of_files_or_memory_costs_another_client_its_connection() {
    for error in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
        assert_eq!(Fault::of(error), Fault::Exhausted, "{error}");
    }
    // The list of accept(2), "already-pending network errors", and what filters say.
    let pending = [
        Errno::NETDOWN,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
    ];
    for error in pending.into_iter().chain([Errno::CONNABORTED, Errno::INTR, Errno::PERM, Errno::TIMEDOUT]) {
        assert_eq!(Fault::of(error), Fault::Connection, "{error}");
    }
}
