//! A boot's times as one bar of stacked segments on a shared axis.
//!
//! A bar is SVG with lengths in per cent: it needs no inline style, which the
//! content security policy forbids, and grows with the page.

use control::{BootView, JobView, Timeline};
use maud::{Markup, html};
use messages::Millis;

use super::words;

/// What goes on between two times of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Delivered, until claimed.
    Waiting,
    /// Until the power command was accepted.
    PowerOn,
    /// Until the first DHCP request.
    Firmware,
    /// Until the kernel was fetched.
    Loader,
    /// Until the agent spoke.
    Kernel,
    /// Until the wipe was reported.
    Wipe,
    /// Until the agent was ready.
    Prepare,
    /// Until the order, with a runner registered at GitHub, was handed over.
    Register,
    /// Until the runner started.
    Fetch,
    /// Until the runner ended.
    Run,
    /// Until the power read as off.
    PowerOff,
}

impl Kind {
    /// All, in the order of a boot.
    pub(super) const ALL: [Self; 11] = [
        Self::Waiting,
        Self::PowerOn,
        Self::Firmware,
        Self::Loader,
        Self::Kernel,
        Self::Wipe,
        Self::Prepare,
        Self::Register,
        Self::Fetch,
        Self::Run,
        Self::PowerOff,
    ];

    /// What a person reads.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting for a sled",
            Self::PowerOn => "power on",
            Self::Firmware => "firmware",
            Self::Loader => "boot loader",
            Self::Kernel => "kernel",
            Self::Wipe => "wipe",
            Self::Prepare => "scratch",
            Self::Register => "runner registration",
            Self::Fetch => "image",
            Self::Run => "running",
            Self::PowerOff => "power off",
        }
    }

    /// What ends it.
    pub(super) const fn ends_with(self) -> &'static str {
        match self {
            Self::Waiting => "claimed",
            Self::PowerOn => "power on accepted",
            Self::Firmware => "first DHCP request",
            Self::Loader => "kernel fetched",
            Self::Kernel => "agent spoke",
            Self::Wipe => "wipe reported",
            Self::Prepare => "ready",
            Self::Register => "order handed over",
            Self::Fetch => "runner started",
            Self::Run => "runner ended",
            Self::PowerOff => "power read as off",
        }
    }

    /// Its class in the style sheet.
    const fn class(self) -> &'static str {
        match self {
            Self::Waiting => "k-waiting",
            Self::PowerOn => "k-poweron",
            Self::Firmware => "k-firmware",
            Self::Loader => "k-loader",
            Self::Kernel => "k-kernel",
            Self::Wipe => "k-wipe",
            Self::Prepare => "k-prepare",
            Self::Register => "k-register",
            Self::Fetch => "k-fetch",
            Self::Run => "k-run",
            Self::PowerOff => "k-poweroff",
        }
    }
}

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By what should end it.
    Reached,
    /// By the end of the boot instead.
    CutShort,
    /// Not yet.
    Going,
}

/// One stretch of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) kind: Kind,
    pub(super) from: Millis,
    pub(super) to: Millis,
    pub(super) end: End,
}

impl Segment {
    fn length(&self) -> u64 {
        self.to.since(self.from)
    }

    fn class(&self) -> String {
        let tail = match self.end {
            End::Reached => "",
            End::CutShort => " cut",
            End::Going => " going",
        };
        format!("{}{tail}", self.kind.class())
    }

    fn words(&self) -> String {
        let length = words::span(self.length());
        let tail = match self.end {
            End::Reached => "",
            End::CutShort => ", cut short",
            End::Going => " so far",
        };
        format!("{} {length}{tail}", self.kind.name())
    }
}

/// A bar: consecutive segments, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Bar(pub(super) Vec<Segment>);

impl Bar {
    /// From a job's delivery to its sled being off again, as far as it came.
    pub(super) fn of_job(job: &JobView, now: Millis) -> Self {
        let Some(boot) = &job.boot else {
            let end = job.completed.map_or(End::Going, |_| End::CutShort);
            return Self(vec![Segment {
                kind: Kind::Waiting,
                from: job.delivered,
                to: job.completed.unwrap_or(now).max(job.delivered),
                end,
            }]);
        };
        // A runner takes any job that fits, so its boot may be older than the job.
        Self::new(job.delivered.min(boot.timeline.claimed), boot, now)
    }

    /// From the claim on.
    pub(super) fn of_boot(boot: &BootView, now: Millis) -> Self {
        Self::new(boot.timeline.claimed, boot, now)
    }

    fn new(from: Millis, boot: &BootView, now: Millis) -> Self {
        let mut segments = Vec::with_capacity(Kind::ALL.len());
        let (mut last, mut missing) = (from, None);
        for (kind, at) in points(&boot.timeline) {
            let Some(at) = at else {
                missing = missing.or(Some(kind));
                continue;
            };
            // Times come from several clocks' worth of code; a bar never runs back.
            let at = at.max(last);
            let over = kind >= Kind::Run;
            let (kind, end) = match missing.take() {
                Some(missing) if over => (missing, End::CutShort),
                Some(_) | None => (kind, End::Reached),
            };
            if kind != Kind::Waiting || at > from {
                segments.push(Segment {
                    kind,
                    from: last,
                    to: at,
                    end,
                });
            }
            last = at;
        }
        if let (Some(kind), None, false) = (missing, boot.timeline.off, boot.stage == "Off") {
            segments.push(Segment {
                kind,
                from: last,
                to: now.max(last),
                end: End::Going,
            });
        }
        Self(segments)
    }

    fn from(&self) -> Millis {
        self.0.first().map_or(Millis(0), |segment| segment.from)
    }

    /// Its whole length in milliseconds.
    pub(super) fn length(&self) -> u64 {
        let end = self.0.last().map_or(Millis(0), |segment| segment.to);
        end.since(self.from())
    }

    /// Whether it still grows.
    pub(super) fn is_going(&self) -> bool {
        self.0.last().is_some_and(|last| last.end == End::Going)
    }

    /// The bar drawn on `axis`, or over its own whole length when it is
    /// longer than that.
    pub(super) fn draw(&self, axis: &Axis) -> Markup {
        let fits = axis.fits(self);
        let limit = if fits { axis.limit } else { self.length() };
        let words: Vec<String> = self.0.iter().map(Segment::words).collect();
        html! {
            svg.bar.own[!fits] width="100%" height="18" role="img" aria-label=(words.join(", ")) {
                rect.track width="100%" height="18" rx="3" {}
                @if fits {
                    @for at in axis.inner_ticks() {
                        line.grid x1=(percent(at, limit)) x2=(percent(at, limit)) y1="0" y2="18" {}
                    }
                }
                @for (segment, words) in self.0.iter().zip(&words) {
                    @if segment.length() > 0 {
                        rect class=(segment.class())
                            x=(percent(segment.from.since(self.from()), limit))
                            width=(percent(segment.length(), limit)) height="18"
                        {
                            title { (words) }
                        }
                    }
                }
            }
        }
    }

    /// The same as a table: what, when, how long.
    pub(super) fn table(&self) -> Markup {
        html! {
            table.steps {
                caption { "Timeline" }
                thead { tr { th scope="col" { "Step" } th scope="col" { "Ended with" } th scope="col" { "At" } th scope="col" { "Took" } } }
                tbody {
                    @for segment in &self.0 {
                        tr {
                            th scope="row" { (swatch(segment.kind)) (segment.kind.name()) }
                            td {
                                @match segment.end {
                                    End::Reached => { (segment.kind.ends_with()) }
                                    End::CutShort => { em { "cut short" } }
                                    End::Going => { em { "going on" } }
                                }
                            }
                            td { @if segment.end != End::Going { (words::clock(segment.to)) } }
                            td.took {
                                @if segment.end == End::Going { (words::since(segment.from, segment.to)) }
                                @else { (words::span(segment.length())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

const fn points(times: &Timeline) -> [(Kind, Option<Millis>); 11] {
    [
        (Kind::Waiting, Some(times.claimed)),
        (Kind::PowerOn, times.power_on),
        (Kind::Firmware, times.dhcp),
        (Kind::Loader, times.kernel),
        (Kind::Kernel, times.agent),
        (Kind::Wipe, times.wiped),
        (Kind::Prepare, times.ready),
        (Kind::Register, times.order),
        (Kind::Fetch, times.running),
        (Kind::Run, times.finished),
        (Kind::PowerOff, times.off),
    ]
}

fn swatch(kind: Kind) -> Markup {
    html! {
        svg.swatch width="10" height="10" aria-hidden="true" {
            rect width="10" height="10" rx="2" .(kind.class()) {}
        }
    }
}

/// What each colour means.
pub(super) fn legend() -> Markup {
    html! {
        ul.legend aria-label="Steps of a boot" {
            @for kind in Kind::ALL { li { (swatch(kind)) (kind.name()) } }
        }
    }
}

fn percent(part: u64, whole: u64) -> String {
    // Spans of a boot are far below 2^53.
    format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64)
}

/// The scale that bars share: 0 is the delivery, or the claim where that is earlier.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    limit: u64,
    step: u64,
}

impl Axis {
    const SECOND: u64 = 1_000;
    const DAY: u64 = 86_400 * Self::SECOND;
    /// Steps between ticks, in seconds.
    const STEPS: [u64; 17] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400,
    ];
    /// At most this many steps.
    const MOST: u64 = 6;

    /// An axis on which these lengths (ms) can be compared. When few are very
    /// much longer than the others they are left out, and drawn on their own scale.
    pub(super) fn of(lengths: impl Iterator<Item = u64>) -> Self {
        let mut lengths: Vec<u64> = lengths.collect();
        lengths.sort_unstable();
        let most = lengths.last().copied().unwrap_or(0);
        let usual = lengths.get(lengths.len() * 3 / 4).copied().unwrap_or(most);
        let wanted = if most > usual.saturating_mul(3) {
            usual.saturating_mul(5) / 4
        } else {
            most
        };
        let step = Self::STEPS
            .iter()
            .map(|seconds| seconds * Self::SECOND)
            .find(|step| wanted.div_ceil(*step) <= Self::MOST)
            .unwrap_or_else(|| {
                wanted
                    .div_ceil(Self::MOST * Self::DAY)
                    .saturating_mul(Self::DAY)
            });
        Self {
            limit: wanted.div_ceil(step).max(1).saturating_mul(step),
            step,
        }
    }

    /// Whether the bar can be drawn to scale.
    pub(super) fn fits(&self, bar: &Bar) -> bool {
        bar.length() <= self.limit
    }

    fn inner_ticks(&self) -> impl Iterator<Item = u64> {
        let (limit, step) = (self.limit, self.step);
        (1..=Self::MOST)
            .map(move |n| n.saturating_mul(step))
            .filter(move |at| *at < limit)
    }

    /// The ticks with their words. Each word takes as many per cent as its step.
    pub(super) fn draw(&self) -> Markup {
        html! {
            svg.axis width="100%" height="16" aria-hidden="true" {
                text x="0" y="12" { "0" }
                @for at in self.inner_ticks() {
                    text.odd[at / self.step % 2 == 1] x=(percent(at, self.limit)) y="12" text-anchor="middle" { (words::tick(at)) }
                }
                text x="100%" y="12" text-anchor="end" { (words::tick(self.limit)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    fn shape(bar: &Bar) -> Vec<(Kind, u64, End)> {
        let shape = |segment: &Segment| (segment.kind, segment.length(), segment.end);
        bar.0.iter().map(shape).collect()
    }

    #[test]
    fn a_full_boot_has_every_step() {
        let job = fixture::done_job(1, 100_000);
        let bar = Bar::of_job(&job, Millis(u64::MAX));
        let kinds: Vec<Kind> = bar.0.iter().map(|segment| segment.kind).collect();
        assert_eq!(kinds, Kind::ALL);
        assert!(bar.0.iter().all(|segment| segment.end == End::Reached));
        assert!(!bar.is_going());
        let sum: u64 = bar.0.iter().map(Segment::length).sum();
        assert_eq!(sum, bar.length());
    }

    #[test]
    fn missing_times_are_not_invented() {
        let boot = |times: Timeline, stage| BootView {
            timeline: times,
            stage,
            ..fixture::boot(1, "sled-01", 0)
        };
        let at = |ms| Some(Millis(ms));
        let check = |times, stage, expect: &[(Kind, u64, End)]| {
            let bar = Bar::of_boot(&boot(times, stage), Millis(100));
            assert_eq!(shape(&bar), expect);
        };
        let start = Timeline {
            claimed: Millis(10),
            power_on: at(20),
            ..Timeline::default()
        };
        check(
            start.clone(),
            "Netbooting",
            &[
                (Kind::PowerOn, 10, End::Reached),
                (Kind::Firmware, 80, End::Going),
            ],
        );
        check(
            Timeline {
                off: at(70),
                ..start.clone()
            },
            "Off",
            &[
                (Kind::PowerOn, 10, End::Reached),
                (Kind::Firmware, 50, End::CutShort),
            ],
        );
        // A step that was not seen belongs to the next one; a time that runs
        // back counts as none.
        check(
            Timeline {
                agent: at(50),
                wiped: at(40),
                ..start
            },
            "Wiping",
            &[
                (Kind::PowerOn, 10, End::Reached),
                (Kind::Kernel, 30, End::Reached),
                (Kind::Wipe, 0, End::Reached),
                (Kind::Prepare, 50, End::Going),
            ],
        );
    }

    #[test]
    fn a_job_without_a_boot_only_waited() {
        let mut job = fixture::queued_job(1, 100, None);
        let bar = Bar::of_job(&job, Millis(350));
        assert_eq!(shape(&bar), [(Kind::Waiting, 250, End::Going)]);
        job.completed = Some(Millis(200));
        let bar = Bar::of_job(&job, Millis(350));
        assert_eq!(shape(&bar), [(Kind::Waiting, 100, End::CutShort)]);
    }

    #[test]
    fn an_axis_is_round_and_bounded() {
        let check = |lengths: &[u64], limit: u64, step: u64| {
            let axis = Axis::of(lengths.iter().map(|seconds| seconds * 1_000));
            assert_eq!((axis.limit, axis.step), (limit * 1_000, step * 1_000));
            assert!(axis.inner_ticks().count() < 6);
        };
        check(&[], 1, 1);
        check(&[50, 58], 60, 10);
        check(&[61], 75, 15);
        check(&[400, 3_000], 3_000, 600);
        // One outlier does not squash the others.
        check(&[50, 55, 58, 58, 58, 60, 60, 7_200], 75, 15);
        // Eight days and more.
        check(&[700_000], 864_000, 172_800);
    }
}
