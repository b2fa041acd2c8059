//! The lab itself, with nothing of ours in it: two real keepalived and what a client sees when one dies.

use fulcrum_tests::LabError;
use fulcrum_tests::frames::NeighbourProbe;
use fulcrum_tests::lab::{Keepalived, Lab, Nginx, VirtualRouter, ipv4, ipv6};
use fulcrum_tests::probe::{Options, Probe, request};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SECONDS_10: Duration = Duration::from_secs(10);

#[test]
fn an_outage_between_two_keepalived_is_seen_and_measured() {
    Lab::run(|lab| {
        let client = lab.machine("client", 50)?;
        let (one, two) = (lab.machine("lb1", 11)?, lab.machine("lb2", 12)?);
        // No proxy here: each node answers by itself, and so tells which one has the VIP.
        let _web = (Nginx::start(&one)?, Nginx::start(&two)?);
        let vip = ipv4(100);
        let router = |priority| VirtualRouter {
            vrid: 51,
            priority,
            advert_centiseconds: 10,
            vips: vec![vip],
            unicast_peer: None,
            preempt: false,
        };
        let leader = Keepalived::start(&one, &router(150))?;
        wait_until("lb1 to lead", SECONDS_10, || one.has_address(vip).unwrap_or(false))?;
        let _standby = Keepalived::start(&two, &router(100))?;

        let probe = Probe::start(&client, SocketAddr::new(vip, 80), Options::default())?;
        let start = now();
        wait_until("an answer", SECONDS_10, || probe.answered_since(start).is_some())?;
        run_for(Duration::from_millis(300));
        let calm = probe.timeline().since(start);

        let cut = now();
        lab.switch().cut(&leader.machine)?;
        wait_until("lb2 to lead", SECONDS_10, || two.has_address(vip).unwrap_or(false))?;
        let moved = now();
        wait_until("an answer of lb2", SECONDS_10, || probe.answered_since(moved).is_some())?;
        let after = probe.finish().since(cut);

        assert_eq!(calm.backends().into_keys().collect::<Vec<_>>(), ["lb1"]);
        assert!(after.backends().contains_key("lb2"), "{:?}", after.backends());
        assert!(after.failed() > 0, "requests fail while nobody answers");
        let gap = after.longest_gap();
        println!("keepalived, adverts every 100 ms: calm {:?}, cut {gap:?}", calm.longest_gap());
        // Three adverts must be missed before the other takes over; a shorter gap was not measured but made up.
        assert!(gap > Duration::from_millis(200) && gap < SECONDS_10, "{gap:?}");
        Ok(())
    });
}

#[test]
fn nothing_of_a_lab_outlives_it() {
    let lab = Lab::new().unwrap();
    let machine = lab.machine("web", 21).unwrap();
    let web = Nginx::start(&machine).unwrap();
    let process = format!("/proc/{}", web.process().pid().as_raw_nonzero());
    let namespace = format!("/run/netns/{}", machine.namespace().name());
    let directory = lab.directory().to_owned();
    let exists = || [process.as_str(), namespace.as_str()].map(|path| std::path::Path::new(path).exists());
    assert_eq!(exists(), [true, true]);
    assert!(directory.exists());
    drop(lab);
    drop(web);
    assert_eq!(exists(), [false, false]);
    assert!(!directory.exists());
}

/// How often a test is tried that always fails and whose only node has said this.
fn attempts(said: &str) -> u32 {
    let tried = AtomicU32::new(0);
    let run = || {
        Lab::run(|lab| {
            tried.fetch_add(1, Ordering::Relaxed);
            lab.machine("lb1", 11)?.write("fulcrum.log", said)?;
            Err(LabError::new("this is to fail".to_owned()))
        });
    };
    assert!(std::panic::catch_unwind(run).is_err());
    tried.load(Ordering::Relaxed)
}

#[test]
fn a_test_is_tried_again_only_if_the_machine_stood_still() {
    assert_eq!(attempts("this process did not run for 0.500 s\n"), 3);
    // The watch may see a real pause meanwhile, but not every time.
    assert!((0..5).any(|_| attempts("a node runs") == 1));
}

#[test]
fn faults_of_the_switch_are_one_way_and_heal() {
    Lab::run(|lab| {
        let (one, two) = (lab.machine("one", 1)?, lab.machine("two", 2)?);
        let _web = Nginx::start(&one)?;
        let asks = |address| {
            let sample = request(&two, SocketAddr::new(address, 80), Duration::from_millis(500));
            sample.is_ok_and(|sample| sample.is_answer())
        };
        let (hears, hears_ipv6) = (|| asks(one.ipv4()), || asks(one.ipv6()));
        wait_until("answers", SECONDS_10, || hears() && hears_ipv6())?;
        lab.switch().add([fulcrum_tests::lab::Fault::To(two.port())])?;
        assert!(!hears());
        lab.switch().heal()?;
        wait_until("answers", SECONDS_10, || hears() && hears_ipv6())?;
        lab.switch().part(&one, &two)?;
        assert!(!hears_ipv6());
        lab.switch().heal()?;
        lab.switch().unplug(&two)?;
        assert!(!hears());
        lab.switch().replug(&two)?;
        wait_until("answers", SECONDS_10, hears)?;
        lab.switch().destroy_link(&two)?;
        assert!(!hears());
        lab.switch().plug_in(&two)?;
        two.configure()?;
        wait_until("answers", SECONDS_10, hears)?;
        Ok(())
    });
}

#[test]
fn the_neighbour_probe_sees_each_machine_that_answers() {
    Lab::run(|lab| {
        let (asker, one, two) = (lab.machine("asker", 50)?, lab.machine("one", 1)?, lab.machine("two", 2)?);
        for (address, prefix) in [(ipv4(100), 24), (ipv6(100), 64)] {
            let probe = NeighbourProbe::start(&asker, address, Duration::from_millis(10))?;
            let has = |macs: &[&str]| {
                let seen = probe.macs_since(now() - Duration::from_millis(500));
                seen.iter().map(ToString::to_string).eq(macs.iter().copied())
            };
            let shown = format!("{address}/{prefix}");
            one.run("ip", &["addr", "add", &shown, "dev", "eth0"])?;
            wait_until("one to answer", SECONDS_10, || has(&[&one.mac()]))?;
            two.run("ip", &["addr", "add", &shown, "dev", "eth0"])?;
            wait_until("both to answer", SECONDS_10, || has(&[&one.mac(), &two.mac()]))?;
            one.run("ip", &["addr", "del", &shown, "dev", "eth0"])?;
            wait_until("two to answer alone", SECONDS_10, || has(&[&two.mac()]))?;
        }
        Ok(())
    });
}
