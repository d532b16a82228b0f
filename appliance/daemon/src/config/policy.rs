//! How pools share sleds, as the operator writes it: the part of a `[[pool]]`
//! beyond its labels and image, and `[[circuit]]`.

use std::{collections::BTreeMap, path::Path};

use control::{CircuitSpec, MintScope, PoolPolicy, Scope, WarmPolicy, WarmWindow};
use serde::Deserialize;

use super::ConfigError;

/// The policy keys of a `[[pool]]`.
#[cfg_attr(test, derive(Deserialize))]
pub(super) struct WirePolicy {
    pub(super) mint_scope: Option<String>,
    pub(super) default: Option<bool>,
    pub(super) priority: Option<i16>,
    pub(super) min_sleds: Option<u32>,
    pub(super) max_sleds: Option<u32>,
    pub(super) max_per_repository: Option<u32>,
    pub(super) weights: Option<BTreeMap<String, u32>>,
    pub(super) warm: Option<WireWarm>,
    pub(super) max_reruns: Option<u32>,
}

/// Sleds that wait for jobs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireWarm {
    count: Option<u32>,
    follow: Option<u32>,
    idle_s: Option<u64>,
    max_age_s: Option<u64>,
    windows: Option<Vec<WireWindow>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireWindow {
    days: Vec<String>,
    from: String,
    to: String,
    count: u32,
}

/// A `[[circuit]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireCircuit {
    name: String,
    watts: Option<u32>,
    starts: Option<u32>,
    stagger_ms: Option<u64>,
}

impl From<WireCircuit> for CircuitSpec {
    fn from(wire: WireCircuit) -> Self {
        Self {
            name: wire.name,
            watts: wire.watts.unwrap_or(0),
            starts: wire.starts.unwrap_or(0),
            stagger_ms: wire.stagger_ms.unwrap_or(0),
        }
    }
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The policy of pool number `index`.
///
/// # Errors
/// A value that cannot be read, with its key. What contradicts itself is found
/// by the core.
pub(super) fn check(
    file: &Path,
    index: usize,
    scope: &Scope,
    wire: WirePolicy,
) -> Result<PoolPolicy, ConfigError> {
    let wrong = |name: &str, message: String| {
        ConfigError::value(file, format!("pool[{index}].{name}"), message)
    };
    let mint_scope = match (wire.mint_scope.as_deref(), scope) {
        (None | Some("org"), Scope::Org(_))
        | (None | Some("repo"), Scope::Repo(_))
        | (None, Scope::Enterprise(_)) => MintScope::Pool,
        (Some("repo"), Scope::Org(_) | Scope::Enterprise(_)) => MintScope::Repository,
        (Some("org"), Scope::Enterprise(_)) => {
            let message = "is \"org\", but the pool's scope is an enterprise: leave it out";
            return Err(wrong("mint_scope", message.to_owned()));
        }
        (Some("org"), Scope::Repo(_)) => {
            let message = "is \"org\", but the pool's scope is a repository: leave it out";
            return Err(wrong("mint_scope", message.to_owned()));
        }
        (Some(other), _) => {
            let message = format!("\"{other}\" is none of org, repo");
            return Err(wrong("mint_scope", message));
        }
    };
    let warm = match wire.warm {
        None => WarmPolicy::default(),
        Some(warm) => check_warm(warm).map_err(|message| wrong("warm", message))?,
    };
    Ok(PoolPolicy {
        mint_scope,
        default: wire.default.unwrap_or(false),
        priority: wire.priority.unwrap_or(0),
        min_sleds: wire.min_sleds.unwrap_or(0),
        max_sleds: wire.max_sleds,
        max_per_repository: wire.max_per_repository,
        weights: wire
            .weights
            .unwrap_or_default()
            .into_iter()
            .map(|(repository, weight)| (repository.to_lowercase(), weight))
            .collect(),
        warm,
        max_reruns: wire.max_reruns.unwrap_or(0),
    })
}

fn check_warm(wire: WireWarm) -> Result<WarmPolicy, String> {
    let unless = WarmPolicy::default();
    let ms = |seconds: Option<u64>, unless: u64| seconds.map_or(unless, |s| s.saturating_mul(1000));
    let windows = wire.windows.unwrap_or_default().into_iter().map(window);
    Ok(WarmPolicy {
        count: wire.count.unwrap_or(unless.count),
        follow: wire.follow.unwrap_or(unless.follow),
        idle_ms: ms(wire.idle_s, unless.idle_ms),
        max_age_ms: ms(wire.max_age_s, unless.max_age_ms),
        windows: windows.collect::<Result<_, _>>()?,
    })
}

fn window(wire: WireWindow) -> Result<WarmWindow, String> {
    let mut days = 0;
    for name in &wire.days {
        let Some(day) = DAYS.iter().position(|day| day == name) else {
            return Err(format!(
                "names day \"{name}\", which is none of {}",
                DAYS.join(", ")
            ));
        };
        days |= 1 << day;
    }
    Ok(WarmWindow {
        days,
        from_minute: minute(&wire.from)?,
        to_minute: minute(&wire.to)?,
        count: wire.count,
    })
}

/// `HH:MM` from 00:00 to 24:00, in UTC.
fn minute(text: &str) -> Result<u16, String> {
    let wrong = || format!("time \"{text}\" is not HH:MM from 00:00 to 24:00 (UTC)");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str, length: usize| {
        let digits = text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = number(hours, 2).zip(number(minutes, 2)).ok_or_else(wrong)?;
    let minute = hours * 60 + minutes;
    if minutes < 60 && minute <= 24 * 60 {
        Ok(minute)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_hours_and_minutes() {
        let check = |text: &str, expect: Option<u16>| assert_eq!(minute(text).ok(), expect);
        check("00:00", Some(0));
        check("08:30", Some(510));
        check("24:00", Some(1440));
        for wrong in ["24:01", "8:30", "08:60", "08-30", "+8:30", "", "08:3"] {
            check(wrong, None);
        }
    }

    fn parse(text: &str) -> Result<PoolPolicy, String> {
        let wire: WirePolicy = toml::from_str(text).map_err(|error| error.to_string())?;
        let scope = Scope::Org("octo".to_owned());
        check(Path::new("inventory.toml"), 0, &scope, wire).map_err(|error| error.to_string())
    }

    #[test]
    fn a_policy_is_read() {
        let policy = parse(
            r#"
            mint_scope = "repo"
            priority = -2
            max_per_repository = 3
            weights = { "Octo/App" = 4 }
            warm = { count = 1, idle_s = 60, windows = [
                { days = ["mon", "sun"], from = "08:00", to = "18:00", count = 5 },
            ] }
            "#,
        )
        .unwrap();
        assert_eq!(policy.mint_scope, MintScope::Repository);
        assert_eq!(policy.priority, -2);
        assert_eq!(policy.weights, [("octo/app".to_owned(), 4)]);
        assert_eq!(policy.warm.idle_ms, 60_000);
        assert_eq!(policy.warm.windows[0].days, 0b100_0001);
        assert_eq!(policy.warm.max_age_ms, WarmPolicy::default().max_age_ms);
    }

    #[test]
    fn wrong_values_are_named() {
        let refused = |text: &str, expect: &str| {
            let message = parse(text).unwrap_err();
            assert!(message.contains(expect), "{message}");
        };
        refused("mint_scope = \"team\"", "pool[0].mint_scope");
        refused(
            "warm = { windows = [{ days = [\"mo\"], from = \"00:00\", to = \"01:00\", count = 1 }] }",
            "names day \"mo\"",
        );
        refused("warm = { hot = 1 }", "hot");
    }
}
