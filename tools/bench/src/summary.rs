//! The figures: rows, their goals, the file and the table. It measures nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// The order of rows in file and table.
const ORDER: [&str; 24] = [
    "ack-1",
    "ack-1-least",
    "ack-64",
    "ack-64-webhook",
    "netboot",
    "memory-idle",
    "memory-100k",
    "binary-size",
    "control-events",
    "control-growth",
    "control-memory",
    "control-reload-snapshot",
    "control-reload",
    "warm-path",
    "api-webhook",
    "api-pull",
    "log-ingest",
    "log-ingest-memory",
    "traces-bursty-jain",
    "traces-bursty-light-p95",
    "traces-diurnal-jain",
    "traces-diurnal-light-p95",
    "traces-matrix-jain",
    "traces-matrix-light-p95",
];

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// `ours / peer` is at least this.
    RatioAtLeast(f64),
    /// `ours / peer` is at most this.
    RatioAtMost(f64),
    /// `ours` is at least this, in the row's unit.
    OursAtLeast(f64),
    /// `ours` is at most this, in the row's unit.
    OursAtMost(f64),
    /// It is measured and shown.
    Shown,
}

/// One figure beside its peer's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) ours: f64,
    pub(crate) peer: f64,
    pub(crate) peer_name: String,
    /// Of `ours` and `peer`.
    pub(crate) unit: String,
    /// `ours / peer`.
    pub(crate) ratio: f64,
    pub(crate) goal: String,
    pub(crate) met: bool,
}

impl Row {
    /// A row; the peer's figure is never 0.
    pub(crate) fn new(
        name: &str,
        (ours, peer, unit): (f64, f64, &str),
        peer_name: &str,
        goal: Goal,
    ) -> Self {
        let ratio = ours / peer;
        let (text, met) = match goal {
            Goal::RatioAtLeast(least) => (format!(">= {least}"), ratio >= least),
            Goal::RatioAtMost(most) => (format!("<= {most}"), ratio <= most),
            Goal::OursAtLeast(least) => (format!(">= {least} {unit}"), ours >= least),
            Goal::OursAtMost(most) => (format!("<= {most} {unit}"), ours <= most),
            Goal::Shown => ("shown".to_owned(), true),
        };
        Self {
            name: name.to_owned(),
            ours: rounded(ours),
            peer: rounded(peer),
            peer_name: peer_name.to_owned(),
            unit: unit.to_owned(),
            ratio: rounded(ratio),
            goal: text,
            met,
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The rows of this run and of earlier ones.
pub(crate) struct Summary {
    path: PathBuf,
    rows: Vec<Row>,
}

impl Summary {
    /// What an earlier run wrote; rows of benchmarks that are no more are left out.
    ///
    /// # Errors
    /// A file that cannot be read or is none of ours.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let rows: Vec<Row> = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("read {}; remove it to begin anew", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        Ok(Self {
            path: path.to_path_buf(),
            rows: rows
                .into_iter()
                .filter(|row| place(row).is_some())
                .collect(),
        })
    }

    /// Puts rows in the place of those of the same name, and writes the file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn replace(&mut self, rows: Vec<Row>) -> Result<()> {
        self.rows
            .retain(|old| rows.iter().all(|new| new.name != old.name));
        self.rows.extend(rows);
        self.rows.sort_by_key(place);
        let text = serde_json::to_vec_pretty(&self.rows).context("encode the summary")?;
        // A reader, or an interrupted run, sees the old file or the new one.
        let fresh = self.path.with_extension("json.new");
        std::fs::write(&fresh, text)
            .and_then(|()| std::fs::rename(&fresh, &self.path))
            .with_context(|| format!("write {}", self.path.display()))
    }

    /// The rows for people.
    pub(crate) fn table(&self) -> String {
        let head = [
            "benchmark",
            "ours",
            "peer",
            "unit",
            "ratio",
            "goal",
            "met",
            "beside",
        ];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.rows.iter().map(|row| {
            let met = if row.met { "yes" } else { "NO" };
            [
                row.name.clone(),
                figure(row.ours),
                figure(row.peer),
                row.unit.clone(),
                format!("{:.2}", row.ratio),
                row.goal.clone(),
                met.to_owned(),
                row.peer_name.clone(),
            ]
        }));
        let mut out = String::new();
        for line in &lines {
            for (column, cell) in line.iter().enumerate() {
                let width = lines
                    .iter()
                    .map(|line| line[column].len())
                    .max()
                    .unwrap_or(0);
                let _ = match column {
                    1 | 2 | 4 => write!(out, "{cell:>width$}  "),
                    _ => write!(out, "{cell:<width$}  "),
                };
            }
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
        out
    }
}

fn place(row: &Row) -> Option<usize> {
    ORDER.iter().position(|name| *name == row.name)
}

fn figure(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_about_the_ratio_or_about_ours() {
        let check = |ours: f64, peer: f64, goal: Goal, expect: (&str, bool)| {
            let row = Row::new("ack-1", (ours, peer, "MiB"), "a peer", goal);
            assert_eq!((row.goal.as_str(), row.met), expect, "{ours} {peer}");
        };
        check(7.0, 10.0, Goal::RatioAtLeast(0.7), (">= 0.7", true));
        check(6.9, 10.0, Goal::RatioAtLeast(0.7), (">= 0.7", false));
        check(32.0, 1.0, Goal::OursAtMost(32.0), ("<= 32 MiB", true));
        check(32.1, 99.0, Goal::OursAtMost(32.0), ("<= 32 MiB", false));
        check(3.0, 1.0, Goal::RatioAtMost(3.0), ("<= 3", true));
        check(3.1, 1.0, Goal::RatioAtMost(3.0), ("<= 3", false));
        check(5.0, 9.0, Goal::OursAtLeast(5.0), (">= 5 MiB", true));
        check(4.9, 1.0, Goal::OursAtLeast(5.0), (">= 5 MiB", false));
        check(9.0, 1.0, Goal::Shown, ("shown", true));
    }

    #[test]
    fn a_named_benchmark_replaces_its_row_alone() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("summary.json");
        let row = |name: &str, ours: f64| Row::new(name, (ours, 1.0, "s"), "a peer", Goal::Shown);
        Summary::open(&path)?.replace(vec![row("netboot", 1.0), row("ack-1", 2.0)])?;
        Summary::open(&path)?.replace(vec![row("ack-1", 3.0)])?;
        let rows = Summary::open(&path)?.rows;
        assert_eq!(rows, [row("ack-1", 3.0), row("netboot", 1.0)]);
        Ok(())
    }
}
