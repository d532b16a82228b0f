//! A sled: its power, its BMC, and whatever boots on it.

use std::collections::VecDeque;

use control::Effect;
use messages::{AgentKey, EffectId, Generation, Mac, SledId, TicketToken};

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
    /// A reading of its settings.
    Facts(SledId, Generation),
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
    /// It says off while its sled is on before this time.
    pub(crate) lies_until: u64,
    /// Also while a runner runs.
    pub(crate) lies_in_run: bool,
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
    /// Its supply goes through a relay, whose sense line shows the machine.
    pub(crate) has_relay: bool,
    /// That relay is closed: it may start by itself.
    pub(crate) closed: bool,
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
    pub(crate) ran_at: u64,
    /// How its runner ended.
    pub(crate) exit: i32,
    /// Switched on by hand, or by itself when power came back.
    pub(crate) by_hand: bool,
    /// Counts changes to its BMC's settings: jobs with root reach them.
    pub(crate) settings: u64,
    /// Turned on by our command, with network boot set and read back.
    pub(crate) forced: bool,
    /// When its BMC last said off in this power-on, and that was not so.
    pub(crate) lied_at: Option<u64>,
    /// Its BMC said that our command turned it on, while it was on already.
    pub(crate) feigned: bool,
    /// Its boot was over while it was on, because its BMC lied.
    pub(crate) given_up: bool,
    /// When the appliance last answered its agent.
    pub(crate) spoke_at: u64,
    /// What will go wrong.
    pub(crate) fate: Fate,
}

/// What the names of sleds begin with.
const NAME: &str = "sled-";

/// The number of the machine with this name.
pub(crate) fn index_of(name: &str) -> Option<usize> {
    name.strip_prefix(NAME)?.parse().ok()
}

impl Machine {
    /// One that is off.
    #[must_use]
    pub(crate) fn new(index: usize, slowness: u64) -> Self {
        let [.., high, low] = index.to_be_bytes();
        Self {
            name: format!("{NAME}{index:02}"),
            mac: Mac([0x52, 0x54, 0, 0x77, high, low]),
            bmc: Bmc {
                slowness,
                ..Bmc::default()
            },
            epoch: 0,
            has_relay: index % 3 == 2,
            closed: false,
            phase: Phase::Off,
            asked: 0,
            moving: false,
            tries: 0,
            ticket: None,
            key: AgentKey([0; 32]),
            wiped: false,
            order: None,
            ran: false,
            ran_at: 0,
            exit: 0,
            by_hand: false,
            settings: 0,
            forced: false,
            lied_at: None,
            feigned: false,
            given_up: false,
            spoke_at: 0,
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
        self.closed = self.has_relay;
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
        self.forced = false;
        self.lied_at = None;
        self.feigned = false;
        self.given_up = false;
        self.spoke_at = 0;
        self.fate = fate;
    }

    /// It starts anew without having been off.
    pub(crate) fn boot_anew(&mut self, key: AgentKey) {
        self.phase = Phase::Dhcp;
        self.asked += 1;
        self.ticket = None;
        self.key = key;
        self.wiped = false;
        self.order = None;
        self.fate = Fate::default();
    }

    /// Power goes. Its relay stays as it is, unless a hand had turned it on.
    pub(crate) fn turn_off(&mut self) {
        self.epoch += 1;
        self.phase = Phase::Off;
        self.closed &= !self.by_hand;
        self.by_hand = false;
    }
}
