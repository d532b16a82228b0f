//! A simulated day as a picture for people: what went wrong, how many jobs
//! waited, what the sleds did, and how long jobs waited.

mod svg;

use svg::{Anchor, Frame, Svg, round_up};

use crate::day::{Mark, Record, Sample, Standing};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const WIDTH: f64 = 1220.0;
const LEFT: f64 = 120.0;
const PLOT: f64 = 860.0;
const LANE: f64 = 18.0;
const GAP: f64 = 62.0;

/// Outages that have a lane, and what they mean for people.
const LANES: [(&str, &str); 5] = [
    ("appliance down", "the appliance is down"),
    ("power lost", "a circuit of sleds has no power"),
    ("tunnel down", "no delivery comes through"),
    ("GitHub down", "GitHub answers nothing"),
    ("disk full", "the appliance can store nothing"),
];

/// Waits are those of jobs that started within this time before and after.
const WINDOW: u64 = 30 * MINUTE;

/// Samples that are drawn as one.
const MEAN_OF: usize = 5;

/// Fewer jobs than this have no percentile worth drawing.
const FEW: usize = 5;

const STYLE: &str = "
:root { color-scheme: light dark }
text { font: 13px system-ui, sans-serif; fill: #212529 }
.title { font-size: 20px; font-weight: 600 }
.head { font-size: 15px; font-weight: 600 }
.soft { fill: #5c636a }
.page { fill: #ffffff }
.grid { stroke: #dee2e6; stroke-width: 1 }
.axis { stroke: #868e96; stroke-width: 1 }
.queue { fill: #1971c2; fill-opacity: .25 }
.queue-line, .p50, .p95 { fill: none; stroke-width: 1.8; stroke: #1971c2 }
.p95 { stroke-dasharray: 5 3 }
.outage { fill: #c92a2a }
.veil { fill: #c92a2a; fill-opacity: .07 }
.running { fill: #2b8a3e } .ready { fill: #94d82d } .wiping { fill: #22b8cf }
.netbooting { fill: #1971c2 } .powering-on { fill: #7048e8 }
.powering-off { fill: #f08c00 } .off { fill: #ced4da } .withheld { fill: #c92a2a }
@media (prefers-color-scheme: dark) {
text { fill: #e9ecef } .soft { fill: #adb5bd } .page { fill: #16191d }
.grid { stroke: #2f353b } .axis { stroke: #868e96 }
.queue { fill: #4dabf7 } .queue-line, .p50, .p95 { stroke: #4dabf7 }
.outage, .withheld { fill: #fa5252 } .veil { fill: #fa5252; fill-opacity: .12 }
.running { fill: #40c057 } .netbooting { fill: #4dabf7 } .powering-on { fill: #9775fa }
.off { fill: #495057 }
}";

impl Standing {
    const fn class(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Wiping => "wiping",
            Self::Netbooting => "netbooting",
            Self::PoweringOn => "powering-on",
            Self::PoweringOff => "powering-off",
            Self::Off => "off",
            Self::Withheld => "withheld",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Running => "running a job",
            Self::Ready => "ready, waiting for a job",
            Self::Wiping => "wiping",
            Self::Netbooting => "netbooting",
            Self::PoweringOn => "powering on",
            Self::PoweringOff => "powering off",
            Self::Off => "off",
            Self::Withheld => "quarantined or power unknown",
        }
    }
}

/// Draws the first 24 hours of a record as SVG.
#[must_use]
pub fn draw_day(seed: u64, record: &Record) -> String {
    // Before its first inventory an appliance knows of no sled.
    let known = |sample: &&Sample| sample.at_ms <= DAY && sample.sleds.iter().sum::<usize>() > 0;
    let samples: Vec<&Sample> = record.samples.iter().filter(known).collect();
    let sleds = samples
        .last()
        .map_or(0, |sample| sample.sleds.iter().sum::<usize>());
    let means: Vec<Mean> = samples.chunks(MEAN_OF).map(mean).collect();
    let started = record.waits.iter().filter(|(at, _)| *at <= DAY).count();
    let title = format!("A simulated day: {sleds} sleds, {started} jobs started");
    let lanes = f64::from(u8::try_from(LANES.len()).unwrap_or(0)) * LANE;
    let panel = |top: f64, height: f64| Frame {
        left: LEFT,
        top,
        width: PLOT,
        height,
    };
    let outages = panel(108.0, lanes);
    let queue = panel(outages.bottom() + GAP, 170.0);
    let standings = panel(queue.bottom() + GAP, 260.0);
    let waits = panel(standings.bottom() + GAP, 190.0);
    let mut svg = Svg::new(WIDTH, waits.bottom() + 62.0);
    svg.text("title", (LEFT, 36.0), Anchor::Start, &title);
    let source = format!("A Tuesday in virtual time, local clock. Repeat it: just sim-day {seed}");
    svg.text("soft", (LEFT, 58.0), Anchor::Start, &source);
    for mark in record.marks.iter().filter(|mark| mark.from_ms < DAY) {
        for frame in [queue, standings, waits] {
            svg.rect("veil", span(frame, mark), mark.label);
        }
    }
    draw_outages(&mut svg, outages, &record.marks);
    draw_queue(&mut svg, queue, &means);
    draw_standings(&mut svg, standings, &means, sleds);
    draw_waits(&mut svg, waits, &record.waits);
    let bottom = waits.bottom() + 46.0;
    let middle = LEFT + PLOT / 2.0;
    svg.text(
        "soft",
        (middle, bottom),
        Anchor::Middle,
        "time of day (hours:minutes)",
    );
    let description = "Four panels over one day: outages, jobs waiting, sleds by state, and the median and 95th percentile of how long jobs waited.";
    svg.finish(STYLE, &title, description)
}

/// A few minutes, evened out: single minutes are a comb that nobody can read.
struct Mean {
    at_ms: u64,
    waiting: f64,
    sleds: [f64; 8],
}

fn mean(samples: &[&Sample]) -> Mean {
    let count = float(samples.len().max(1) as u64);
    let over = |value: &dyn Fn(&Sample) -> usize| {
        let sum: usize = samples.iter().map(|sample| value(sample)).sum();
        float(sum as u64) / count
    };
    Mean {
        at_ms: samples.first().map_or(0, |sample| sample.at_ms),
        waiting: over(&|sample| sample.waiting),
        sleds: std::array::from_fn(|index| over(&|sample| sample.sleds[index])),
    }
}

fn float(number: u64) -> f64 {
    // Milliseconds of a day and counts of sleds are far below 2^32.
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn x(frame: Frame, at_ms: u64) -> f64 {
    frame.left + frame.width * float(at_ms.min(DAY)) / float(DAY)
}

fn y(frame: Frame, value: f64, most: f64) -> f64 {
    frame.bottom() - frame.height * (value / most).clamp(0.0, 1.0)
}

/// The part of a frame that an outage covers; never so thin that it is not seen.
fn span(frame: Frame, mark: &Mark) -> Frame {
    let (from, until) = (x(frame, mark.from_ms), x(frame, mark.until_ms));
    Frame {
        left: from,
        width: (until - from).max(1.5),
        ..frame
    }
}

fn heading(svg: &mut Svg, frame: Frame, head: &str, explained: &str) {
    let place = (frame.left, frame.top - 12.0);
    svg.text("head", place, Anchor::Start, head);
    let beside = (frame.right(), frame.top - 12.0);
    svg.text("soft", beside, Anchor::End, explained);
}

/// Hours below a frame, and lines up from them.
fn hours(svg: &mut Svg, frame: Frame) {
    for hour in (0..=24).step_by(2) {
        let at = x(frame, hour * HOUR);
        svg.line("grid", (at, frame.top), (at, frame.bottom()));
        let place = (at, frame.bottom() + 18.0);
        svg.text(
            "soft",
            place,
            Anchor::Middle,
            &format!("{:02}:00", hour % 24),
        );
    }
}

/// Both axes, with a round number at the top, which is returned.
fn axes(svg: &mut Svg, frame: Frame, most: f64, unit: &str) -> f64 {
    let (top, step) = round_up(most);
    hours(svg, frame);
    let mut value = 0.0;
    while value <= top {
        let at = y(frame, value, top);
        svg.line("grid", (frame.left, at), (frame.right(), at));
        let place = (frame.left - 8.0, at + 4.0);
        svg.text("soft", place, Anchor::End, &format!("{value:.0}"));
        value += step;
    }
    let middle = (frame.left - 52.0, frame.top + frame.height / 2.0);
    svg.text_up("soft", middle, unit);
    top
}

fn baseline(svg: &mut Svg, frame: Frame) {
    let bottom = frame.bottom();
    svg.line("axis", (frame.left, bottom), (frame.right(), bottom));
}

fn draw_outages(svg: &mut Svg, frame: Frame, marks: &[Mark]) {
    heading(svg, frame, "What went wrong", "");
    hours(svg, frame);
    let mut top = frame.top;
    for (label, told) in LANES {
        let lane = Frame {
            top: top + 3.0,
            height: LANE - 6.0,
            ..frame
        };
        let place = (frame.left - 8.0, top + 13.0);
        svg.text("soft", place, Anchor::End, label);
        let place = (frame.right() + 14.0, top + 13.0);
        svg.text("soft", place, Anchor::Start, told);
        let here = |mark: &&Mark| mark.label == label && mark.from_ms < DAY;
        for mark in marks.iter().filter(here) {
            svg.rect("outage", span(lane, mark), label);
        }
        top += LANE;
    }
    baseline(svg, frame);
}

fn draw_queue(svg: &mut Svg, frame: Frame, means: &[Mean]) {
    heading(svg, frame, "Jobs waiting for a sled", "means of 5 minutes");
    let most = means.iter().map(|mean| mean.waiting).fold(1.0, f64::max);
    let top = axes(svg, frame, most, "jobs");
    let line: Vec<(f64, f64)> = means
        .iter()
        .map(|mean| (x(frame, mean.at_ms), y(frame, mean.waiting, top)))
        .collect();
    let floor: Vec<(f64, f64)> = line.iter().map(|(x, _)| (*x, frame.bottom())).collect();
    svg.area("queue", &line, &floor);
    svg.polyline("queue-line", &line);
    baseline(svg, frame);
}

fn draw_standings(svg: &mut Svg, frame: Frame, means: &[Mean], sleds: usize) {
    heading(svg, frame, "Sleds by what they do", "means of 5 minutes");
    let top = axes(svg, frame, float(sleds as u64), "sleds");
    let mut lower: Vec<(f64, f64)> = means
        .iter()
        .map(|mean| (x(frame, mean.at_ms), frame.bottom()))
        .collect();
    let mut sums = vec![0.0; means.len()];
    for standing in Standing::ALL {
        let mut upper = Vec::with_capacity(means.len());
        for (mean, sum) in means.iter().zip(&mut sums) {
            *sum += mean.sleds[standing as usize];
            upper.push((x(frame, mean.at_ms), y(frame, *sum, top)));
        }
        svg.area(standing.class(), &upper, &lower);
        lower = upper;
    }
    baseline(svg, frame);
    // In the order of the stack, so from the top down.
    let mut place = frame.top + 14.0;
    for standing in Standing::ALL.into_iter().rev() {
        let swatch = Frame {
            left: frame.right() + 14.0,
            top: place - 10.0,
            width: 12.0,
            height: 12.0,
        };
        svg.rect(standing.class(), swatch, standing.words());
        let text = (swatch.right() + 8.0, place);
        svg.text("", text, Anchor::Start, standing.words());
        place += 24.0;
    }
}

/// Median and 95th percentile at one time, in minutes.
struct Wait {
    at_ms: u64,
    median: f64,
    high: f64,
}

fn draw_waits(svg: &mut Svg, frame: Frame, waits: &[(u64, u64)]) {
    heading(
        svg,
        frame,
        "How long jobs waited for their runner",
        "jobs that started within 30 minutes of each time",
    );
    let points: Vec<Option<Wait>> = (0..=DAY / (10 * MINUTE))
        .map(|step| wait_at(step * 10 * MINUTE, waits))
        .collect();
    let most = points.iter().flatten().map(|wait| wait.high);
    let top = axes(svg, frame, most.fold(1.0, f64::max), "minutes");
    // Where too few jobs start there is a gap and no line over it.
    for part in points.split(Option::is_none) {
        let line = |value: fn(&Wait) -> f64| -> Vec<(f64, f64)> {
            let known = part.iter().flatten();
            known
                .map(|wait| (x(frame, wait.at_ms), y(frame, value(wait), top)))
                .collect()
        };
        let (median, high) = (line(|wait| wait.median), line(|wait| wait.high));
        if median.len() > 1 {
            svg.area("queue", &high, &median);
            svg.polyline("p95", &high);
            svg.polyline("p50", &median);
        }
    }
    baseline(svg, frame);
    let mut place = frame.top + 14.0;
    for (class, words) in [
        ("p95", "95 of 100 waited less"),
        ("p50", "half waited less"),
    ] {
        let left = frame.right() + 14.0;
        svg.line(class, (left, place - 4.0), (left + 24.0, place - 4.0));
        svg.text("", (left + 32.0, place), Anchor::Start, words);
        place += 24.0;
    }
}

fn wait_at(at_ms: u64, waits: &[(u64, u64)]) -> Option<Wait> {
    let near = waits.iter().filter(|(at, _)| at.abs_diff(at_ms) <= WINDOW);
    let mut near: Vec<u64> = near.map(|(_, wait)| *wait).collect();
    near.sort_unstable();
    if near.len() < FEW {
        return None;
    }
    let percentile = |part: usize| {
        let index = (near.len() * part / 100).min(near.len() - 1);
        float(near[index]) / float(MINUTE)
    };
    Some(Wait {
        at_ms,
        median: percentile(50),
        high: percentile(95),
    })
}
