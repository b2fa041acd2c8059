//! `fulcrum explain`: the chain of a VIP or a service in words.

use fulcrum_tests::lab::{GROUP, Lab, Pair};
use fulcrum_tests::wait::wait_until;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn the_chain_from_the_address_to_the_backends_is_told() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let (first, second) = pair.start_both()?;
        wait_until("agreement", LONG, || first.status().is_ok_and(|status| status.agrees_with("lb2")))?;
        pair.web.first().map(|web| web.process().kill_with_children()).transpose()?;
        for node in [&first, &second] {
            wait_until("a backend to be down", LONG, || {
                node.status().is_ok_and(|status| status.backends("web", "down") == 1)
            })?;
        }
        let by_address = first.command(&["explain", "10.77.0.100"])?;
        let by_name = first.command(&["explain", "web"])?;
        let standby = second.command(&["explain", "web"])?;
        for told in [&by_address, &by_name] {
            assert!(told.contains("10.77.0.100 is of group web: this node answers for it"), "{told}");
            assert!(told.contains("by VRRP with VRID 51: this node leads it"), "{told}");
            assert!(told.contains("here lb1 is leader"), "{told}");
        }
        assert!(
            standby.contains("10.77.0.100 is of group web: this node does not answer for it"),
            "{standby}"
        );
        assert!(standby.contains("lb1 leads it") && standby.contains("here lb2 is standby"), "{standby}");
        for told in [&by_address, &by_name, &standby] {
            for expected in [
                "what silences this node at eth0 if it freezes: kernel",
                "is up, with the same configuration",
                "service web is at 80/tcp by mode proxy",
                "it takes connections",
                "new connections go to web2 (10.77.0.22:80), web3 (10.77.0.23:80)",
                "none go to web1 (10.77.0.21:80), which is down",
            ] {
                assert!(told.contains(expected), "{expected}: {told}");
            }
        }
        let json: serde_json::Value = serde_json::from_str(&first.command(&["explain", "web", "--json"])?)?;
        assert!(
            json.get("chain").and_then(|chain| chain.as_array()).is_some_and(|chain| chain.len() > 5),
            "{json}"
        );

        let unknown = first.command(&["explain", "wed"]).expect_err("there is none").to_string();
        assert!(unknown.contains("no service wed") && unknown.contains("near it are: web"), "{unknown}");

        // The same once it has another leader.
        first.command(&["handover", GROUP])?;
        second.wait_role(GROUP, "leader")?;
        let told = first.command(&["explain", "web"])?;
        assert!(told.contains("lb2 leads it"), "{told}");
        Ok(())
    });
}
