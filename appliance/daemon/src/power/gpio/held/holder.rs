//! Asking the holder for one thing, and why it was not done.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use embedded_hal::digital;

use super::super::wire::{Answer, MAX_BYTES, Order, Refusal, Request, Standing, VERSION};
use crate::power::button::ButtonError;
use crate::power::relay::RelayError;
use crate::power::switch::{Error, ErrorKind, Power};

/// How long the holder may take beyond the press that it is asked for.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Whoever owns the lines.
pub trait Holder {
    /// Asks for one thing, once.
    ///
    /// # Errors
    /// When the holder is not there, or refuses.
    fn ask(&self, line: &str, order: Order) -> Result<Standing, HeldError>;
}

/// The holder's process.
#[derive(Clone, Debug)]
pub struct HolderSocket(pub PathBuf);

/// Why a held line did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// The holder is not there, or said nothing in time.
    #[error(
        "the line holder at {socket} does not answer: {source}: is `musher gpio-hold` running, as \
         the same user?"
    )]
    Unreachable {
        /// Its socket.
        socket: String,
        /// Why.
        source: io::Error,
    },
    /// It refuses.
    #[error("line {line}: {refusal}")]
    Refused {
        /// Which line.
        line: String,
        /// Why.
        refusal: Refusal,
    },
    /// The sense line does not follow the command.
    #[error(
        "line {line} says that the sled is {} {after_ms} ms after it was turned {}: look at the \
         sled and at both lines",
        word(power.other()), word(*power)
    )]
    NotFollowed {
        /// The sense line.
        line: String,
        /// What was commanded.
        power: Power,
        /// How long it was watched, in milliseconds.
        after_ms: u64,
    },
    /// There is a sense line alone, and it says that the sled is on.
    #[error(
        "line {line} says that the sled is on: turn it off by hand, and give its `off` a relay or \
         a program so that Musher can"
    )]
    NoCut {
        /// The sense line.
        line: String,
    },
}

const fn word(power: Power) -> &'static str {
    match power {
        Power::On => "on",
        Power::Off => "off",
    }
}

impl From<RelayError<Self, Self>> for HeldError {
    fn from(error: RelayError<Self, Self>) -> Self {
        match error {
            RelayError::Drive(error) | RelayError::Sense(error) => error,
        }
    }
}

impl From<ButtonError<Self, Self>> for HeldError {
    fn from(error: ButtonError<Self, Self>) -> Self {
        match error {
            ButtonError::Press(error) | ButtonError::Sense(error) => error,
        }
    }
}

impl Error for HeldError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } => ErrorKind::Holder,
            Self::Refused { .. } => ErrorKind::Drive,
            Self::NotFollowed { .. } => ErrorKind::NotFollowed,
            Self::NoCut { .. } => ErrorKind::NoCut,
        }
    }

    fn detail(&self) -> String {
        self.to_string()
    }
}

impl digital::Error for HeldError {
    fn kind(&self) -> digital::ErrorKind {
        digital::ErrorKind::Other
    }
}

impl Holder for HolderSocket {
    fn ask(&self, line: &str, order: Order) -> Result<Standing, HeldError> {
        let press = match order {
            Order::Press { length_ms, .. } => Duration::from_millis(length_ms.into()),
            Order::Look | Order::Drive { .. } => Duration::ZERO,
        };
        let request = Request {
            version: VERSION,
            line: line.to_owned(),
            order,
        };
        let answer = exchange(&self.0, &request.to_line(), press + ANSWER_WAIT);
        let answer = answer.and_then(|bytes| {
            serde_json::from_slice(&bytes).map_err(|error| io::Error::other(error.to_string()))
        });
        match answer {
            Ok(Answer::Done(standing)) => Ok(standing),
            Ok(Answer::Refused(refusal)) => Err(HeldError::Refused {
                line: line.to_owned(),
                refusal,
            }),
            Err(source) => Err(HeldError::Unreachable {
                socket: self.0.display().to_string(),
                source,
            }),
        }
    }
}

fn exchange(socket: &Path, request: &[u8], wait: Duration) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(ANSWER_WAIT))?;
    stream.set_read_timeout(Some(wait))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES as u64).read_to_end(&mut answer)?;
    Ok(answer)
}
