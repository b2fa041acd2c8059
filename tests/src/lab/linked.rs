//! Two nodes that have a link to each other.

use super::{Fulcrum, GROUP, Lab, Machine, Pair, Plan, Status};
use crate::error::{LabError, Result};
use crate::wait::wait_until;
use std::time::Duration;

/// What anything takes at most, on a busy machine.
const LONG: Duration = Duration::from_secs(25);

/// A pair of nodes with keys, of which both run.
#[derive(Debug)]
pub struct Linked {
    /// The machines, and what the nodes are to do.
    pub pair: Pair,
    /// The nodes.
    pub nodes: Vec<Fulcrum>,
}

impl Linked {
    /// Starts the nodes of a plan that `prepare` has changed, each by `start`; the first leads, and both agree.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn new(
        lab: &Lab,
        prepare: impl FnOnce(&mut Pair),
        start: impl Fn(&Machine, &str) -> Result<Fulcrum>,
    ) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        prepare(&mut pair);
        let first = start(&pair.lb1, &pair.plan.file(&pair.lb1))?;
        first.wait_leader(GROUP)?;
        let second = start(&pair.lb2, &pair.plan.file(&pair.lb2))?;
        let linked = Self { pair, nodes: vec![first, second] };
        linked.wait_agreement()?;
        Ok(linked)
    }

    /// The node of one side, 0 or 1.
    ///
    /// # Errors
    /// There is no such side.
    pub fn node(&self, side: usize) -> Result<&Fulcrum> {
        self.nodes.get(side).ok_or_else(|| LabError::new(format!("there is no side {side}")))
    }

    /// The name of that node.
    #[must_use]
    pub fn name(&self, side: usize) -> &str {
        self.nodes.get(side).map_or("", |node| node.machine.name())
    }

    /// Waits until the status of one node is as it should be.
    ///
    /// # Errors
    /// It does not become so.
    pub fn wait(&self, side: usize, what: &str, is_so: impl Fn(&Status) -> bool) -> Result<()> {
        let node = self.node(side)?;
        wait_until(what, LONG, || node.status().is_ok_and(|status| is_so(&status)))
    }

    /// Waits until both have a link and run the same.
    ///
    /// # Errors
    /// They do not.
    pub fn wait_agreement(&self) -> Result<()> {
        self.wait_agreement_for(LONG)
    }

    /// The same, for so long.
    ///
    /// # Errors
    /// They do not.
    pub fn wait_agreement_for(&self, time: Duration) -> Result<()> {
        let (first, second) = (self.node(0)?, self.node(1)?);
        let agrees = |node: &Fulcrum, other: &Fulcrum| {
            node.status().is_ok_and(|status| status.agrees_with(other.machine.name()))
        };
        wait_until("agreement", time, || agrees(first, second) && agrees(second, first))
    }

    /// Waits until one side knows that the link is down.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_down(&self, side: usize) -> Result<()> {
        let other = self.name(usize::from(side == 0));
        self.wait(side, "the link to be down", |status| {
            status.peer(other).is_some_and(|peer| peer.get("state").is_some_and(|it| it == "down"))
        })
    }

    /// Reloads a node by what `plan` says, with further options.
    ///
    /// # Errors
    /// It is refused: says why.
    pub fn reload(&self, side: usize, plan: &Plan, options: &[&str]) -> Result<String> {
        let node = self.node(side)?;
        node.machine.write("fulcrum.yaml", &plan.file(&node.machine))?;
        node.command(&[&["reload"], options].concat())
    }

    /// What an operator is told who is refused.
    #[must_use]
    pub fn refused(&self, side: usize, arguments: &[&str]) -> String {
        match self.node(side).and_then(|node| node.command(arguments)) {
            Ok(done) => format!("DONE: {done}"),
            Err(refusal) => refusal.to_string(),
        }
    }

    /// Stops a node, starts it again with the file that it has, and waits until both agree.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn restart(&mut self, side: usize) -> Result<()> {
        let node = self.node(side)?;
        let file = std::fs::read_to_string(node.config())?;
        let machine = node.machine.clone();
        node.process().terminate(LONG)?;
        let started = Fulcrum::start(&machine, &file)?;
        if let Some(node) = self.nodes.get_mut(side) {
            *node = started;
        }
        self.wait_agreement()
    }
}
