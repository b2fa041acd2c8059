#![allow(clippy::arithmetic_side_effects)]

use super::*;
use fulcrum_config::InterfaceName;

const SECOND: Duration = Duration::from_secs(1);

#[allow(clippy::disallowed_methods)]
fn epoch() -> Instant {
    Instant::now()
}

fn link(name: &str, effect: TrackEffect) -> Track {
    Track::Link { interface: InterfaceName::new(name), effect }
}

fn is_link(name: &'static str) -> impl Fn(&Track) -> bool {
    move |track| matches!(track, Track::Link { interface, .. } if interface.as_str() == name)
}

fn tracks() -> Tracks {
    let tracks = [
        link("eth1", TrackEffect::Lower(30)),
        link("eth2", TrackEffect::Lower(90)),
        Track::DataPlane { effect: TrackEffect::Ineligible },
    ];
    Tracks::new(&tracks, 3 * SECOND)
}

fn fit(priority: u8) -> Fitness {
    Fitness::Fit(Priority::new(priority).unwrap())
}

#[test]
fn failures_add_up_and_one_that_makes_ineligible_names_itself() {
    let now = epoch();
    let mut tracks = tracks();
    assert_eq!(tracks.fitness(Priority::DEFAULT), fit(100));
    tracks.handle(is_link("eth1"), false, now);
    assert_eq!(tracks.fitness(Priority::DEFAULT), fit(70));
    tracks.handle(is_link("eth2"), false, now);
    assert_eq!(tracks.fitness(Priority::DEFAULT), fit(1), "never below 1");
    assert_eq!(tracks.fitness(Priority::OWNER), fit(255), "never from an owner");
    tracks.handle(|track| matches!(track, Track::DataPlane { .. }), false, now);
    let reason = Reason::TrackFailed("data plane".to_owned());
    assert_eq!(tracks.fitness(Priority::DEFAULT), Fitness::LastResort(reason));
}

#[test]
fn a_failure_counts_at_once_and_is_forgiven_after_the_damping() {
    let now = epoch();
    let mut tracks = tracks();
    tracks.handle(is_link("eth1"), true, now);
    assert_eq!(tracks.poll_timeout(), None, "what was never bad needs no damping");
    tracks.handle(is_link("eth1"), false, now);
    tracks.handle(is_link("eth1"), true, now + SECOND);
    assert_eq!(tracks.poll_timeout(), Some(now + 4 * SECOND));
    // It flaps: the damping begins anew.
    tracks.handle(is_link("eth1"), false, now + 2 * SECOND);
    tracks.handle(is_link("eth1"), true, now + 3 * SECOND);
    tracks.handle(is_link("eth1"), true, now + 5 * SECOND);
    assert_eq!(tracks.fitness(Priority::DEFAULT), fit(70));
    tracks.handle_timer(now + 6 * SECOND);
    assert_eq!((tracks.fitness(Priority::DEFAULT), tracks.poll_timeout()), (fit(100), None));
}

#[test]
fn a_reload_keeps_what_is_known() {
    let now = epoch();
    let mut tracks = tracks();
    tracks.handle(is_link("eth1"), false, now);
    tracks.handle_reconfigured(
        &[link("eth1", TrackEffect::Lower(50)), link("eth3", TrackEffect::Lower(1))],
        SECOND,
    );
    assert_eq!(tracks.fitness(Priority::DEFAULT), fit(50));
    let shown = tracks.observed();
    let shown: Vec<_> = shown.iter().map(|track| (track.what.as_str(), track.good)).collect();
    assert_eq!(shown, [("link eth1", false), ("link eth3", true)]);
}
