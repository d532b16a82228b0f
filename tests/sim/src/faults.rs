//! What goes wrong in one world.

use std::{collections::BTreeSet, fmt, str::FromStr};

use clap::ValueEnum;

use crate::random::Random;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// The appliance crashes at a turn of its engine.
    Crash,
    /// The appliance starts many times within minutes.
    Restarts,
    /// Its clock is wrong after a start, by seconds to days.
    Clock,
    /// Its clock is wrong after a start, by decades.
    ClockFar,
    /// A transaction cannot be stored.
    Store,
    /// Its disk is full for minutes.
    Full,
    /// A message or answer between sled and appliance is lost.
    Lose,
    /// A message of a sled comes once more, later.
    Repeat,
    /// A BMC command fails or its answer is lost.
    Bmc,
    /// A BMC does not answer at all for a while.
    BmcOut,
    /// A BMC dies for good.
    BmcDead,
    /// A BMC says off while its sled is on, and acts on what it says; it comes
    /// to its senses before a runner starts.
    BmcLies,
    /// The same, while a runner runs.
    BmcLiesInRun,
    /// A sled is switched on or off by hand.
    Hand,
    /// A circuit loses its power, with the sleds, BMCs and maybe the appliance on it.
    Rack,
    /// A sled's agent or firmware dies at a stage.
    Die,
    /// A sled boots anew by itself at a stage.
    Reboot,
    /// A runner hangs after its job.
    Hang,
    /// A wipe leaves data behind.
    Unclean,
    /// Somebody forges agent messages.
    Forge,
    /// A delivery is dropped.
    Drop,
    /// A delivery comes twice.
    Double,
    /// A delivery comes late, after newer ones.
    Reorder,
    /// The tunnel is down for minutes to hours.
    Tunnel,
    /// GitHub is down for minutes to hours.
    Outage,
    /// GitHub's answer is lost, comes late, or is an error.
    Api,
    /// GitHub says that a runner is busy, and it is not.
    Busy,
    /// GitHub answers with how a job stood before.
    Stale,
    /// A job is cancelled while it waits or runs.
    Cancel,
    /// A runner that is not ours takes a job.
    Steal,
    /// The operator changes the inventory.
    Operator,
}

/// How often a fault gets its chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chance {
    /// At each act that it could spoil.
    Act,
    /// At each minute: rarer in a world of more minutes, which has its fair
    /// share and no more.
    Minute,
    /// At each turn of the appliance: rarer also where more sleds make it turn.
    Turn,
}

impl Fault {
    /// How often a heavy one strikes, in 1,000,000 chances.
    const fn heavy(self) -> (u64, Chance) {
        match self {
            Self::Crash => (25_000, Chance::Turn),
            Self::Store => (15_000, Chance::Turn),
            Self::Restarts | Self::Rack | Self::Tunnel | Self::Outage => (30_000, Chance::Minute),
            Self::BmcLies | Self::BmcLiesInRun => (30_000, Chance::Minute),
            Self::Full => (20_000, Chance::Minute),
            Self::BmcDead => (1_500, Chance::Minute),
            Self::Hand | Self::Operator => (60_000, Chance::Minute),
            Self::Forge => (250_000, Chance::Minute),
            Self::Clock | Self::ClockFar => (300_000, Chance::Act),
            Self::Lose => (200_000, Chance::Act),
            Self::Repeat => (100_000, Chance::Act),
            Self::Bmc => (150_000, Chance::Act),
            Self::BmcOut => (15_000, Chance::Act),
            Self::Die => (80_000, Chance::Act),
            Self::Reboot => (20_000, Chance::Act),
            Self::Hang => (120_000, Chance::Act),
            Self::Unclean => (60_000, Chance::Act),
            Self::Drop | Self::Double | Self::Reorder => (100_000, Chance::Act),
            Self::Api | Self::Cancel | Self::Steal => (250_000, Chance::Act),
            Self::Busy | Self::Stale => (150_000, Chance::Act),
        }
    }

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Some kinds of faults, written `crash,lose` or `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultSet(pub BTreeSet<Fault>);

impl fmt::Display for FaultSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<String> = self.0.iter().map(|fault| fault.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for FaultSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').filter(|name| !name.is_empty());
        names
            .filter(|name| *name != "none")
            .map(|name| {
                Fault::from_str(name, false).map_err(|_| {
                    let all: Vec<String> =
                        Fault::value_variants().iter().map(|f| f.name()).collect();
                    format!("there is no fault {name}, only none, {}", all.join(", "))
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// One kind in one world.
#[derive(Clone, Debug)]
struct Rate {
    ppm: u64,
    random: Random,
}

/// The mix of one world: each kind is absent in some and heavy in others, and
/// draws from a generator of its own.
#[derive(Clone, Debug)]
pub(crate) struct Faults(Vec<Rate>);

impl Faults {
    /// Draws a mix. `only` leaves out all others, `heavy` are heavy whatever is
    /// drawn. `by_minute` and `by_turn` make a rate fit the world's size.
    pub(crate) fn draw(
        seed: u64,
        only: Option<&FaultSet>,
        heavy: &FaultSet,
        by_minute: impl Fn(u64) -> u64,
        by_turn: impl Fn(u64) -> u64,
    ) -> Self {
        let rates = Fault::value_variants().iter().map(|fault| {
            let mut random = Random::of(seed, 100 + *fault as u64);
            let (most, chance) = fault.heavy();
            let drawn = match random.below(4) {
                0 | 1 => 0,
                2 => most.div_ceil(5),
                _ => most,
            };
            let wanted = only.is_none_or(|only| only.0.contains(fault));
            let level = match (heavy.0.contains(fault), wanted) {
                (true, _) => most,
                (false, true) => drawn,
                (false, false) => 0,
            };
            let ppm = match chance {
                Chance::Act => level,
                Chance::Minute => by_minute(level),
                Chance::Turn => by_turn(level),
            };
            Rate { ppm, random }
        });
        Self(rates.collect())
    }

    /// Only these kinds, each at a rate in 1,000,000 chances.
    pub(crate) fn exactly(seed: u64, rates: &[(Fault, u64)]) -> Self {
        let none = FaultSet::default();
        let mut faults = Self::draw(seed, Some(&none), &none, |level| level, |level| level);
        for (fault, ppm) in rates {
            faults.0[*fault as usize].ppm = *ppm;
        }
        faults
    }

    /// The kinds that may strike.
    pub(crate) fn active(&self) -> FaultSet {
        let all = Fault::value_variants().iter().zip(&self.0);
        FaultSet(
            all.filter(|(_, rate)| rate.ppm > 0)
                .map(|(fault, _)| *fault)
                .collect(),
        )
    }

    /// Whether it strikes now; if so, a generator for its details.
    pub(crate) fn strike(&mut self, fault: Fault) -> Option<Random> {
        let rate = &mut self.0[fault as usize];
        rate.random
            .rare(rate.ppm)
            .then(|| Random::new(rate.random.next()))
    }

    /// Whether it strikes now.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let rate = &mut self.0[fault as usize];
        rate.random.rare(rate.ppm)
    }

    /// Nothing goes wrong any more.
    pub(crate) fn end(&mut self) {
        for rate in &mut self.0 {
            rate.ppm = 0;
        }
    }
}
