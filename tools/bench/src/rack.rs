//! An appliance and its sleds, all in this process: the daemon's own receiver,
//! engine, store, vault, agent listener and, where GitHub is asked, its client
//! and log reader; agents that talk to it over loopback as from outside. Only
//! power and firmware are played.

mod agent;
mod appliance;

pub(crate) use agent::live;
pub(crate) use appliance::{Appliance, Github, Setting};

/// What an agent tells of its order.
pub(crate) struct Ordered {
    pub(crate) runner: String,
    pub(crate) at: std::time::Instant,
}
