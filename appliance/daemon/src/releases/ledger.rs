//! When each release was first seen, in a file that survives restarts.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use messages::Millis;
use serde::{Deserialize, Serialize};

use super::Version;

/// GitHub gives no job to a runner this long after a newer release.
const RULE_DAYS: u64 = 30;
/// A person is told when no more than this is left.
pub const WARN_DAYS: i64 = 14;
const DAY_MS: u64 = 24 * 3_600_000;
/// Most releases remembered, the newest: some years of them.
const MOST: usize = 200;
/// Longest file that is read.
const MOST_BYTES: u64 = 64 * 1024;
const FILE: &str = "releases.json";

/// The releases that were seen, in order of version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    releases: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    version: Version,
    /// Unix milliseconds.
    first_seen: u64,
    /// It was there at the very first look, so it may be older than that.
    maybe_older: bool,
}

/// The file cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("when runner releases were first seen: {}: {source}", path.display())]
pub struct LedgerError {
    path: PathBuf,
    source: io::Error,
}

/// How a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing newer is known.
    Current,
    /// Something newer is.
    Outdated(Age),
}

/// How long something newer has been out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// The first release that is newer.
    pub by: Version,
    /// When it was first seen here.
    pub since: Millis,
    /// Whole days until GitHub's rule bites, at most; negative once it has.
    pub days_left: i64,
    /// It may have been out for longer than that.
    pub maybe_older: bool,
}

impl Age {
    /// Whether a person must act.
    #[must_use]
    pub const fn must_be_told(&self) -> bool {
        self.maybe_older || self.days_left <= WARN_DAYS
    }

    /// What is wrong.
    pub(super) fn words(&self, image: &str, carried: Version) -> String {
        let by = self.by;
        let left = match self.days_left {
            ..0 => format!("it may refuse this one jobs since {} days", -self.days_left),
            0 => "less than a day is left".to_owned(),
            1 => "1 day is left".to_owned(),
            days => format!("{days} days are left"),
        };
        let older = match self.maybe_older {
            true => " at most: it was out already when this appliance first looked",
            false => " by when this appliance saw it first",
        };
        format!(
            "image {image} carries runner {carried}, and {by} is out: github gives no jobs to a \
             runner {RULE_DAYS} days after a newer release; {left}{older}"
        )
    }
}

impl Ledger {
    /// What was kept in `folder`. A file that is damaged counts as none: then
    /// ages are unknown again, which warns sooner.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(folder: &Path) -> Result<Self, LedgerError> {
        let path = folder.join(FILE);
        let read = || match fs::metadata(&path) {
            Ok(meta) if meta.len() > MOST_BYTES => Ok(Vec::new()),
            Ok(_) => fs::read(&path),
            Err(error) => Err(error),
        };
        match read() {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(file = %path.display(), %error, "damaged, and begun anew");
                Self::default()
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(LedgerError { path, source }),
        }
    }

    /// Keeps it in `folder`.
    ///
    /// # Errors
    /// It cannot be written; what was kept before stays.
    pub fn store(&self, folder: &Path) -> Result<(), LedgerError> {
        let path = folder.join(FILE);
        let write = || {
            let new = folder.join("releases.json.new");
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| LedgerError { path, source })
    }

    /// Notes that a release is out; whether that is news.
    pub fn saw(&mut self, version: Version, now: Millis) -> bool {
        let Err(place) = self
            .releases
            .binary_search_by_key(&version, |seen| seen.version)
        else {
            return false;
        };
        let seen = Seen {
            version,
            first_seen: now.0,
            maybe_older: self.releases.is_empty(),
        };
        self.releases.insert(place, seen);
        let spare = self.releases.len().saturating_sub(MOST);
        self.releases.drain(..spare);
        true
    }

    /// The newest release.
    #[must_use]
    pub fn newest(&self) -> Option<Version> {
        self.releases.last().map(|seen| seen.version)
    }

    /// The oldest version that GitHub's rule lets run: the newest that has been
    /// out for the whole time, or the oldest known.
    #[must_use]
    pub fn oldest_usable(&self, now: Millis) -> Option<Version> {
        let ripe = |seen: &&Seen| now.0.saturating_sub(seen.first_seen) >= RULE_DAYS * DAY_MS;
        let oldest = self.releases.iter().rev().find(ripe);
        oldest.or(self.releases.first()).map(|seen| seen.version)
    }

    /// How a version stands.
    #[must_use]
    pub fn standing(&self, version: Version, now: Millis) -> Standing {
        let newer = self.releases.iter().filter(|seen| seen.version > version);
        // What was first out starts the clock; a version may come late to a server.
        let Some(first) = newer.min_by_key(|seen| seen.first_seen) else {
            return Standing::Current;
        };
        let deadline = first.first_seen.saturating_add(RULE_DAYS * DAY_MS);
        let left_ms =
            i64::try_from(deadline).unwrap_or(i64::MAX) - i64::try_from(now.0).unwrap_or(i64::MAX);
        Standing::Outdated(Age {
            by: first.version,
            since: Millis(first.first_seen),
            days_left: left_ms.div_euclid(DAY_MS.cast_signed()),
            maybe_older: first.maybe_older,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    const START: u64 = 1_767_225_600_000;

    fn day(number: u64) -> Millis {
        Millis(START + number * DAY_MS)
    }

    #[test]
    fn the_first_newer_release_starts_the_clock() {
        let mut ledger = Ledger::default();
        assert!(ledger.saw(version("2.330.0"), day(0)));
        assert!(!ledger.saw(version("2.330.0"), day(1)), "no news");
        let carried = version("2.330.0");
        assert_eq!(ledger.standing(carried, day(100)), Standing::Current);
        ledger.saw(version("2.331.0"), day(100));
        ledger.saw(version("2.332.0"), day(110));
        let check = |now: u64, left: i64, told: bool| match ledger.standing(carried, day(now)) {
            Standing::Outdated(age) => {
                assert_eq!((age.by, age.since), (version("2.331.0"), day(100)));
                assert_eq!((age.days_left, age.must_be_told()), (left, told), "{now}");
            }
            Standing::Current => panic!("outdated on day {now}"),
        };
        check(100, 30, false);
        check(115, 15, false);
        check(116, 14, true);
        check(130, 0, true);
        check(135, -5, true);
        let Standing::Outdated(age) = ledger.standing(version("2.331.0"), day(115)) else {
            panic!("2.332.0 is newer");
        };
        assert_eq!((age.by, age.days_left), (version("2.332.0"), 25));
        assert_eq!(ledger.oldest_usable(day(129)), Some(version("2.330.0")));
        assert_eq!(ledger.oldest_usable(day(130)), Some(version("2.331.0")));
        assert_eq!(ledger.oldest_usable(day(140)), Some(version("2.332.0")));
    }

    #[test]
    fn what_was_out_at_the_first_look_may_be_older() {
        let mut ledger = Ledger::default();
        ledger.saw(version("2.335.0"), day(0));
        let Standing::Outdated(age) = ledger.standing(version("2.334.0"), day(0)) else {
            panic!("2.335.0 is newer");
        };
        assert!(age.maybe_older && age.must_be_told());
        assert_eq!(age.days_left, 30);
        let words = age.words("debian-12", version("2.334.0"));
        assert!(words.contains("30 days are left at most"), "{words}");
    }

    #[test]
    fn it_is_kept_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::load(folder.path()).unwrap();
        assert_eq!(ledger, Ledger::default());
        for minor in 0..300_u32 {
            ledger.saw(version(&format!("2.{minor}.0")), day(0));
        }
        assert_eq!(ledger.releases.len(), MOST);
        assert_eq!(ledger.newest(), Some(version("2.299.0")));
        ledger.store(folder.path()).unwrap();
        assert_eq!(Ledger::load(folder.path()).unwrap(), ledger);
        for damaged in ["", "{", r#"{"releases":[{"version":"2"}]}"#] {
            fs::write(folder.path().join(FILE), damaged).unwrap();
            assert_eq!(Ledger::load(folder.path()).unwrap(), Ledger::default());
        }
        fs::remove_file(folder.path().join(FILE)).unwrap();
        fs::create_dir(folder.path().join(FILE)).unwrap();
        let error = Ledger::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
    }
}
