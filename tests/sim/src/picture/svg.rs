//! Just enough SVG: text, lines, areas and axes on a plot. Colours are classes,
//! so that the picture follows the reader's light or dark page.

use std::fmt::Write as _;

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Frame {
    pub(super) fn right(&self) -> f64 {
        self.left + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// How a text stands to its point.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A picture that grows.
pub(super) struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self {
            body: String::new(),
            width,
            height,
        }
    }

    /// Writing to a string cannot fail.
    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{element}");
    }

    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let text = escaped(text);
        let anchor = anchor.name();
        self.add(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// A text that reads upwards, beside a vertical axis.
    pub(super) fn text_up(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let text = escaped(text);
        self.add(format_args!(
            r#"<text class="{class}" transform="translate({x:.1},{y:.1}) rotate(-90)" text-anchor="middle">{text}</text>"#
        ));
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.add(format_args!(
            r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    /// A rectangle, with what a pointer that rests on it is told.
    pub(super) fn rect(&mut self, class: &str, frame: Frame, told: &str) {
        let told = escaped(told);
        self.add(format_args!(
            r#"<rect class="{class}" x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}"><title>{told}</title></rect>"#,
            frame.left, frame.top, frame.width, frame.height
        ));
    }

    pub(super) fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        let path = path(points);
        self.add(format_args!(
            r#"<polyline class="{class}" points="{path}"/>"#
        ));
    }

    /// The area between two lines over the same places.
    pub(super) fn area(&mut self, class: &str, upper: &[(f64, f64)], lower: &[(f64, f64)]) {
        let back: Vec<(f64, f64)> = lower.iter().rev().copied().collect();
        let (there, back) = (path(upper), path(&back));
        self.add(format_args!(
            r#"<polygon class="{class}" points="{there} {back}"/>"#
        ));
    }

    /// The whole, with its style and a description for whoever cannot see it.
    pub(super) fn finish(self, style: &str, title: &str, description: &str) -> String {
        let (width, height, body) = (self.width, self.height, self.body);
        let (title, description) = (escaped(title), escaped(description));
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>{title}</title>
<desc>{description}</desc>
<style>{style}</style>
<rect class="page" width="{width}" height="{height}"/>
{body}</svg>
"#
        )
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (x, y) in points {
        let _ = write!(text, "{x:.1},{y:.1} ");
    }
    text.truncate(text.trim_end().len());
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A round number at or above `most`, and the step of its axis.
pub(super) fn round_up(most: f64) -> (f64, f64) {
    let most = most.max(1.0);
    let mut step = 1.0;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        if most / step <= 6.0 {
            break;
        }
        step *= factor;
    }
    ((most / step).ceil() * step, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, expect) in [
            (0.0, (1.0, 1.0)),
            (5.0, (5.0, 1.0)),
            (7.0, (8.0, 2.0)),
            (40.0, (40.0, 10.0)),
            (53.0, (60.0, 10.0)),
            (1000.0, (1000.0, 200.0)),
        ] {
            assert_eq!(round_up(most), expect, "{most}");
        }
    }
}
