//! The comparison as a picture: an SVG of its own, with no script and no
//! foreign font, that follows the reader's choice of light or dark.

use std::fmt::Write as _;

use super::{Comparison, POLICIES, SLEDS, measures::percentile, models::REPOSITORIES};

const WIDTH: f64 = 1_080.0;
const HEIGHT: f64 = 900.0;
/// Of a panel's axes.
const PANEL_WIDTH: f64 = 280.0;
const PANEL_HEIGHT: f64 = 210.0;
const LEFT: f64 = 80.0;
const COLUMN: f64 = 340.0;
/// Where each row's axes begin at the top.
const ALL_TOP: f64 = 172.0;
const LIGHT_TOP: f64 = 472.0;
const JAIN_TOP: f64 = 762.0;
const BAR: f64 = 18.0;
/// The waits shown, in milliseconds, on a logarithmic axis.
const LEAST_MS: f64 = 30_000.0;
const MOST_MS: f64 = 16.0 * 3_600_000.0;
const TICKS: [(f64, &str); 5] = [
    (60_000.0, "1 min"),
    (300_000.0, "5 min"),
    (1_800_000.0, "30 min"),
    (7_200_000.0, "2 h"),
    (43_200_000.0, "12 h"),
];

/// Colours of Okabe and Ito, told apart by the colour-blind too; dashes say it
/// once more.
const STYLE: &str = "
svg { color-scheme: light dark; background: #ffffff; font: 13px system-ui, sans-serif; }
text { fill: #1f2328; } .soft { fill: #59636e; } .title { font-size: 20px; font-weight: 600; }
.head { font-size: 15px; font-weight: 600; } .axis { stroke: #59636e; fill: none; }
.grid { stroke: #d8dee4; fill: none; } .line { fill: none; stroke-width: 2.2; }
.p0 { stroke: #0072b2; } .p1 { stroke: #d55e00; stroke-dasharray: 7 4; }
.p2 { stroke: #6e7781; stroke-dasharray: 2 3; }
.b0 { fill: #0072b2; } .b1 { fill: #d55e00; } .b2 { fill: #8c959f; }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; } text { fill: #e6edf3; } .soft { fill: #9da7b1; }
.axis { stroke: #9da7b1; } .grid { stroke: #2b3138; }
.p0 { stroke: #56b4e9; } .p1 { stroke: #e69f00; } .p2 { stroke: #8c959f; }
.b0 { fill: #56b4e9; } .b1 { fill: #e69f00; } .b2 { fill: #8c959f; }
}
";

/// The whole picture.
pub(super) fn draw(comparisons: &[Comparison]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n<title>How long jobs wait, and how \
         fairly, under three policies</title>\n<style>{STYLE}</style>\n"
    );
    text(
        &mut svg,
        (24.0, 36.0),
        "title",
        "start",
        "How long jobs wait, and how fairly",
    );
    let scene = format!(
        "One rack of {SLEDS} sleds, {REPOSITORIES} repositories of unequal load, 45 s from power \
         on to the agent, a boot for every job; simulated time."
    );
    text(&mut svg, (24.0, 58.0), "soft", "start", &scene);
    legend(&mut svg);
    for (column, comparison) in comparisons.iter().enumerate() {
        let left = LEFT + COLUMN * f64::from(u8::try_from(column).unwrap_or(0));
        heading(&mut svg, left, comparison);
        let measures = &comparison.measures;
        waits(
            &mut svg,
            (left, ALL_TOP),
            "all jobs",
            measures.each_ref().map(|one| &*one.waits_ms),
        );
        let light = measures.each_ref().map(|one| &*one.light_waits_ms);
        waits(
            &mut svg,
            (left, LIGHT_TOP),
            "jobs of the lighter half of the repositories",
            light,
        );
        fairness(&mut svg, left, measures.each_ref().map(|one| one.jain));
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String) {
    for (index, policy) in POLICIES.iter().enumerate() {
        let left = 24.0 + 190.0 * f64::from(u8::try_from(index).unwrap_or(0));
        let _ = writeln!(svg, "<path class=\"line p{index}\" d=\"M{left} 84h36\"/>");
        text(svg, (left + 44.0, 88.5), "", "start", policy);
    }
}

fn heading(svg: &mut String, left: f64, comparison: &Comparison) {
    let model = comparison.model;
    let jobs = comparison.measures[0].waits_ms.len();
    let words = format!("{}: {jobs} jobs in {} h", model.name, model.hours);
    text(svg, (left, 122.0), "head", "start", &words);
    text(svg, (left, 141.0), "soft", "start", model.short);
}

/// One panel: the share of jobs that waited at most so long.
fn waits(svg: &mut String, (left, top): (f64, f64), what: &str, sorted: [&[u64]; 3]) {
    let bottom = top + PANEL_HEIGHT;
    text(svg, (left, top - 8.0), "soft", "start", what);
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let y = bottom - PANEL_HEIGHT * percent / 100.0;
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{left} {y:.1}h{PANEL_WIDTH}\"/>"
        );
        text(
            svg,
            (left - 8.0, y + 4.0),
            "soft",
            "end",
            &format!("{percent}"),
        );
    }
    for (at, label) in TICKS {
        let x = left + place(at);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} {top}v{PANEL_HEIGHT}\"/>"
        );
        text(svg, (x, bottom + 18.0), "soft", "middle", label);
    }
    let _ = writeln!(
        svg,
        "<path class=\"axis\" d=\"M{left} {top}v{PANEL_HEIGHT}h{PANEL_WIDTH}\"/>"
    );
    let middle = (left + PANEL_WIDTH / 2.0, bottom + 38.0);
    text(
        svg,
        middle,
        "",
        "middle",
        "wait for a runner, at most (log scale)",
    );
    let (x, y) = (left - 42.0, top + PANEL_HEIGHT / 2.0);
    let _ = writeln!(
        svg,
        "<text text-anchor=\"middle\" transform=\"translate({x} {y}) rotate(-90)\">share of jobs \
         (%)</text>"
    );
    // The dashed lines lie above ours, which shows between the dashes.
    for (index, sorted) in sorted.iter().enumerate() {
        let mut path = String::new();
        for percent in 0..=100usize {
            let wait = percentile(sorted, percent);
            let height = f64::from(u8::try_from(percent).unwrap_or(100));
            #[allow(clippy::cast_precision_loss)] // far below 2^52
            let x = left + place(wait as f64);
            let y = bottom - PANEL_HEIGHT * height / 100.0;
            let word = if percent == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{word}{x:.1} {y:.1}");
        }
        let _ = writeln!(svg, "<path class=\"line p{index}\" d=\"{path}\"/>");
    }
}

/// How far right of its axis a wait lies.
fn place(wait_ms: f64) -> f64 {
    let wait = wait_ms.clamp(LEAST_MS, MOST_MS);
    PANEL_WIDTH * (wait / LEAST_MS).ln() / (MOST_MS / LEAST_MS).ln()
}

fn fairness(svg: &mut String, left: f64, jain: [f64; 3]) {
    let high = 3.0 * (BAR + 6.0) + 6.0;
    let bottom = JAIN_TOP + high;
    for (tick, label) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1")] {
        let x = left + PANEL_WIDTH * tick;
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x} {JAIN_TOP}v{high}\"/>");
        text(svg, (x, bottom + 18.0), "soft", "middle", label);
    }
    for (index, value) in jain.into_iter().enumerate() {
        let y = JAIN_TOP + 6.0 + (BAR + 6.0) * f64::from(u8::try_from(index).unwrap_or(0));
        let width = PANEL_WIDTH * value;
        let _ = writeln!(
            svg,
            "<rect class=\"b{index}\" x=\"{left}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\"/>"
        );
        let at = (left + width + 6.0, y + 13.5);
        text(svg, at, "", "start", &format!("{value:.2}"));
    }
    let _ = writeln!(
        svg,
        "<path class=\"axis\" d=\"M{left} {JAIN_TOP}v{high}h{PANEL_WIDTH}\"/>"
    );
    let words = "Jain's fairness index between repositories";
    text(
        svg,
        (left + PANEL_WIDTH / 2.0, bottom + 38.0),
        "",
        "middle",
        words,
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}
