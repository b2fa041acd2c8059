//! What happens to the pair, one chapter after another.

use crate::lasting::{Lasting, Servers, Stalls};
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, wait_served_by};
use fulcrum_tests::probe::{Options, Probe, Timeline};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the client is watched before and after each event.
const CALM: Duration = Duration::from_millis(1500);
const LONG: Duration = Duration::from_secs(20);

/// Everything that stands on the stage.
pub(crate) struct Stage {
    pub(crate) pair: Pair,
    text: String,
    nodes: Nodes,
    probe: Probe,
    /// A download and a terminal, and who serves them.
    lasting: Option<(Lasting, Servers)>,
}

/// The nodes that were started last, by name.
type Nodes = Mutex<BTreeMap<String, Arc<Fulcrum>>>;

/// One event, and the time in which the client is watched for it.
#[derive(Debug, Clone)]
pub(crate) struct Chapter {
    pub(crate) title: &'static str,
    pub(crate) at: Instant,
    pub(crate) until: Instant,
    pub(crate) leader_before: String,
    pub(crate) leader_after: String,
    pub(crate) stalls: Option<Stalls>,
}

impl Stage {
    /// Builds the lab, starts the web servers, the pair and the client. `forwards`: also what goes on through a takeover.
    pub(crate) fn build(lab: &Lab, text: &str, forwards: bool) -> Result<Self> {
        let pair = Pair::new(lab)?;
        let servers = forwards.then(|| Servers::start(&pair)).transpose()?;
        let nodes = Nodes::default();
        for (machine, role) in [(&pair.lb1, "leader"), (&pair.lb2, "standby")] {
            start(&nodes, machine, text)?;
            wait_until(&format!("{} to be {role}", machine.name()), LONG, || {
                role_of(&nodes, machine.name()) == role
            })?;
        }
        let options = Options {
            interval: Duration::from_millis(1),
            timeout: Duration::from_millis(100),
            ..Options::default()
        };
        let probe = Probe::start(&pair.client, pair.service(), options)?;
        wait_served_by(&probe, &pair.lb1)?;
        let lasting =
            servers.map(|servers| Ok::<_, LabError>((servers.connect(&pair)?, servers))).transpose()?;
        Ok(Self { pair, text: text.to_owned(), nodes, probe, lasting })
    }

    /// What a node says it is.
    pub(crate) fn role(&self, name: &str) -> String {
        role_of(&self.nodes, name)
    }

    fn node(&self, name: &str) -> Result<Arc<Fulcrum>> {
        find(&self.nodes, name).ok_or_else(|| LabError::new(format!("{name} does not run")))
    }

    /// What the client saw of requests that began since a moment, not long ago.
    pub(crate) fn recent(&self, since: Instant) -> Timeline {
        self.probe.recent(since)
    }

    /// The node through which the latest answered request of the last second went, as the backend saw it.
    pub(crate) fn leader(&self) -> String {
        let via = now().checked_sub(Duration::from_secs(1)).and_then(|since| {
            self.recent(since).samples().iter().rev().find_map(fulcrum_tests::probe::Sample::via)
        });
        let nodes = [&self.pair.lb1, &self.pair.lb2];
        let leader = nodes.iter().find(|node| via == Some(node.ipv4()));
        leader.map_or("nobody", |node| node.name()).to_owned()
    }

    /// How long the download and the terminal stalled between two moments.
    fn stalls(&self, from: Instant, to: Instant) -> Option<Stalls> {
        self.lasting.as_ref().map(|(lasting, _)| lasting.stalls(from, to))
    }

    /// What became of the download and the terminal; an error if one of them broke.
    pub(crate) fn account(&self) -> Option<std::result::Result<String, String>> {
        self.lasting.as_ref().map(|(lasting, _)| lasting.account())
    }

    /// Stops the client and gives all it saw.
    pub(crate) fn finish(&self) -> Timeline {
        self.probe.stop();
        self.probe.timeline()
    }
}

fn find(nodes: &Nodes, name: &str) -> Option<Arc<Fulcrum>> {
    nodes.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
}

fn start(nodes: &Nodes, machine: &Machine, text: &str) -> Result<()> {
    let config = format!(
        "node: {}\n{text}\nadmin: {{socket: {}, state_dir: {}}}\n",
        machine.name(),
        Fulcrum::socket_of(machine).display(),
        machine.file("state").display()
    );
    let node = Arc::new(Fulcrum::start(machine, &config)?);
    nodes.lock().unwrap_or_else(PoisonError::into_inner).insert(machine.name().to_owned(), node);
    Ok(())
}

fn role_of(nodes: &Nodes, name: &str) -> String {
    let Some(node) = find(nodes, name) else { return "off".into() };
    if node.process().ended().is_some() {
        return "dead".into();
    }
    node.status().ok().and_then(|status| status.role(GROUP).map(str::to_owned)).unwrap_or("silent".into())
}

/// Plays all chapters; `say` is told what happens.
pub(crate) fn tell(stage: &Stage, lab: &Lab, say: &(dyn Fn(&str) + Sync)) -> Result<Vec<Chapter>> {
    let (lb1, lb2) = (&stage.pair.lb1, &stage.pair.lb2);
    let scene = Scene { stage, say };
    say("lb1 leads, lb2 stands by; the client asks a thousand times a second");
    if stage.lasting.is_some() {
        say("a download and a terminal go on meanwhile, each over one connection in mode dsr");
    }
    run_for(CALM);
    let mut chapters = Vec::new();

    chapters.push(scene.play("the leader's daemon is killed (kill -9)", lb2, || stage.node("lb1")?.kill())?);
    scene.return_of(lb1)?;

    chapters.push(scene.play("the leader's link is cut", lb1, || lab.switch().cut(lb2))?);
    lab.switch().heal()?;
    scene.stands_by("lb2", "the link is whole again")?;

    chapters.push(scene.play("the leader's machine freezes", lb2, || stage.node("lb1")?.process().freeze())?);
    stage.node("lb1")?.process().thaw()?;
    scene.stands_by("lb1", "it runs again")?;

    chapters.push(scene.play("the leader hands over (fulcrum handover)", lb1, || {
        stage.node("lb2")?.command(&["handover", GROUP]).map(drop)
    })?);
    scene.stands_by("lb2", "done")?;

    chapters.push(scene.play("the leader's machine loses power", lb2, || {
        stage.node("lb1")?.process().kill_with_children()
    })?);
    Ok(chapters)
}

struct Scene<'a> {
    stage: &'a Stage,
    say: &'a (dyn Fn(&str) + Sync),
}

impl Scene<'_> {
    /// Does something to the leader and watches until `heir` serves.
    fn play(&self, title: &'static str, heir: &Machine, act: impl FnOnce() -> Result<()>) -> Result<Chapter> {
        let leader_before = self.stage.leader();
        (self.say)(&format!("{title}: {leader_before}"));
        let at = now();
        act()?;
        wait_served_by(&self.stage.probe, heir)?;
        run_for(CALM);
        let until = now();
        let seen = self.stage.recent(at);
        let leader_after = self.stage.leader();
        (self.say)(&format!(
            "  {leader_after} serves; longest gap {} ms, {} requests failed",
            seen.longest_gap().as_millis(),
            seen.failed()
        ));
        let stalls = self.stage.stalls(at, until);
        if let Some(Stalls { download, terminal }) = stalls {
            (self.say)(&format!(
                "  the download stalled for {} ms, the terminal for {} ms",
                download.as_millis(),
                terminal.as_millis()
            ));
        }
        Ok(Chapter { title, at, until, leader_before, leader_after, stalls })
    }

    /// A node that died is started again.
    fn return_of(&self, machine: &Machine) -> Result<()> {
        start(&self.stage.nodes, machine, &self.stage.text)?;
        self.stands_by(machine.name(), "started again")
    }

    fn stands_by(&self, name: &str, why: &str) -> Result<()> {
        wait_until(&format!("{name} to stand by"), LONG, || self.stage.role(name) == "standby")?;
        (self.say)(&format!("  {name} stands by ({why})"));
        run_for(CALM);
        Ok(())
    }
}
