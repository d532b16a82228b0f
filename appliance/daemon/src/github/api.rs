//! What an endpoint's function asks with: identities, and how urgent it is.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::Answer;
use super::auth::Auth;
use super::budget::Urgency;
use super::error::GithubError;
use super::http::Call;
use super::scope::Scope;
use super::status::Asked;

/// GitHub's most per page.
pub(super) const PER_PAGE: usize = 100;
/// A list longer than this many pages is given up: 10,000 entries.
const PAGES: usize = 100;

/// One operation's way to GitHub.
#[derive(Clone, Copy)]
pub(super) struct Api<'a> {
    pub(super) auth: &'a Auth,
    pub(super) urgency: Urgency,
}

impl Api<'_> {
    /// A call as the App.
    ///
    /// # Errors
    /// Any status but `expect`, and failures on the way.
    pub(super) fn as_app(&self, call: &Call<'_>, expect: u16) -> Result<Answer, GithubError> {
        self.auth.as_app(self.urgency, call, expect)
    }

    /// A call as whoever may act at `scope`.
    ///
    /// # Errors
    /// Any status but `expect`, and failures on the way.
    pub(super) fn at(
        &self,
        scope: &Scope,
        asked: Asked<'_>,
        call: &Call<'_>,
        expect: u16,
    ) -> Result<Answer, GithubError> {
        self.auth.at(scope, self.urgency, asked, call, expect)
    }

    /// Reads a list page by page and hands each page on, until `take` has
    /// what it wants or the list ends. `path` may have a query; `take` says
    /// how many entries the page had, and whether that is enough.
    ///
    /// # Errors
    /// Those of a call, or a list of more than 10,000 entries.
    pub(super) fn pages<W: DeserializeOwned>(
        &self,
        list: &List<'_>,
        mut take: impl FnMut(W) -> (usize, Enough),
    ) -> Result<(), GithubError> {
        let mark = if list.path.contains('?') { '&' } else { '?' };
        for page in 1..=PAGES {
            let path = format!("{}{mark}per_page={PER_PAGE}&page={page}", list.path);
            let call = Call {
                conditional: list.conditional,
                ..Call::get(&path)
            };
            let answer = self.at(list.scope, list.asked, &call, 200)?;
            let (entries, enough) = take(parse(&call, &answer)?);
            if entries < PER_PAGE || enough == Enough::Yes {
                return Ok(());
            }
        }
        let reason = format!(
            "the list of {} has more than {} entries",
            list.scope,
            PAGES * PER_PAGE
        );
        Err(GithubError::Argument {
            operation: list.operation,
            reason,
        })
    }
}

/// Whether a list need be read any further.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Enough {
    Yes,
    No,
}

/// A list of GitHub's that comes in pages.
pub(super) struct List<'a> {
    pub(super) operation: &'static str,
    pub(super) scope: &'a Scope,
    pub(super) asked: Asked<'a>,
    pub(super) path: &'a str,
    /// As [`Call::conditional`].
    pub(super) conditional: bool,
}

/// Reads an answer's JSON. The error repeats none of it: it may be a secret.
///
/// # Errors
/// [`GithubError::Answer`].
pub(super) fn parse<'a, T: Deserialize<'a>>(
    call: &Call<'_>,
    answer: &'a Answer,
) -> Result<T, GithubError> {
    serde_json::from_slice(&answer.body).map_err(|error| GithubError::Answer {
        method: call.method.as_str(),
        path: call.path.to_owned(),
        reason: format!(
            "the answer is not the json that github documents (line {}, column {})",
            error.line(),
            error.column()
        ),
    })
}

/// A time of GitHub's (RFC 3339) in Unix milliseconds.
pub(super) fn time_ms(text: &str) -> Option<u64> {
    let time = text.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

/// RFC 3986 section 2.3: all but the unreserved characters.
pub(super) fn percent_encode(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
