//! One world: an appliance, its sleds, GitHub and people, in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use control::{Event, Inventory, Source};
use messages::{AgentKey, EffectId, Millis, SledId, TicketToken};

use crate::{
    checks::{Checks, Violation, broken},
    day::Record,
    defect::Defect,
    engine::{Asker, Engine},
    faults::Faults,
    github::Github,
    machine::{Machine, Phase},
    options::{Boundary, Options, Shape},
    random::Random,
    traffic::Traffic,
};

mod acts;
mod end;
mod hub;
mod inventory;
mod jobs;
mod log;
mod outages;
mod people;
mod plan;
mod replay;
mod sleds;
mod talk;
mod turns;
mod watch;

pub(crate) const SECOND: u64 = 1000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
/// Longest run of a job by the pools' limits, in seconds.
pub(crate) const MAX_RUNTIME_S: u64 = 600;
/// Virtual time in which everything must have settled after the faults end,
/// and how much more of it for each job that waits then.
const PATIENCE: u64 = 36 * 60 * MINUTE;
const PATIENCE_PER_JOB: u64 = 20 * MINUTE;

/// What happened in a world that held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Turns of the engine.
    pub turns: u64,
    /// Commits.
    pub commits: u64,
    /// Answers.
    pub answers: u64,
    /// Effects begun.
    pub effects: u64,
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
    /// Sleds turned on by command.
    pub edges: u64,
    /// Sleds withheld at the end.
    pub withheld: usize,
}

/// A world that broke.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What it was.
    pub shape: Shape,
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
            "seed {} broke {} at {} ms: {}\nin a world of {}",
            self.seed, self.violation.invariant, self.at, self.violation.detail, self.shape
        )
    }
}

pub use replay::replay;

/// Something that is due at a time.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Turn,
    Wake,
    Start,
    Restart,
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
    Repeat {
        event: Event,
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
    /// An attempt at a delivery ends, and is in GitHub's log.
    Attempt {
        index: usize,
        began: u64,
        lost: bool,
    },
    /// The shell that reads the log does its next step.
    Log(log::Next),
    /// The shell that sweeps begins.
    Sweep,
    /// What it found about a job.
    Swept {
        report: Box<control::JobReport>,
    },
    JobExpires {
        number: u64,
    },
    Api {
        incarnation: u64,
        id: EffectId,
        answered: bool,
    },
    Answer {
        incarnation: u64,
        event: Event,
    },
    Declare,
    Push,
    Minute,
}

pub(crate) type Step = Result<(), Violation>;

/// One world.
pub(crate) struct World {
    pub(crate) now: u64,
    /// What the appliance's clock is wrong by since its last start.
    pub(crate) skew: i64,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(crate) defect: Option<Defect>,
    pub(crate) crash_at: Option<Boundary>,
    pub(crate) engine: Engine,
    pub(crate) machines: Vec<Machine>,
    pub(crate) github: Github,
    pub(crate) checks: Checks,
    /// What the operator means.
    pub(crate) inventory: Inventory,
    /// What the appliance took for it last.
    pub(crate) declared: Inventory,
    pub(crate) traffic: Traffic,
    pub(crate) calm: bool,
    pub(crate) calm_at: u64,
    /// People put every sled and pool back into service since then.
    pub(crate) resumed: bool,
    /// What was open when the faults ended.
    pub(crate) open_at_calm: u64,
    /// Sleds turned on by command since then.
    pub(crate) edges_in_calm: u64,
    /// Minutes for which a pool's jobs waited beside its idle sleds.
    pub(crate) starving: BTreeMap<messages::PoolId, u64>,
    pub(crate) attended: bool,
    pub(crate) expires: bool,
    /// The appliance may list its runners at GitHub. Where it may not, it has
    /// to think of each of them by itself.
    pub(crate) lists: bool,
    pub(crate) turn_due: bool,
    pub(crate) wake_at: Option<u64>,
    /// No commit succeeds before this time.
    pub(crate) disk_full_until: u64,
    /// The engine rests after a commit that failed.
    pub(crate) paused_until: u64,
    /// No delivery comes through before this time.
    pub(crate) tunnel_out_until: u64,
    /// Restarts of a quick series still to come.
    pub(crate) restarts: u64,
    /// Effects whose request is under way, by incarnation.
    pub(crate) requests: BTreeMap<(u64, EffectId), control::Effect>,
    /// Who got which order.
    pub(crate) orders: BTreeMap<String, (usize, u64)>,
    /// Names of runners that were started.
    pub(crate) started: BTreeSet<String>,
    /// Who speaks for which ticket.
    pub(crate) redeemers: BTreeMap<TicketToken, AgentKey>,
    /// Jobs that GitHub gave up because it did not hear of their runners.
    pub(crate) lost: BTreeSet<u64>,
    /// Tickets that somebody forged messages for.
    pub(crate) forged: BTreeSet<TicketToken>,
    /// Tickets of earlier power-ons, with their keys.
    pub(crate) old_tickets: Vec<(TicketToken, AgentKey)>,
    /// Jobs that the appliance answered to be not its own.
    pub(crate) ignored: BTreeSet<u64>,
    /// Sleds of some pools have to prove themselves.
    proves: bool,
    /// Labels that runs were dispatched for.
    dispatched: BTreeSet<String>,
    /// What sleds owed after the last commit: their labels.
    owed: BTreeMap<SledId, String>,
    /// Sleds that may be in service because of what people did.
    excused: BTreeSet<String>,
    pub(crate) summary: Summary,
    pub(crate) record: Option<Record>,
    /// What is counted where a history is replayed.
    replay: Option<Box<replay::Replayed>>,
    shape: Shape,
    agenda: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    turns_this_minute: u64,
    trace: Option<VecDeque<String>>,
    print: bool,
}

impl World {
    pub(crate) fn new(seed: u64, options: &Options) -> Self {
        let plan = plan::Plan::draw(seed, options);
        let mut random = Random::new(seed);
        let machines: Vec<Machine> = (0..usize::try_from(plan.shape.sleds).unwrap_or(1))
            .map(|index| {
                let slowness = if random.chance(200) { 15_000 } else { 800 };
                Machine::new(index, slowness)
            })
            .collect();
        let mut inventory = inventory::draw(&machines, &mut Random::of(seed, 3));
        inventory::draw_policies(&mut inventory, &mut Random::of(seed, 4));
        let proves = inventory::draw_proofs(&mut inventory, &mut Random::of(seed, 8));
        let expires = random.chance(500);
        let mut world = Self {
            now: START,
            skew: 0,
            random,
            faults: plan.faults,
            defect: options.defect,
            crash_at: options.crash_at,
            engine: Engine::new(plan.limits),
            machines,
            github: Github::default(),
            checks: Checks::new(plan.shape.sleds),
            inventory,
            declared: Inventory::default(),
            traffic: plan.traffic,
            calm: false,
            calm_at: START + plan.shape.minutes * MINUTE,
            resumed: false,
            open_at_calm: 0,
            edges_in_calm: 0,
            starving: BTreeMap::new(),
            attended: plan.attended,
            expires,
            lists: Random::of(seed, 6).chance(500),
            turn_due: false,
            wake_at: None,
            disk_full_until: 0,
            paused_until: 0,
            tunnel_out_until: 0,
            restarts: 0,
            requests: BTreeMap::new(),
            orders: BTreeMap::new(),
            started: BTreeSet::new(),
            redeemers: BTreeMap::new(),
            lost: BTreeSet::new(),
            forged: BTreeSet::new(),
            old_tickets: Vec::new(),
            ignored: BTreeSet::new(),
            proves,
            dispatched: BTreeSet::new(),
            owed: BTreeMap::new(),
            excused: BTreeSet::new(),
            summary: Summary::default(),
            record: options.record.then(Record::default),
            replay: None,
            shape: plan.shape,
            agenda: BTreeMap::new(),
            sequence: 0,
            turns_this_minute: 0,
            trace: options.keep.then(VecDeque::new),
            print: options.print,
        };
        world.at(0, Happening::Start);
        world.at(0, Happening::Minute);
        world.at(5 * SECOND, Happening::Push);
        world
    }

    /// Puts something on the agenda, `wait` milliseconds from now.
    pub(crate) fn at(&mut self, wait: u64, happening: Happening) {
        self.sequence += 1;
        self.agenda
            .insert((self.now + wait, self.sequence), happening);
    }

    /// What the appliance takes for the time.
    pub(crate) const fn core_time(&self) -> Millis {
        Millis(self.now.saturating_add_signed(self.skew))
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
            let pause = self.paused_until.saturating_sub(self.now);
            self.at(wait.max(pause), Happening::Turn);
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
            Happening::Restart => self.restart(),
            Happening::BmcDone { sled } => self.bmc_done(sled),
            Happening::Reach { sled, epoch, phase } => self.reach(sled, epoch, phase),
            Happening::Ask { sled, epoch } => self.ask(sled, epoch),
            Happening::Retry { sled, epoch, asked } => self.retry(sled, epoch, asked),
            Happening::Repeat { event } => {
                self.note(|| format!("again: {event:?}"));
                self.submit(event, Asker::Nobody);
                Ok(())
            }
            Happening::SelfOff { sled, epoch } => self.self_off(sled, epoch),
            Happening::HandOff { sled, epoch } => self.hand_off(sled, epoch),
            Happening::Listen { name, sled, epoch } => self.listen(&name, sled, epoch),
            Happening::Expire { name } => self.expire(&name),
            Happening::JobEnd {
                number,
                sled,
                epoch,
            } => self.job_end(number, sled, epoch),
            Happening::Notice { number } => self.lose(number),
            Happening::ForeignTake { number } => self.foreign_take(number),
            Happening::ForeignEnd { number } => self.complete(number, "success"),
            Happening::Cancel { number } => self.cancel(number),
            Happening::Deliver { index, source } => self.deliver(index, source),
            Happening::Repair { index } => self.repair(index),
            Happening::Attempt { index, began, lost } => self.attempt(index, began, lost),
            Happening::Log(next) => self.log(next),
            Happening::Sweep => self.sweep(),
            Happening::Swept { report } => self.found(report),
            Happening::JobExpires { number } => self.job_expires(number),
            Happening::Api {
                incarnation,
                id,
                answered,
            } => self.api(incarnation, id, answered),
            Happening::Answer { incarnation, event } => {
                if incarnation == self.engine.incarnation {
                    self.submit(event, Asker::Nobody);
                }
                Ok(())
            }
            Happening::Declare => self.declare(),
            Happening::Push => self.push(),
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
                let patience = PATIENCE + self.open_at_calm * PATIENCE_PER_JOB;
                if self.now > self.calm_at + patience {
                    return Err(broken("drains", self.leftovers()));
                }
            }
        }
    }

    /// Counts turns: a loop that never rests shows as too many of them.
    fn count_turn(&mut self) -> Step {
        self.summary.turns += 1;
        self.turns_this_minute += 1;
        let bound = 400 + 150 * self.machines.len() as u64 + self.github.jobs.len() as u64;
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

/// Runs the world of a seed.
///
/// # Errors
/// The invariant that broke, with what happened last.
pub fn run(seed: u64, options: &Options) -> Result<Summary, Box<Failure>> {
    run_recorded(seed, options).map(|(summary, _)| summary)
}

/// Runs the world of a seed and keeps what a picture needs, when the options
/// ask for it.
///
/// # Errors
/// The invariant that broke, with what happened last.
pub fn run_recorded(
    seed: u64,
    options: &Options,
) -> Result<(Summary, Option<Record>), Box<Failure>> {
    match run_once(seed, options) {
        Err(_) if !options.keep && !options.print => {
            // Writing lines costs more than the world: only a broken one is
            // lived again with its diary.
            let options = Options {
                keep: true,
                ..options.clone()
            };
            run_once(seed, &options)
        }
        outcome => outcome,
    }
}

/// Runs the world of a seed once.
///
/// # Errors
/// The invariant that broke.
pub(crate) fn run_once(
    seed: u64,
    options: &Options,
) -> Result<(Summary, Option<Record>), Box<Failure>> {
    let mut world = World::new(seed, options);
    match world.run() {
        Ok(summary) => Ok((summary, world.record)),
        Err(violation) => Err(Box::new(Failure {
            seed,
            shape: world.shape,
            violation,
            at: Millis(world.now - START),
            last: world.trace.unwrap_or_default(),
        })),
    }
}
