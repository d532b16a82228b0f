//! One world: an appliance, its sleds, GitHub and people, in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use control::{Event, Inventory, Limits, Source};
use messages::{AgentKey, EffectId, Millis, TicketToken};

use crate::{
    checks::{Checks, Violation, broken},
    engine::{Asker, Engine},
    faults::{Defect, Faults},
    github::Github,
    machine::{Machine, Phase},
    random::Random,
};

mod acts;
mod end;
mod hub;
mod people;
mod sleds;
mod turns;

pub(crate) const SECOND: u64 = 1000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
/// Longest run of a job by the pools' limits, in seconds.
pub(crate) const MAX_RUNTIME_S: u64 = 600;
/// Virtual time in which everything must have settled after the faults end.
const PATIENCE: u64 = 36 * 60 * MINUTE;

/// How to run a world.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Print everything that happens.
    pub print: bool,
    /// Keep the last lines of what happens, for the report.
    pub keep: bool,
    /// A defect to build in.
    pub defect: Option<Defect>,
}

/// What happened in a world that held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Turns of the engine.
    pub turns: u64,
    /// Virtual milliseconds.
    pub elapsed_ms: u64,
    /// Crashes.
    pub crashes: u64,
    /// Boots that ended.
    pub receipts: u64,
    /// Runners started.
    pub runs: u64,
    /// Jobs at GitHub.
    pub jobs: usize,
    /// Sleds withheld at the end.
    pub withheld: usize,
}

/// A world that broke.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What was violated.
    pub violation: Violation,
    /// Virtual time of it.
    pub at: Millis,
    /// What happened last.
    pub last: VecDeque<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(f, "  {line}")?;
        }
        writeln!(
            f,
            "seed {} broke {} at {} ms: {}",
            self.seed, self.violation.invariant, self.at, self.violation.detail
        )
    }
}

/// Something that is due at a time.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Turn,
    Wake,
    Start,
    BmcDone {
        sled: usize,
    },
    Reach {
        sled: usize,
        epoch: u64,
        phase: Phase,
    },
    Ask {
        sled: usize,
        epoch: u64,
    },
    Retry {
        sled: usize,
        epoch: u64,
        asked: u64,
    },
    SelfOff {
        sled: usize,
        epoch: u64,
    },
    HandOff {
        sled: usize,
        epoch: u64,
    },
    Listen {
        name: String,
        sled: usize,
        epoch: u64,
    },
    Expire {
        name: String,
    },
    JobEnd {
        number: u64,
        sled: usize,
        epoch: u64,
    },
    Notice {
        number: u64,
    },
    ForeignTake {
        number: u64,
    },
    ForeignEnd {
        number: u64,
    },
    Cancel {
        number: u64,
    },
    Deliver {
        index: usize,
        source: Source,
    },
    Repair {
        index: usize,
    },
    Api {
        incarnation: u64,
        id: EffectId,
        answer_at: Option<u64>,
    },
    Answer {
        incarnation: u64,
        event: Event,
    },
    NewJob,
    Minute,
}

pub(crate) type Step = Result<(), Violation>;

/// One world.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(crate) defect: Option<Defect>,
    pub(crate) engine: Engine,
    pub(crate) machines: Vec<Machine>,
    pub(crate) github: Github,
    pub(crate) checks: Checks,
    pub(crate) inventory: Inventory,
    pub(crate) calm: bool,
    pub(crate) calm_at: u64,
    pub(crate) expires: bool,
    pub(crate) turn_due: bool,
    pub(crate) wake_at: Option<u64>,
    /// Effects whose request is under way, by incarnation.
    pub(crate) requests: BTreeMap<(u64, EffectId), control::Effect>,
    /// Who got which order.
    pub(crate) orders: BTreeMap<String, (usize, u64)>,
    /// Names of runners that were started.
    pub(crate) started: BTreeSet<String>,
    /// Who speaks for which ticket.
    pub(crate) redeemers: BTreeMap<TicketToken, AgentKey>,
    /// Tickets that somebody forged messages for.
    pub(crate) forged: BTreeSet<TicketToken>,
    /// Tickets of earlier power-ons, with their keys.
    pub(crate) old_tickets: Vec<(TicketToken, AgentKey)>,
    /// Jobs that the appliance answered to be not its own.
    pub(crate) ignored: BTreeSet<u64>,
    pub(crate) jobs_left: u64,
    pub(crate) summary: Summary,
    agenda: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    turns_this_minute: u64,
    trace: Option<VecDeque<String>>,
    print: bool,
}

impl World {
    pub(crate) fn new(seed: u64, options: &Options) -> Self {
        let mut random = Random::new(seed);
        let faults = Faults::draw(&mut random);
        let limits = limits(&mut random);
        let sleds = match random.below(4) {
            0 => 1,
            1 | 2 => random.between(2, 5),
            _ => random.between(6, 20),
        };
        let machines: Vec<Machine> = (0..usize::try_from(sleds).unwrap_or(1))
            .map(|index| {
                let slowness = if random.chance(200) { 15_000 } else { 800 };
                Machine::new(index, slowness)
            })
            .collect();
        let inventory = people::inventory(&machines, &mut random);
        let jobs_left = random.between(1, 15 + 2 * sleds);
        let calm_at = START + random.between(15, 45) * MINUTE;
        let expires = random.chance(500);
        let mut world = Self {
            now: START,
            random,
            faults,
            defect: options.defect,
            engine: Engine::new(limits),
            machines,
            github: Github::default(),
            checks: Checks::default(),
            inventory,
            calm: false,
            calm_at,
            expires,
            turn_due: false,
            wake_at: None,
            requests: BTreeMap::new(),
            orders: BTreeMap::new(),
            started: BTreeSet::new(),
            redeemers: BTreeMap::new(),
            forged: BTreeSet::new(),
            old_tickets: Vec::new(),
            ignored: BTreeSet::new(),
            jobs_left,
            summary: Summary::default(),
            agenda: BTreeMap::new(),
            sequence: 0,
            turns_this_minute: 0,
            trace: options.keep.then(VecDeque::new),
            print: options.print,
        };
        world.at(0, Happening::Start);
        world.at(0, Happening::Minute);
        world.at(5 * SECOND, Happening::NewJob);
        world
    }

    /// Puts something on the agenda, `wait` milliseconds from now.
    pub(crate) fn at(&mut self, wait: u64, happening: Happening) {
        self.sequence += 1;
        self.agenda
            .insert((self.now + wait, self.sequence), happening);
    }

    pub(crate) const fn time(&self) -> Millis {
        Millis(self.now)
    }

    pub(crate) const fn is_traced(&self) -> bool {
        self.print || self.trace.is_some()
    }

    /// Notes what happened, when somebody wants to know.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if !self.is_traced() {
            return;
        }
        let line = format!("{:>9} {}", self.now - START, line());
        if self.print {
            println!("{line}");
        }
        if let Some(trace) = &mut self.trace {
            if trace.len() >= 60 {
                trace.pop_front();
            }
            trace.push_back(line);
        }
    }

    /// An event for the engine.
    pub(crate) fn submit(&mut self, event: Event, asker: Asker) {
        if self.engine.state.is_none() {
            return;
        }
        self.engine.queue.push((event, asker));
        if !self.turn_due {
            self.turn_due = true;
            let wait = self.random.below(4);
            self.at(wait, Happening::Turn);
        }
    }

    fn happen(&mut self, happening: Happening) -> Step {
        match happening {
            Happening::Turn => {
                self.turn_due = false;
                self.turn(false)
            }
            Happening::Wake => self.woken(),
            Happening::Start => self.start(),
            Happening::BmcDone { sled } => self.bmc_done(sled),
            Happening::Reach { sled, epoch, phase } => self.reach(sled, epoch, phase),
            Happening::Ask { sled, epoch } => self.ask(sled, epoch),
            Happening::Retry { sled, epoch, asked } => self.retry(sled, epoch, asked),
            Happening::SelfOff { sled, epoch } => self.self_off(sled, epoch),
            Happening::HandOff { sled, epoch } => self.hand_off(sled, epoch),
            Happening::Listen { name, sled, epoch } => self.listen(&name, sled, epoch),
            Happening::Expire { name } => self.expire(&name),
            Happening::JobEnd {
                number,
                sled,
                epoch,
            } => self.job_end(number, sled, epoch),
            Happening::Notice { number } => self.complete(number, "failure"),
            Happening::ForeignTake { number } => self.foreign_take(number),
            Happening::ForeignEnd { number } => self.complete(number, "success"),
            Happening::Cancel { number } => self.cancel(number),
            Happening::Deliver { index, source } => self.deliver(index, source),
            Happening::Repair { index } => self.repair(index),
            Happening::Api {
                incarnation,
                id,
                answer_at,
            } => self.api(incarnation, id, answer_at),
            Happening::Answer { incarnation, event } => {
                if incarnation == self.engine.incarnation {
                    self.submit(event, Asker::Nobody);
                }
                Ok(())
            }
            Happening::NewJob => self.new_job(),
            Happening::Minute => self.minute(),
        }
    }

    /// Runs until everything has settled after the faults ended.
    fn run(&mut self) -> Result<Summary, Violation> {
        loop {
            let Some(((at, _), happening)) = self.agenda.pop_first() else {
                return Err(broken("drains", "nothing is due any more"));
            };
            if at / MINUTE != self.now / MINUTE {
                self.turns_this_minute = 0;
            }
            self.now = at;
            let minute = matches!(happening, Happening::Minute);
            self.happen(happening)?;
            if minute && self.calm {
                if self.is_settled() {
                    self.final_checks()?;
                    self.summary.elapsed_ms = self.now - START;
                    self.summary.jobs = self.github.jobs.len();
                    return Ok(self.summary.clone());
                }
                if self.now > self.calm_at + PATIENCE {
                    return Err(broken("drains", self.leftovers()));
                }
            }
        }
    }

    /// Counts turns: a loop that never rests shows as too many of them.
    fn count_turn(&mut self) -> Step {
        self.summary.turns += 1;
        self.turns_this_minute += 1;
        let bound = 400 + 150 * self.machines.len() as u64;
        if self.turns_this_minute > bound {
            return Err(broken(
                "no-busy-loop",
                format!("more than {bound} turns in one minute"),
            ));
        }
        Ok(())
    }
}

/// Virtual time at the start: a plausible Unix time.
pub(crate) const START: u64 = 1_790_000_000_000;

fn limits(random: &mut Random) -> Limits {
    Limits {
        power_on_ms: 2 * MINUTE,
        netboot_ms: 4 * MINUTE,
        wipe_ms: 5 * MINUTE,
        ready_ms: 5 * MINUTE,
        accept_ms: 3 * MINUTE,
        idle_ms: 3 * MINUTE,
        finish_ms: 2 * MINUTE,
        cuts: 3,
        off_poll_ms: 5 * SECOND,
        power_poll_ms: MINUTE,
        history: if random.chance(100) { 60 } else { 1000 },
        queue: 1000,
        ..Limits::default()
    }
}

/// Runs the world of a seed.
///
/// # Errors
/// The invariant that broke, with what happened last.
pub fn run(seed: u64, options: &Options) -> Result<Summary, Box<Failure>> {
    let mut world = World::new(seed, options);
    match world.run() {
        Ok(summary) => Ok(summary),
        Err(violation) if options.keep || options.print => Err(Box::new(Failure {
            seed,
            violation,
            at: Millis(world.now - START),
            last: world.trace.unwrap_or_default(),
        })),
        // Writing lines costs more than the world: only a broken one is
        // lived again with its diary.
        Err(_) => run(
            seed,
            &Options {
                keep: true,
                ..options.clone()
            },
        ),
    }
}
