//! Blots out secrets in a stream of bytes: those that are known, and what
//! looks like a token of GitHub's.

use zeroize::Zeroizing;

/// What stands where a secret was.
const BLOT: &[u8] = b"[redacted]";
/// How tokens of GitHub's begin (docs.github.com, "Behind GitHub's new
/// authentication token formats", and runner registrations).
const PREFIXES: [&[u8]; 6] = [b"ghs_", b"ghp_", b"gho_", b"ghu_", b"ghr_", b"github_pat_"];
/// Characters after a prefix that make a token of it.
const LEAST_TOKEN: usize = 16;
/// What is held back of a token that has no end.
const MOST_HELD: usize = 4096;

/// A stream that loses its secrets.
#[derive(Default)]
pub struct Redactor {
    secrets: Vec<Zeroizing<Vec<u8>>>,
    /// May be the begin of a secret.
    held: Vec<u8>,
    /// A token is longer than what is held back: its rest is not shown.
    in_token: bool,
}

enum Match {
    /// So many bytes are a secret.
    Secret(usize),
    /// More bytes must tell.
    Undecided,
    No,
}

impl Redactor {
    /// A stream in which `secrets` are blotted out too; an empty one is none.
    #[must_use]
    pub fn new(secrets: Vec<Zeroizing<Vec<u8>>>) -> Self {
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
        Self {
            secrets: secrets.collect(),
            held: Vec::new(),
            in_token: false,
        }
    }

    /// What may be shown after these bytes came; the rest is held back.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        self.clear(false)
    }

    /// What was held back, at the end or when the stream rests.
    pub fn finish(&mut self) -> Vec<u8> {
        self.clear(true)
    }

    fn clear(&mut self, end: bool) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let mut clear = Vec::with_capacity(held.len());
        let mut rest = held.as_slice();
        if self.in_token {
            rest = rest.get(letters(rest)..).unwrap_or_default();
            self.in_token = rest.is_empty() && !end;
        }
        while let Some((first, tail)) = rest.split_first() {
            let end = end || rest.len() > MOST_HELD;
            match self.look(rest, end) {
                Match::Secret(length) => {
                    clear.extend_from_slice(BLOT);
                    self.in_token = length == rest.len() && length > MOST_HELD;
                    rest = rest.get(length..).unwrap_or_default();
                }
                Match::Undecided => break,
                Match::No => {
                    clear.push(*first);
                    rest = tail;
                }
            }
        }
        self.held = rest.to_vec();
        clear
    }

    fn look(&self, rest: &[u8], end: bool) -> Match {
        for secret in &self.secrets {
            if rest.starts_with(secret) {
                return Match::Secret(secret.len());
            }
        }
        let known = self.secrets.iter().map(|secret| secret.as_slice());
        let undecided = known.chain(PREFIXES).any(|start| start.starts_with(rest));
        if undecided && !end {
            return Match::Undecided;
        }
        for prefix in PREFIXES {
            let Some(tail) = rest.strip_prefix(prefix) else {
                continue;
            };
            let length = letters(tail);
            if length == tail.len() && !end {
                return Match::Undecided;
            }
            if length >= LEAST_TOKEN {
                return Match::Secret(prefix.len() + length);
            }
        }
        Match::No
    }
}

/// How many bytes at the start may be a token's.
fn letters(bytes: &[u8]) -> usize {
    let is_letter = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    bytes.iter().take_while(is_letter).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blotted_out_however_they_are_cut() {
        let token = "ghs_0123456789abcdefABCDEF";
        let check = |text: &str, expect: &str| {
            for cut in 0..=text.len() {
                let secret = Zeroizing::new(b"correct horse".to_vec());
                let mut redactor = Redactor::new(vec![secret]);
                let (one, two) = text.as_bytes().split_at(cut);
                let mut shown = redactor.push(one);
                shown.extend(redactor.push(two));
                shown.extend(redactor.finish());
                assert_eq!(String::from_utf8(shown).unwrap(), expect, "cut at {cut}");
            }
        };
        check("nothing to hide", "nothing to hide");
        check("a correct horse runs", "a [redacted] runs");
        check("a correct hors", "a correct hors");
        check(&format!("token={token}\r\n"), "token=[redacted]\r\n");
        check(&format!("{token}{token}"), "[redacted]");
        check(&format!("{token} {token}"), "[redacted] [redacted]");
        check("ghs_short one", "ghs_short one");
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut redactor = Redactor::default();
        let mut shown = redactor.push(b"ghs_");
        for _ in 0..100 {
            shown.extend(redactor.push(&[b'x'; 1000]));
            assert!(redactor.held.len() <= MOST_HELD + 1000);
        }
        shown.extend(redactor.push(b" that is all"));
        shown.extend(redactor.finish());
        assert_eq!(shown, b"[redacted] that is all");
    }
}
