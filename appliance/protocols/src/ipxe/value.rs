//! Values that may stand in an iPXE script. Once made, they never hold a
//! character that iPXE gives a meaning of its own: `${…}`, quotes, backslash,
//! `#`, `;`, `&`, `|` and line ends (iPXE splits and expands every line).

use alloc::string::{String, ToString};
use core::fmt;

/// Longest kernel command line: x86-64 Linux takes 2048 octets with its end.
const MAX_COMMAND_LINE_BYTES: usize = 2000;
/// Longest notice: one line of a screen.
const MAX_NOTICE_BYTES: usize = 120;
/// Shortest and longest token in hexadecimal digits: 64 to 512 bits.
const TOKEN_DIGITS: core::ops::RangeInclusive<usize> = 16..=128;

/// Why a text cannot stand in a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A kernel command line with a character that iPXE would act on.
    #[error("read kernel command line: character {0:?} is not allowed in an iPXE script")]
    Character(char),
    /// A kernel command line that the kernel would cut.
    #[error("read kernel command line: {bytes} bytes are more than {MAX_COMMAND_LINE_BYTES}")]
    TooLong {
        /// Length seen.
        bytes: usize,
    },
    /// Not a token.
    #[error("read boot token: expected 16 to 128 hexadecimal digits")]
    Token,
}

/// A boot token as it stands in a URL: lower-case hexadecimal. It opens boot
/// files only, and is still left out of `Debug`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootToken(String);

impl BootToken {
    /// Reads a token.
    ///
    /// # Errors
    /// [`ValueError::Token`] unless it is 16 to 128 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits && TOKEN_DIGITS.contains(&text.len()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(ValueError::Token)
        }
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BootToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BootToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootToken(redacted)")
    }
}

/// A kernel command line of harmless characters. It may name a ticket, so
/// `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine(String);

impl CommandLine {
    /// Reads a command line.
    ///
    /// # Errors
    /// [`ValueError`] when it is too long or holds a character outside of
    /// ASCII letters, digits, space and `-_.,:/=+@%[]~*!?`.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        if text.len() > MAX_COMMAND_LINE_BYTES {
            return Err(ValueError::TooLong { bytes: text.len() });
        }
        match text.chars().find(|&letter| !harmless(letter)) {
            Some(letter) => Err(ValueError::Character(letter)),
            None => Ok(Self(text.trim().to_string())),
        }
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandLine({} bytes)", self.0.len())
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A line for the sled's screen. Whatever could act is replaced by `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(String);

impl Notice {
    /// Makes a notice of any text, cut to 120 characters.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let safe = |letter| if harmless(letter) { letter } else { '?' };
        Self(text.chars().take(MAX_NOTICE_BYTES).map(safe).collect())
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn harmless(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || " -_.,:/=+@%[]~*!?".contains(letter)
}
