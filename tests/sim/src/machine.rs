//! A sled: its power, its BMC, and whatever boots on it.

use std::collections::VecDeque;

use control::Effect;
use messages::{AgentKey, EffectId, Generation, Mac, Millis, SledId, TicketToken};

/// Where a powered machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// No power.
    Off,
    /// Firmware asks for an address.
    Dhcp,
    /// The boot loader asks for its script.
    Loader,
    /// The kernel is fetched.
    Kernel,
    /// The agent redeems its ticket.
    Hello,
    /// The agent wipes, then reports.
    Wipe,
    /// The agent asks for its order.
    Poll,
    /// The agent accepts its order.
    Accept,
    /// The runner runs.
    Run,
    /// The agent reports the end.
    Finish,
    /// On, and doing nothing that anybody sees.
    Stuck,
}

/// What a BMC is asked.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// An effect.
    Effect(EffectId, Effect),
    /// A reading.
    Read(SledId, Generation),
}

/// A sled's BMC and the driver before it: one command at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bmc {
    /// Commands, each with the incarnation that asked.
    pub(crate) commands: VecDeque<(u64, Command)>,
    /// One is under way.
    pub(crate) busy: bool,
    /// It answers nothing before this time.
    pub(crate) out_until: u64,
    /// It never answers again.
    pub(crate) dead: bool,
    /// Milliseconds that a command takes, at most.
    pub(crate) slowness: u64,
    /// Newest claim seen by the driver.
    pub(crate) newest: (u32, Generation),
}

/// What will go wrong in one power-on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate {
    /// It gets stuck on reaching this phase.
    pub(crate) dies_at: Option<Phase>,
    /// Its runner does not end after its job.
    pub(crate) hangs: bool,
    /// Its wipe leaves data behind.
    pub(crate) unclean: bool,
    /// Its agent reports a failure at the wipe or the image.
    pub(crate) fails: bool,
}

/// A sled.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Name in the inventory.
    pub(crate) name: String,
    /// Its card.
    pub(crate) mac: Mac,
    /// Its BMC.
    pub(crate) bmc: Bmc,
    /// Counts its power edges.
    pub(crate) epoch: u64,
    /// Where it stands.
    pub(crate) phase: Phase,
    /// Number of the message it waits an answer for.
    pub(crate) asked: u64,
    /// Between two phases: it says nothing.
    pub(crate) moving: bool,
    /// Tries of that message.
    pub(crate) tries: u32,
    /// Ticket of this power-on.
    pub(crate) ticket: Option<TicketToken>,
    /// Key of this power-on's agent.
    pub(crate) key: AgentKey,
    /// A wipe ended clean in this power-on.
    pub(crate) wiped: bool,
    /// The order it holds.
    pub(crate) order: Option<String>,
    /// A runner was started in this power-on.
    pub(crate) ran: bool,
    /// When.
    pub(crate) ran_at: Millis,
    /// How its runner ended.
    pub(crate) exit: i32,
    /// Switched on by hand.
    pub(crate) by_hand: bool,
    /// What will go wrong.
    pub(crate) fate: Fate,
}

impl Machine {
    /// One that is off.
    #[must_use]
    pub(crate) fn new(index: usize, slowness: u64) -> Self {
        let last = u8::try_from(index).unwrap_or(u8::MAX);
        Self {
            name: format!("sled-{index:02}"),
            mac: Mac([0x52, 0x54, 0, 0x77, 0, last]),
            bmc: Bmc {
                slowness,
                ..Bmc::default()
            },
            epoch: 0,
            phase: Phase::Off,
            asked: 0,
            moving: false,
            tries: 0,
            ticket: None,
            key: AgentKey([0; 32]),
            wiped: false,
            order: None,
            ran: false,
            ran_at: Millis(0),
            exit: 0,
            by_hand: false,
            fate: Fate::default(),
        }
    }

    /// Whether it has power.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.phase != Phase::Off
    }

    /// Power comes.
    pub(crate) fn turn_on(&mut self, key: AgentKey, fate: Fate, by_hand: bool) {
        self.epoch += 1;
        self.phase = Phase::Dhcp;
        self.moving = false;
        self.tries = 0;
        self.ticket = None;
        self.key = key;
        self.wiped = false;
        self.order = None;
        self.ran = false;
        self.exit = 0;
        self.by_hand = by_hand;
        self.fate = fate;
    }

    /// Power goes.
    pub(crate) fn turn_off(&mut self) {
        self.epoch += 1;
        self.phase = Phase::Off;
        self.by_hand = false;
    }
}
