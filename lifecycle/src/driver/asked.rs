//! What was asked of this node.

use fulcrum_config::{Config, GroupName, NodeName, ServiceName};
use fulcrum_lb::Stage;
use fulcrum_peer::{Prepared, Preparing};
use fulcrum_vip_manager::Part;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was asked of this node: a snapshot, latest wins.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The configuration to run.
    pub config: Arc<Config>,
    /// Grows with each configuration and each trial.
    pub revision: u64,
    /// Grows with each configuration; 1 is that of the start.
    pub generation: u64,
    /// Of what the nodes share of the configuration: grows with each change of that, here or on a peer.
    pub serial: u64,
    /// What to say to the peers of changes of it.
    pub changes: fulcrum_peer::Changes,
    /// A configuration whose listeners are tried out.
    pub trial: Option<Trial>,
    /// Groups that an operator asked this node to leave, perhaps to a node that was named.
    pub standing_down: BTreeMap<GroupName, Option<NodeName>>,
    /// Groups that it is to leave because it is drained, or held back.
    pub drained: BTreeSet<GroupName>,
    /// Why it is held back.
    pub held_back: Option<String>,
    /// Groups of class control-plane that this node moves to another, or wants to, each with the number of that move.
    pub moves: BTreeMap<GroupName, u64>,
    /// Groups that it wants to hand over once another node is prepared for them.
    pub prepares: BTreeMap<GroupName, Preparing>,
    /// How it went to prepare for what others want to hand over to this one.
    pub prepared: BTreeMap<u64, Prepared>,
    /// Resign everything.
    pub stopping: bool,
    /// End the engines.
    pub ending: bool,
    /// Whether another process of this node takes over.
    pub succession: Succession,
    /// How many such processes were given up.
    pub given_up: u64,
}

impl Asked {
    /// What a node is asked at its start.
    pub(super) fn at_start(config: Arc<Config>, serial: u64) -> Self {
        Self {
            config,
            revision: 0,
            generation: 1,
            serial,
            changes: fulcrum_peer::Changes::default(),
            trial: None,
            standing_down: BTreeMap::new(),
            drained: BTreeSet::new(),
            held_back: None,
            moves: BTreeMap::new(),
            prepares: BTreeMap::new(),
            prepared: BTreeMap::new(),
            stopping: false,
            ending: false,
            succession: Succession::None,
            given_up: 0,
        }
    }

    /// Groups that this node takes only if nobody else does.
    pub(super) fn left(&self) -> BTreeMap<GroupName, Option<NodeName>> {
        let drained = self.drained.iter().map(|group| (group.clone(), None));
        drained.chain(self.standing_down.clone()).collect()
    }
}

/// Listeners that are tried out while the configuration that runs stays in force for all else.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What `lb` serves meanwhile; `None` once the trial has failed, until what it disturbed stands again.
    pub table: Option<Arc<Config>>,
    /// The services that it changes: their errors are the trial's, and no reason to give up a group.
    pub services: BTreeSet<ServiceName>,
}

/// How far another process of this node has come with taking over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Succession {
    /// There is no other.
    #[default]
    None,
    /// It gets listeners, and has the forwarding plane; this one takes clients.
    Lends,
    /// It was given up. Counts such.
    Retaken(u64),
    /// It takes all new clients. This one leads still, for it has the link to the peers.
    Served,
    /// It has everything but the connections that this process finishes.
    Left,
}

impl Succession {
    pub(super) fn stage(self) -> Stage {
        match self {
            Self::None | Self::Retaken(_) => Stage::Whole,
            Self::Lends => Stage::Lends,
            Self::Served | Self::Left => Stage::Left,
        }
    }

    pub(super) fn part(self) -> Part {
        match self {
            Self::None | Self::Lends | Self::Served => Part::Whole,
            Self::Retaken(times) => Part::Retaken(times),
            Self::Left => Part::Left,
        }
    }
}
