//! What the daemon and the holder say to each other: one connection, one
//! request, one answer, each a line of JSON.
//!
//! A holder lives longer than a daemon, so old holders meet new daemons: names
//! and meanings here are never changed, only added under a higher version.

use serde::{Deserialize, Serialize};

/// The version of this protocol.
pub const VERSION: u32 = 1;

/// Longest request or answer, in bytes, with its line end.
pub const MAX_BYTES: usize = 1024;

/// What the daemon wants of one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The version that the daemon speaks.
    pub version: u32,
    /// The line's name in `lines.toml`.
    pub line: String,
    /// What to do with it.
    pub order: Order,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Say how it stands.
    Look,
    /// Drive it to a level; nothing moves when it is there already.
    #[serde(rename_all = "kebab-case")]
    Drive {
        /// High or low.
        high: bool,
        /// Of which claim; older ones are refused.
        generation: u64,
    },
    /// Hold it at its active level for a while, then let it go. Answered when
    /// it has been let go; the press ends on time whoever waits for it.
    #[serde(rename_all = "kebab-case")]
    Press {
        /// How long, in milliseconds.
        length_ms: u32,
        /// Of which claim; older ones are refused.
        generation: u64,
    },
}

/// What the holder answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was done; so the line stands.
    Done(Standing),
    /// It was not done.
    Refused(Refusal),
}

/// How a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether it reads high.
    pub high: bool,
    /// Whether it is driven; an output that nobody has driven yet is not.
    pub driven: bool,
    /// The last press, when this holder made one.
    pub last_press: Option<LastPress>,
}

/// A press that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPress {
    /// How long it was, in milliseconds.
    pub length_ms: u32,
    /// For which claim.
    pub generation: u64,
    /// How long ago it ended, in milliseconds.
    pub ended_ms_ago: u64,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The line is moving.
    #[error("the line is busy for {left_ms} ms more")]
    Busy {
        /// For how long still, in milliseconds.
        left_ms: u64,
    },
    /// The order is of an older claim than one that was carried out.
    #[error(
        "the order is of claim {generation}, and one of claim {newest} was carried out before: after \
         a restore of older state, restart the holder while no job runs"
    )]
    Stale {
        /// The order's claim.
        generation: u64,
        /// The newest claim that the line was moved for.
        newest: u64,
    },
    /// The holder speaks an older version.
    #[error("the holder speaks version {holder}: restart it while no job runs")]
    Version {
        /// Its version.
        holder: u32,
    },
    /// Nothing that the holder understands.
    #[error("the holder does not understand the request: restart it while no job runs")]
    Malformed,
    /// The holder has no such line.
    #[error("the holder has no line of this name: restart it after a change of lines.toml")]
    UnknownLine,
    /// A line can be used only as it is wired.
    #[error("lines.toml says that the line is a {is}")]
    WrongUse {
        /// What it is.
        is: String,
    },
    /// No press may be that long, or that short.
    #[error("a press must be 1 to {longest_ms} ms long")]
    Length {
        /// The longest.
        longest_ms: u32,
    },
    /// The holder is about to end.
    #[error("the holder is stopping")]
    Stopping,
    /// The pin could not be moved or read.
    #[error("{0}")]
    Pin(String),
}

impl Answer {
    /// As it is sent, with its line end.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        to_line(self)
    }
}

impl Request {
    /// As it is sent, with its line end.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        to_line(self)
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What the holder answers to what it cannot read.
    pub fn parse(line: &[u8]) -> Result<Self, Refusal> {
        // A later version may say things that this one cannot read.
        #[derive(Deserialize)]
        struct Any {
            version: u32,
        }
        let any: Any = serde_json::from_slice(line).map_err(|_| Refusal::Malformed)?;
        if any.version != VERSION {
            return Err(Refusal::Version { holder: VERSION });
        }
        serde_json::from_slice(line).map_err(|_| Refusal::Malformed)
    }
}

fn to_line(value: &impl Serialize) -> Vec<u8> {
    // Numbers, booleans and strings alone: these always have a JSON.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of version 1, which stay as they are.
    #[test]
    fn version_1_is_frozen() {
        let check = |order, golden: &str| {
            let line = "pwr-01".to_owned();
            let request = Request {
                version: 1,
                line,
                order,
            };
            let text = format!("{{\"version\":1,\"line\":\"pwr-01\",\"order\":{golden}}}\n");
            assert_eq!(request.to_line(), text.as_bytes());
            assert_eq!(Request::parse(text.as_bytes()), Ok(request));
        };
        check(Order::Look, r#""look""#);
        let (high, generation) = (true, 7);
        let drive = r#"{"drive":{"high":true,"generation":7}}"#;
        check(Order::Drive { high, generation }, drive);
        let length_ms = 200;
        let press = r#"{"press":{"length-ms":200,"generation":7}}"#;
        check(
            Order::Press {
                length_ms,
                generation,
            },
            press,
        );
    }

    #[test]
    fn answers_of_version_1_are_frozen() {
        let check = |answer: Answer, golden: &str| {
            assert_eq!(answer.to_line(), format!("{golden}\n").as_bytes());
            let read: Answer = serde_json::from_str(golden).unwrap();
            assert_eq!(read, answer);
        };
        let last_press = Some(LastPress {
            length_ms: 200,
            generation: 7,
            ended_ms_ago: 12,
        });
        check(
            Answer::Done(Standing {
                high: false,
                driven: true,
                last_press,
            }),
            r#"{"done":{"high":false,"driven":true,"last_press":{"length_ms":200,"generation":7,"ended_ms_ago":12}}}"#,
        );
        let refused = |refusal, golden: &str| {
            check(
                Answer::Refused(refusal),
                &format!("{{\"refused\":{golden}}}"),
            );
        };
        refused(Refusal::Busy { left_ms: 3 }, r#"{"busy":{"left_ms":3}}"#);
        refused(
            Refusal::Stale {
                generation: 3,
                newest: 7,
            },
            r#"{"stale":{"generation":3,"newest":7}}"#,
        );
        refused(
            Refusal::Version { holder: 1 },
            r#"{"version":{"holder":1}}"#,
        );
        refused(Refusal::Malformed, r#""malformed""#);
        refused(Refusal::UnknownLine, r#""unknown-line""#);
        refused(
            Refusal::WrongUse { is: "relay".into() },
            r#"{"wrong-use":{"is":"relay"}}"#,
        );
        refused(
            Refusal::Length { longest_ms: 9 },
            r#"{"length":{"longest_ms":9}}"#,
        );
        refused(Refusal::Stopping, r#""stopping""#);
        refused(Refusal::Pin("no".into()), r#"{"pin":"no"}"#);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let check = |text: &str, expect| {
            assert_eq!(Request::parse(text.as_bytes()), Err(expect), "{text}");
        };
        let future = r#"{"version":2,"line":"x","order":"dance","tempo":9}"#;
        check(future, Refusal::Version { holder: 1 });
        for text in [
            "",
            "{",
            "[]",
            "null",
            "GET / HTTP/1.1",
            r#"{"line":"x","order":"look"}"#,
            r#"{"version":1,"line":"x","order":"look","more":1}"#,
            r#"{"version":1,"line":"x","order":{"drive":{"high":true}}}"#,
            r#"{"version":1,"line":"x","order":{"press":{"length-ms":-1,"generation":1}}}"#,
            r#"{"version":1,"line":7,"order":"look"}"#,
        ] {
            check(text, Refusal::Malformed);
        }
    }
}
