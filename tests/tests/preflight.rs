//! `fulcrum preflight`: nothing to say of a good scene, and each cause is named when it is made.
#![allow(clippy::disallowed_methods, reason = "runs the command and looks at how it ended")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{
    Fault, Fulcrum, GROUP, Keepalived, Lab, Machine, Pair, VirtualRouter, fulcrum_binary, ipv4,
};
use fulcrum_tests::wait::{run_for, wait_until};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// What it said.
#[derive(Debug)]
struct Report {
    code: Option<i32>,
    json: Value,
}

impl Report {
    /// Of this check the states, each with what it is about and what was found.
    fn lines(&self, check: &str) -> Vec<(&str, String)> {
        let lines = self.json.get("lines").and_then(Value::as_array).into_iter().flatten();
        let text =
            |line: &Value, key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        lines
            .filter(|line| line.get("check").is_some_and(|it| it == check))
            .map(|line| {
                let state = line.get("state").and_then(Value::as_str).unwrap_or_default();
                (state, format!("{}: {}", text(line, "about"), text(line, "found")))
            })
            .collect()
    }

    /// Whether a line of this check has this state and mentions this.
    fn says(&self, check: &str, state: &str, mentions: &str) -> bool {
        self.lines(check).iter().any(|(is, text)| *is == state && text.contains(mentions))
    }

    #[track_caller]
    fn assert(&self, check: &str, state: &str, mentions: &str) {
        assert!(self.says(check, state, mentions), "{check} {state} {mentions}: {:#?}", self.lines(check));
        let remedies = self.json.get("lines").and_then(Value::as_array).into_iter().flatten();
        let mut bad =
            remedies.filter(|line| line.get("state").is_some_and(|it| it == "failed" || it == "warning"));
        assert!(bad.all(|line| line.get("remedy").is_some()), "without remedy: {:#}", self.json);
        if state == "failed" {
            assert_eq!(self.code, Some(1));
        }
    }
}

fn command(machine: &Machine, file: &str) -> Result<Command> {
    let path = machine.write("preflight.yaml", file)?;
    let mut command = Command::new(fulcrum_binary()?);
    command.args(["preflight", "--json"]).arg(path);
    Ok(command)
}

fn report(machine: &Machine, mut command: Command) -> Result<Report> {
    let output = machine.namespace().enter(move || command.output())??;
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Ok(Report { code: output.status.code(), json })
}

fn preflight(machine: &Machine, file: &str) -> Result<Report> {
    report(machine, command(machine, file)?)
}

/// All that it could change by accident.
fn state_of(machine: &Machine) -> Result<String> {
    let mut state = machine.run("ip", &["-d", "address"])?;
    state.push_str(&machine.run("ip", &["route", "show", "table", "all"])?);
    for key in ["arp_ignore", "arp_announce", "rp_filter"] {
        state.push_str(&machine.get(&format!("net/ipv4/conf/eth0/{key}"))?);
    }
    // How long addresses stay counts down.
    Ok(state)
}

#[test]
fn a_good_scene_has_nothing_failed_and_nothing_is_changed() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?.dual_stack();
        let second = pair.start(&pair.lb2)?;
        second.wait_leader(GROUP)?;
        let before = state_of(&pair.lb1)?;
        let alone = preflight(&pair.lb1, &pair.plan.file(&pair.lb1))?;
        assert_eq!(alone.code, Some(0), "{:#}", alone.json);
        for (check, mentions) in [
            ("kernel", "takes the programs"),
            ("privileges", ""),
            ("sysctl", ""),
            ("link", "10.77.0.11"),
            ("link", "fe80"),
            ("mtu", "10.77.0.12: packets of 1500 bytes"),
            ("mtu", "fd77::12: packets of 1500 bytes"),
            // The known leader answers for them, and sends the adverts.
            ("address", "10.77.0.100"),
            ("address", "fd77::100"),
            ("vrid", "51 on eth0 (IPv4)"),
            ("vrid", "51 on eth0 (IPv6)"),
            ("node", "10.77.0.12"),
            ("free-addresses", "10.77.0.1 is free"),
            ("time-to-detect", "0.30 s"),
            ("peer", "lb2: it is reached"),
            ("backends", "all 3 backends"),
        ] {
            alone.assert(check, "ok", mentions);
        }
        alone.assert("certificates", "not-applicable", "");
        alone.assert("mac-policy", "not-applicable", "");
        alone.assert("gateway", "not-applicable", "");
        assert_eq!(state_of(&pair.lb1)?, before);
        let status = second.status()?;
        assert_eq!(status.role(GROUP), Some("leader"));
        assert!(
            status.peer("lb1").is_some_and(|peer| peer.get("state").is_some_and(|it| it == "down")),
            "no link"
        );

        // And beside the daemon, whose link it leaves alone.
        let first = pair.start(&pair.lb1)?;
        first.wait_hears_leader(GROUP)?;
        wait_until("agreement", LONG, || first.status().is_ok_and(|status| status.agrees_with("lb2")))?;
        let beside = preflight(&pair.lb1, &pair.plan.file(&pair.lb1))?;
        assert_eq!(beside.code, Some(0), "{:#}", beside.json);
        beside.assert("daemon", "ok", "runs here with this configuration");
        beside.assert("peer", "ok", "lb2: the link is up");
        beside.assert("address", "ok", "10.77.0.100");
        let leads = preflight(&pair.lb2, &pair.plan.file(&pair.lb2))?;
        leads.assert("address", "ok", "10.77.0.100");
        leads.assert("vrid", "ok", "51 on eth0 (IPv4)");
        Ok(())
    });
}

#[test]
fn somebody_elses_address_and_vrid_are_found() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.dual_stack();
        let stranger = lab.machine("stranger", 99)?;
        stranger.run("ip", &["address", "add", "10.77.0.100/24", "dev", "eth0"])?;
        stranger.run("ip", &["address", "add", "fd77::100/64", "dev", "eth0", "nodad"])?;
        let router = lab.machine("router", 98)?;
        let other = VirtualRouter {
            vrid: 51,
            priority: 100,
            advert_centiseconds: 100,
            vips: vec![ipv4(150)],
            unicast_peer: None,
            preempt: true,
        };
        let _keepalived = Keepalived::start(&router, &other)?;
        wait_until("keepalived to lead", LONG, || router.has_address(ipv4(150)).unwrap_or(false))?;
        let found = preflight(&pair.lb1, &pair.plan.file(&pair.lb1))?;
        found.assert("address", "failed", "10.77.0.100: 02:00:00:00:00:99 answers for it");
        found.assert("address", "failed", "fd77::100: 02:00:00:00:00:99 answers for it");
        found.assert("vrid", "failed", "10.77.0.98 (02:00:00:00:00:98) sends adverts with it");
        found.assert("vrid", "ok", "51 on eth0 (IPv6)");
        // Its own mistake is told likewise.
        pair.lb1.run("ip", &["address", "add", "10.77.0.100/24", "dev", "eth0"])?;
        let own = preflight(&pair.lb1, &pair.plan.file(&pair.lb1))?;
        own.assert("address", "failed", "10.77.0.100: it is on eth0 of this machine");
        Ok(())
    });
}

#[test]
fn a_gateway_a_node_and_backends_that_are_away_are_found() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan.group = vec!["track: [{gateway: 10.77.0.1, interval: 100ms}]".to_owned()];
        let gateway = lab.machine("gateway", 1)?;
        pair.web.first().map(|web| web.process().kill_with_children()).transpose()?;
        let there = preflight(&pair.lb1, &pair.plan.file(&pair.lb1))?;
        there.assert("gateway", "ok", "10.77.0.1");
        there.assert("node", "ok", "10.77.0.12");
        there.assert("backends", "warning", "2 of 3 backends answer their check: web1");
        lab.switch().unplug(&gateway)?;
        lab.switch().unplug(&pair.lb2)?;
        for web in pair.web.iter().skip(1) {
            web.process().kill_with_children()?;
        }
        let away = preflight(&pair.lb1, &pair.plan.file(&pair.lb1))?;
        away.assert("gateway", "failed", "10.77.0.1: nobody answers");
        away.assert("node", "warning", "10.77.0.12: nobody answers");
        away.assert("backends", "failed", "0 of 3 backends answer their check");
        Ok(())
    });
}

#[test]
fn links_that_are_too_small_missing_or_down_are_found() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let file = pair.plan.file(&pair.lb1);
        lab.switch().run("ip", &["link", "set", &pair.lb2.port(), "mtu", "1400"])?;
        preflight(&pair.lb1, &file)?.assert("mtu", "failed", "10.77.0.12: packets of 1500 bytes");
        pair.lb1.run("ip", &["link", "set", "eth0", "mtu", "1400"])?;
        let small = preflight(&pair.lb1, &file)?;
        small.assert("mtu", "warning", "eth0: it is 1400");
        small.assert("mtu", "ok", "10.77.0.12: packets of 1400 bytes");
        pair.lb1.run("ip", &["address", "del", "10.77.0.11/24", "dev", "eth0"])?;
        preflight(&pair.lb1, &file)?.assert("link", "failed", "10.77.0.11: it is the address of node lb1");
        lab.switch().unplug(&pair.lb1)?;
        preflight(&pair.lb1, &file)?.assert("link", "failed", "is down or has no carrier");
        lab.switch().destroy_link(&pair.lb1)?;
        preflight(&pair.lb1, &file)?.assert("link", "failed", "interface eth0 does not exist");
        Ok(())
    });
}

#[test]
fn settings_and_privileges_that_are_wrong_are_found() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        let nat = pair.plan.file(&pair.lb1).replace("    port: 80\n", "    port: 80\n    mode: nat\n");
        pair.plan = pair.plan.dual_stack();
        let file = pair.plan.file(&pair.lb1);
        pair.lb1.set("net/ipv4/conf/all/arp_ignore", "8")?;
        pair.lb1.set("net/ipv6/conf/eth0/disable_ipv6", "1")?;
        pair.lb1.set("net/ipv4/ip_forward", "0")?;
        let wrong = preflight(&pair.lb1, &file)?;
        wrong.assert("sysctl", "failed", "all/arp_ignore: it is 8");
        wrong.assert("sysctl", "failed", "eth0/disable_ipv6: it is 1");
        preflight(&pair.lb1, &nat)?.assert("forwarding", "failed", "eth0: forwarding of ipv4 is off");
        pair.lb1.set("net/ipv4/conf/all/arp_ignore", "0")?;
        pair.lb1.set("net/ipv6/conf/eth0/disable_ipv6", "0")?;
        pair.lb1.set("net/ipv4/ip_forward", "1")?;
        preflight(&pair.lb1, &file)?.assert("sysctl", "ok", "");
        let right = preflight(&pair.lb1, &nat)?;
        right.assert("forwarding", "ok", "");

        // A second network, and a filter that goes by the way back.
        pair.lb1.run("ip", &["link", "add", "eth1", "type", "veth", "peer", "name", "eth2"])?;
        pair.lb1.run("ip", &["link", "set", "eth1", "up"])?;
        pair.lb1.run("ip", &["link", "set", "eth2", "up"])?;
        pair.lb1.run("ip", &["address", "add", "10.78.0.1/24", "dev", "eth1"])?;
        pair.lb1.set("net/ipv4/conf/eth0/rp_filter", "1")?;
        preflight(&pair.lb1, &file)?.assert("sysctl", "warning", "eth0/rp_filter: it is 1");

        let plain = command(&pair.lb1, &file)?;
        let mut less = Command::new("setpriv");
        less.args(["--bounding-set", "-net_raw", "--inh-caps", "-all"])
            .arg(plain.get_program())
            .args(plain.get_args());
        let less = report(&pair.lb1, less)?;
        less.assert("privileges", "failed", "CAP_NET_RAW is missing");
        less.assert("address", "not-applicable", "nothing can be asked");
        Ok(())
    });
}

#[test]
fn a_peer_that_is_away_or_another_is_found() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let file = pair.plan.file(&pair.lb1);
        preflight(&pair.lb1, &file)?.assert("peer", "failed", "lb2: it can't be reached");
        let second: Fulcrum = pair.start(&pair.lb2)?;
        second.wait_leader(GROUP)?;
        let more = "services:\n  more: {vip: 10.77.0.100, port: 81, backends: [10.77.0.21:80], check: none}";
        let another = file.replace("services:", more);
        let differs = preflight(&pair.lb1, &another)?;
        differs.assert("peer", "warning", "lb2: it runs another configuration");
        assert_eq!(differs.code, Some(0), "{:#}", differs.json);
        // A key that nobody knows.
        let key = pair.lb1.file("peer.key");
        std::fs::rename(&key, pair.lb1.file("peer.key.old"))?;
        preflight(&pair.lb1, &file)?.assert("peer", "failed", "peer.key");
        fulcrum_tests::lab::make_key(&key)?;
        preflight(&pair.lb1, &file)?.assert("peer", "failed", "is not among the `keys` of node lb1");
        Ok(())
    });
}

#[test]
fn a_foreign_mac_that_does_not_come_back_is_found() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let file = pair
            .plan
            .file(&pair.lb1)
            .replace("networks: [10.77.0.0/24]", "networks: [10.77.0.0/24], virtual_mac: true");
        preflight(&pair.lb1, &file)?.assert("mac-policy", "ok", "is answered");
        lab.switch().add([Fault::ForeignMac(pair.lb1.port(), pair.lb1.mac())])?;
        let filtered = preflight(&pair.lb1, &file)?;
        filtered.assert("mac-policy", "failed", "is not answered");
        filtered.assert("node", "ok", "10.77.0.12");
        Ok(())
    });
}

#[test]
fn what_the_file_alone_shows_is_found_and_a_bad_file_is_refused() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let good = pair.plan.file(&pair.lb1);
        let file = good
            .replace("priority: 150", "priority: 150, domain: rack")
            .replace("priority: 100", "priority: 100, domain: rack")
            .replace("advert_interval: 100ms", "advert_interval: 5s");
        let found = preflight(&pair.lb1, &file)?;
        found.assert("failure-domain", "failed", "rack: lb1 and lb2 share it");
        found.assert("time-to-detect", "warning", "missed after 15.0");
        let apart = preflight(&pair.lb1, &file.replacen("domain: rack", "domain: other", 1))?;
        apart.assert("failure-domain", "ok", "");
        let refused = preflight(&pair.lb1, &good.replace("vrid: 51", "vrid: 0"))?;
        assert_eq!(refused.code, Some(2));
        assert_eq!(refused.json.get("result").and_then(Value::as_str), Some("refused"));
        Ok(())
    });
}

#[test]
fn a_machine_that_stands_still_is_found() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let process = pair.lb1.spawn("preflight", command(&pair.lb1, &pair.plan.file(&pair.lb1))?)?;
        run_for(Duration::from_secs(1));
        process.freeze()?;
        run_for(Duration::from_millis(500));
        process.thaw()?;
        process.wait(LONG)?;
        let report = Report { code: None, json: serde_json::from_str(&process.log()).unwrap_or(Value::Null) };
        report.assert("pace", "warning", "stood still");
        Ok(())
    });
}

#[test]
fn what_a_container_may_not_do_is_found() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let file = pair.plan.file(&pair.lb1);
        let within = |program: &str, arguments: &[&str]| -> Result<Report> {
            let plain = command(&pair.lb1, &file)?;
            let mut command = Command::new(program);
            command.args(arguments).arg(plain.get_program()).args(plain.get_args());
            report(&pair.lb1, command)
        };
        let no_bpf =
            within("setpriv", &["--bounding-set", "-sys_admin,-bpf,-perfmon", "--inh-caps", "-all"])?;
        no_bpf.assert("privileges", "warning", "CAP_BPF and CAP_PERFMON are missing");
        no_bpf.assert("kernel", "warning", "it does not take the fence");
        // The mount is of a namespace that ends with the command.
        let script =
            "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$0\" \"$@\"";
        let read_only = within("unshare", &["--mount", "sh", "-c", script])?;
        read_only.assert(
            "sysctl",
            "failed",
            "eth0/arp_ignore: it is 0 and must be 1, which can't be set from here",
        );
        Ok(())
    });
}
