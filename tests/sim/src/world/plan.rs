//! How large a world is, how long it lasts and how much goes on in it.

use control::Limits;

use super::{MINUTE, SECOND};
use crate::{
    faults::Faults,
    options::{Options, Shape},
    random::Random,
    traffic::{Model, Traffic},
};

const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What a job costs a sled on average: boot, wipe, run, power off.
const JOB_COST: u64 = 5 * MINUTE;

/// Minutes for which the rates of faults over time are meant.
const USUAL_MINUTES: u64 = 40;

/// Sleds for which the rates of faults by turn are meant.
const USUAL_SLEDS: u64 = 5;

/// A world before it begins.
pub(super) struct Plan {
    pub(super) shape: Shape,
    pub(super) faults: Faults,
    pub(super) traffic: Traffic,
    pub(super) limits: Limits,
    /// It lasts so long that people come by to mend what is broken.
    pub(super) attended: bool,
}

impl Plan {
    /// The plan of a seed. What the options fix is fixed after everything was
    /// drawn, so that it changes nothing else.
    pub(super) fn draw(seed: u64, options: &Options) -> Self {
        let mut random = Random::of(seed, 1);
        let sleds = draw_sleds(&mut random);
        let minutes = draw_minutes(&mut random, sleds);
        let sleds = options.sleds.unwrap_or(sleds).clamp(1, 10_000);
        let minutes = options.minutes.unwrap_or(minutes).max(1);
        let model = draw_model(&mut random, minutes);
        let model = options.traffic.unwrap_or(model);
        // Load in the busiest hour, in thousandths of what the sleds can do.
        let load = random.between(300, 1300);
        let gap = (JOB_COST * 1000 / load / sleds).max(1);
        let few = random.between(1, 15 + 2 * sleds);
        let jobs = match model {
            Model::Trickle => few,
            Model::Burst | Model::Day | Model::Matrix => minutes * MINUTE / gap + 4,
        };
        let most = if options.record {
            u64::MAX
        } else {
            20 * sleds + 500
        };
        let jobs = options.jobs.unwrap_or_else(|| jobs.min(most));
        let monday = random.below(7 * 24 * 60) * MINUTE;
        let local_start = if options.record { DAY } else { monday };
        let limits = draw_limits(&mut random);
        let by_turn = |level: u64| level * USUAL_SLEDS / sleds.max(USUAL_SLEDS);
        let by_minute = |level: u64| level * USUAL_MINUTES / minutes.max(USUAL_MINUTES);
        let faults = Faults::draw(
            seed,
            options.faults.as_ref(),
            &options.heavy,
            by_minute,
            |level| by_minute(by_turn(level)),
        );
        Self {
            shape: Shape {
                sleds,
                jobs,
                minutes,
                traffic: model,
                faults: faults.active(),
            },
            traffic: Traffic::new(seed, model, jobs, gap, local_start),
            faults,
            limits,
            attended: minutes >= 180 || sleds >= 20,
        }
    }
}

/// Most worlds are small, because small ones find faults fastest.
fn draw_sleds(random: &mut Random) -> u64 {
    let (small, many) = (random.between(2, 6), random.between(7, 12));
    let (racks, hall) = (random.between(20, 100), random.between(200, 1000));
    match random.below(2500) {
        0 => hall,
        1..=30 => racks,
        31..=200 => many,
        201..=700 => 1,
        _ => small,
    }
}

fn draw_minutes(random: &mut Random, sleds: u64) -> u64 {
    let (short, hours) = (random.between(15, 60), random.between(60, 240));
    let days = random.between(DAY, 3 * DAY) / MINUTE;
    match (random.below(1000), sleds) {
        (_, 101..) => random.between(20, 45),
        (_, 20..) => random.between(30, 120),
        (0..=7, _) => days,
        (8..=79, _) => hours,
        _ => short,
    }
}

fn draw_model(random: &mut Random, minutes: u64) -> Model {
    let long = minutes >= 12 * 60;
    match (random.below(20), long) {
        (0..=12, true) | (0..=2, false) => Model::Day,
        (13..=16, true) | (3..=6, false) => Model::Burst,
        (17..=19, true) | (7..=9, false) => Model::Matrix,
        _ => Model::Trickle,
    }
}

fn draw_limits(random: &mut Random) -> Limits {
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
        queue: if random.chance(50) { 20 } else { 100_000 },
        ..Limits::default()
    }
}
