//! Newtypes, so that no id can be taken for another.

use alloc::string::String;
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Text that is not the id it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct IdParseError(pub &'static str);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self).map_err(|_| IdParseError(stringify!($name)))
            }
        }
    };
}

number! {
    /// One boot of one sled; counts up over the life of an appliance.
    BootId(u64)
}
number! {
    /// A sled's number in the inventory: never reused, stable under renaming of nothing.
    SledId(u32)
}
number! {
    /// A pool's number in the inventory.
    PoolId(u32)
}
number! {
    /// A circuit's number in the inventory.
    CircuitId(u16)
}
number! {
    /// One configured GitHub App (`[[github]]`), numbered by its name once and for all.
    HubId(u16)
}
number! {
    /// GitHub's id of a registered runner, unique within its scope.
    RunnerId(u64)
}
number! {
    /// Counts the claims of one sled; drivers refuse effects of older claims.
    Generation(u64)
}
number! {
    /// An effect in the outbox; counts up, so also the order of dispatch.
    EffectId(u64)
}
number! {
    /// Milliseconds since the Unix epoch, or a span of milliseconds.
    Millis(u64)
}

impl Millis {
    /// This time plus `span_ms` milliseconds.
    #[must_use]
    pub const fn after(self, span_ms: u64) -> Self {
        Self(self.0.saturating_add(span_ms))
    }

    /// Milliseconds from `earlier` to this time; 0 when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A GitHub workflow job. Numbers are unique within one GitHub instance only,
/// so the App it came through is part of the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId {
    /// The App through which we know the job.
    pub hub: HubId,
    /// GitHub's `workflow_job.id`.
    pub number: u64,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// Identity of a delivery: its `X-GitHub-Delivery` GUID as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryKey(pub u128);

macro_rules! bytes {
    ($(#[$doc:meta])* $name:ident[$len:literal]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $len];
                parse_hex(text.as_bytes(), &mut bytes)
                    .then_some(Self(bytes))
                    .ok_or(IdParseError(stringify!($name)))
            }
        }
    };
}

fn parse_hex(text: &[u8], bytes: &mut [u8]) -> bool {
    fn nibble(digit: u8) -> Option<u8> {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    }
    if text.len() != bytes.len() * 2 {
        return false;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
            return false;
        };
        *byte = high << 4 | low;
    }
    true
}

bytes! {
    /// Stable identity of one appliance; part of runner names and receipts.
    ApplianceId[4]
}
bytes! {
    /// A SHA-256 digest.
    Digest[32]
}
bytes! {
    /// An agent's Ed25519 public key, made fresh at each start of the agent.
    AgentKey[32]
}
bytes! {
    /// The unguessable part of a boot ticket.
    TicketToken[16]
}

macro_rules! debug_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
debug_as_hex!(ApplianceId, Digest, AgentKey, Mac);

impl fmt::Debug for TicketToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketToken(…)")
    }
}

/// A network card's address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = IdParseError;

    /// Reads `52:54:00:77:00:01`; dashes and capitals are accepted too.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = IdParseError("MAC address");
        if text.len() != 17 {
            return Err(error);
        }
        let digits: String = text.split([':', '-']).collect();
        let mut bytes = [0; 6];
        parse_hex(digits.as_bytes(), &mut bytes)
            .then_some(Self(bytes))
            .ok_or(error)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn macs_round_trip() {
        let mac: Mac = "52:54:00:AB:00:01".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:00:01");
        assert_eq!("52-54-00-ab-00-01".parse(), Ok(mac));
        for bad in [
            "",
            "52:54:00:ab:00",
            "52:54:00:ab:00:0g",
            "5254:00:ab:00:01::",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_do_not_show_in_debug_output() {
        let token = TicketToken([0xab; 16]);
        assert_eq!(token.to_string().parse(), Ok(token));
        assert!(!alloc::format!("{token:?}").contains("ab"));
    }
}
