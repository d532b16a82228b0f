//! Keeps a secret out of a stream, also where it spans two pieces.

use zeroize::Zeroizing;

const STARS: &[u8] = b"***";

/// Replaces every occurrence of one secret.
pub(super) struct Redactor {
    secret: Zeroizing<Vec<u8>>,
    /// The stream's end, as far as it could be the secret's beginning.
    held: Vec<u8>,
}

impl Redactor {
    /// Keeps `secret` out; an empty one is nowhere.
    pub(super) fn new(secret: &str) -> Self {
        Self {
            secret: Zeroizing::new(secret.as_bytes().to_vec()),
            held: Vec::new(),
        }
    }

    /// What may be shown once `piece` came.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(self.held.len() + piece.len());
        let mut rest = std::mem::take(&mut self.held);
        rest.extend_from_slice(piece);
        let mut rest = rest.as_slice();
        while let Some(at) = self.find(rest) {
            shown.extend_from_slice(rest.get(..at).unwrap_or_default());
            shown.extend_from_slice(STARS);
            rest = rest.get(at + self.secret.len()..).unwrap_or_default();
        }
        let keep = (1..self.secret.len().min(rest.len() + 1))
            .rev()
            .find(|length| {
                self.secret
                    .get(..*length)
                    .is_some_and(|head| rest.ends_with(head))
            })
            .unwrap_or(0);
        let (show, hold) = rest.split_at(rest.len() - keep);
        shown.extend_from_slice(show);
        self.held.extend_from_slice(hold);
        shown
    }

    /// What was held back, once the stream has ended.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    fn find(&self, text: &[u8]) -> Option<usize> {
        let first = self.secret.first()?;
        let starts = text.iter().enumerate().filter(|(_, byte)| *byte == first);
        let mut starts = starts.map(|(at, _)| at);
        starts.find(|at| {
            text.get(*at..)
                .is_some_and(|tail| tail.starts_with(&self.secret))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_pass_however_the_stream_is_cut() {
        #[track_caller]
        fn check(secret: &str, text: &str, expect: &str) {
            for cut in 1..=text.len() {
                let mut redactor = Redactor::new(secret);
                let mut shown = Vec::new();
                for piece in text.as_bytes().chunks(cut) {
                    shown.extend(redactor.push(piece));
                }
                shown.extend(redactor.finish());
                assert_eq!(String::from_utf8_lossy(&shown), expect, "pieces of {cut}");
            }
        }
        check("abcab", "x abcab y", "x *** y");
        check("abcab", "abcababcab", "******");
        check("abcab", "abcabcab", "***cab");
        check("abcab", "abca", "abca");
        check("abcab", "aabcaabcab", "aabca***");
        check("", "plain", "plain");
        check("a", "banana", "b***n***n***");
    }

    #[test]
    fn text_without_the_secret_is_not_held_back() {
        let mut redactor = Redactor::new("secret");
        assert_eq!(redactor.push(b"hello\n"), b"hello\n");
        assert_eq!(redactor.push(b"sec"), b"");
        assert_eq!(redactor.push(b"ond"), b"second");
    }
}
