//! How to run a world: everything besides the seed that makes it what it is,
//! on a command line and in `seeds.txt`.

use std::{fmt, str::FromStr};

use clap::{Args, Parser, ValueEnum};

use crate::{defect::Defect, faults::FaultSet, traffic::Model};

/// How to run a world. What is not given is drawn from the seed.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Of the faults that the seed draws, only these, or none.
    #[arg(long, value_name = "FAULT,…|none")]
    pub faults: Option<FaultSet>,
    /// These are heavy, whatever the seed draws.
    #[arg(
        long,
        value_name = "FAULT,…",
        default_value_t,
        hide_default_value = true
    )]
    pub heavy: FaultSet,
    /// Number of sleds.
    #[arg(long)]
    pub sleds: Option<u64>,
    /// Most jobs.
    #[arg(long)]
    pub jobs: Option<u64>,
    /// Virtual minutes of traffic and faults.
    #[arg(long)]
    pub minutes: Option<u64>,
    /// How jobs come.
    #[arg(long)]
    pub traffic: Option<Model>,
    /// Crash once, right after this commit, answer or effect of the world.
    #[arg(long, value_name = "commit:N|answer:N|effect:N")]
    pub crash_at: Option<Boundary>,
    /// Build a defect in, to see the checks fail.
    #[arg(long)]
    pub defect: Option<Defect>,
    /// Print everything that happens.
    #[arg(skip)]
    pub print: bool,
    /// Keep the last lines of what happens, for the report.
    #[arg(skip)]
    pub keep: bool,
    /// Keep what a picture of the world needs.
    #[arg(skip)]
    pub record: bool,
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.push(format!("--{name} {value}"));
            }
        };
        let heavy = (!self.heavy.0.is_empty()).then(|| self.heavy.to_string());
        option("faults", self.faults.as_ref().map(ToString::to_string));
        option("heavy", heavy);
        option("sleds", self.sleds.map(|n| n.to_string()));
        option("jobs", self.jobs.map(|n| n.to_string()));
        option("minutes", self.minutes.map(|n| n.to_string()));
        option("traffic", self.traffic.as_ref().map(name_of));
        option("crash-at", self.crash_at.map(|at| at.to_string()));
        option("defect", self.defect.as_ref().map(name_of));
        f.write_str(&words.join(" "))
    }
}

fn name_of(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// A moment at which a crash is worst: something is done, and what follows
/// from it is not. Counted from 1 over the whole world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// After a commit, before its answers and effects.
    Commit(u64),
    /// After an answer, before the next one.
    Answer(u64),
    /// After an effect was begun, before the next one.
    Effect(u64),
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(number) => write!(f, "commit:{number}"),
            Self::Answer(number) => write!(f, "answer:{number}"),
            Self::Effect(number) => write!(f, "effect:{number}"),
        }
    }
}

impl FromStr for Boundary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
        match text.split_once(':') {
            Some(("commit", at)) => number(at).map(Self::Commit),
            Some(("answer", at)) => number(at).map(Self::Answer),
            Some(("effect", at)) => number(at).map(Self::Effect),
            _ => Err(format!("{text} is not commit:N, answer:N or effect:N")),
        }
    }
}

/// One world, as a line of `seeds.txt` names it: a seed, options, and after
/// `#` a word on what it once found.
#[derive(Clone, Debug, Parser)]
#[command(no_binary_name = true)]
pub struct Kept {
    /// The seed.
    pub seed: u64,
    /// The rest.
    #[command(flatten)]
    pub options: Options,
}

impl Kept {
    /// The worlds that a text lists, one per line.
    ///
    /// # Errors
    /// The first line that cannot be read, and why.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        text.lines()
            .map(|line| line.split('#').next().unwrap_or_default())
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                Self::try_parse_from(line.split_whitespace())
                    .map_err(|error| format!("{line}: {error}"))
            })
            .collect()
    }
}

/// What a world turned out to be: the rest that options can fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Sleds.
    pub sleds: u64,
    /// Most jobs.
    pub jobs: u64,
    /// Minutes until the faults end.
    pub minutes: u64,
    /// How jobs come.
    pub traffic: Model,
    /// Kinds of faults.
    pub faults: FaultSet,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sleds, up to {} jobs ({}), {} minutes of faults: {}",
            self.sleds,
            self.jobs,
            name_of(&self.traffic),
            self.minutes,
            self.faults
        )
    }
}
