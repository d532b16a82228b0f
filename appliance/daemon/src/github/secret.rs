//! Text that must not be seen: keys, tokens, JIT configurations.
//!
//! Never printed by `Debug`, has no `Display`, and its memory is overwritten
//! when dropped. What the HTTP and TLS libraries buffer underneath is beyond
//! its reach.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Whoever calls this sees to it that it goes to no log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
