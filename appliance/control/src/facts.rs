//! What a management controller is set to, as text to compare between boots.
//!
//! A job with root reaches its sled's BMC from inside without a password. What
//! it may change there and what outlives a wipe is read out of band, before
//! and after, and held against each other here. Any driver can fill the same
//! value; nothing in it is a secret.

use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

use serde::{Deserialize, Serialize};

/// Facts that are kept of one controller: a BMC has 63 users at most, and a
/// large server some hundred pieces of firmware.
const MOST_FACTS: usize = 512;
/// Longest value that is kept, in bytes.
const MOST_VALUE_BYTES: usize = 256;

/// Settings of a management controller by dotted name, such as
/// `user.02` or `lan.address`. In the order of the names, so that the same
/// settings are the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcFacts(BTreeMap<String, String>);

/// One setting that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Its dotted name.
    pub name: String,
    /// What it was; `None` when it was not there.
    pub was: Option<String>,
    /// What it is; `None` when it is gone.
    pub is: Option<String>,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
        write!(
            f,
            "{}: was {}, is {}",
            self.name,
            text(&self.was),
            text(&self.is)
        )
    }
}

impl BmcFacts {
    /// Notes that `name` is `value`. Control characters of the value are
    /// escaped, and it is cut at 256 bytes: controllers are hostile.
    pub fn note(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        if self.0.len() >= MOST_FACTS {
            return;
        }
        let mut text: String = value
            .to_string()
            .chars()
            .flat_map(|c| match c.is_control() {
                true => c.escape_default().collect::<Vec<_>>(),
                false => vec![c],
            })
            .collect();
        while text.len() > MOST_VALUE_BYTES {
            text.pop();
        }
        self.0.insert(name.into(), text);
    }

    /// What `name` is.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What differs in `newer`, in the order of the names.
    #[must_use]
    pub fn drift(&self, newer: &Self) -> Vec<Drift> {
        let names: BTreeSet<&String> = self.0.keys().chain(newer.0.keys()).collect();
        let changed = |name: &String| {
            let (was, is) = (self.0.get(name).cloned(), newer.0.get(name).cloned());
            let name = name.clone();
            (was != is).then_some(Drift { name, was, is })
        };
        names.into_iter().filter_map(changed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pairs: &[(&str, &str)]) -> BmcFacts {
        let mut facts = BmcFacts::default();
        for (name, value) in pairs {
            facts.note(*name, value);
        }
        facts
    }

    #[test]
    fn drift_names_what_changed() {
        let check = |was: &[(&str, &str)], is: &[(&str, &str)], expect: &[&str]| {
            let (was, is) = (facts(was), facts(is));
            let said: Vec<_> = was.drift(&is).iter().map(Drift::to_string).collect();
            assert_eq!(said, expect);
        };
        let usual = [("lan.address", "10.78.0.11"), ("user.02", "admin")];
        let turned = [("user.02", "admin"), ("lan.address", "10.78.0.11")];
        check(&usual, &turned, &[]);
        check(
            &usual,
            &[("lan.address", "10.78.0.99"), ("user.02", "admin")],
            &["lan.address: was 10.78.0.11, is 10.78.0.99"],
        );
        check(
            &usual,
            &[("user.02", "admin"), ("user.03", "evil")],
            &[
                "lan.address: was 10.78.0.11, is absent",
                "user.03: was absent, is evil",
            ],
        );
        // A value cannot pose as two.
        check(
            &[("a", "1\nb\t2")],
            &[("a", "1"), ("b", "2")],
            &["a: was 1\\nb\\t2, is 1", "b: was absent, is 2"],
        );
    }

    #[test]
    fn hostile_values_are_bounded() {
        let mut facts = BmcFacts::default();
        for number in 0..2 * MOST_FACTS {
            facts.note(
                alloc::format!("fact.{number}"),
                "é".repeat(MOST_VALUE_BYTES),
            );
        }
        assert_eq!(facts.iter().count(), MOST_FACTS);
        assert!(
            facts
                .iter()
                .all(|(_, value)| value.len() <= MOST_VALUE_BYTES)
        );
    }
}
