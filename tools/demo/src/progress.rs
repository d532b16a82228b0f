//! Live progress: one moving line per job on a terminal, one line per change
//! anywhere else.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

pub(crate) struct Progress {
    start: Instant,
    terminal: Option<MultiProgress>,
    lines: BTreeMap<String, Line>,
}

struct Line {
    text: String,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            terminal: std::io::stdout().is_terminal().then(MultiProgress::new),
            lines: BTreeMap::new(),
        }
    }

    /// Says how something stands.
    pub(crate) fn show(&mut self, name: &str, text: &str, done: bool) {
        let terminal = &self.terminal;
        let line = self.lines.entry(name.to_owned()).or_insert_with(|| Line {
            text: String::new(),
            bar: terminal.as_ref().map(|all| all.add(bar(name))),
        });
        if line.text == text {
            return;
        }
        text.clone_into(&mut line.text);
        match &line.bar {
            Some(bar) if done => bar.finish_with_message(text.to_owned()),
            Some(bar) => bar.set_message(text.to_owned()),
            None => println!(
                "[{:6.1} s] {name}: {text}",
                self.start.elapsed().as_secs_f64()
            ),
        }
    }
}

fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_prefix(name.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:>8} {elapsed:>4} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
