//! GitHub's endpoints for an App's own webhook: its delivery log, one
//! delivery, asking for it again, and where the webhook points.
//!
//! All are asked as the App itself, by its JWT. The log holds every attempt
//! of the last three days (on a server: seven), newest first; attempts of one
//! delivery share its GUID.
//!
//! Source: GitHub REST API, "Apps: webhooks", version 2022-11-28.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::GithubClient;
use super::answer::Answer;
use super::api::{Api, parse, time_ms};
use super::error::{ErrorKind, GithubError};
use super::http::Call;

/// Entries asked for at once: the most that GitHub gives.
const PER_PAGE: usize = 100;
/// Most bytes of a cursor. GitHub's have some thirty.
const CURSOR_BYTES: usize = 512;

/// One attempt at a delivery, as the log lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The attempt's number.
    pub id: u64,
    /// The delivery's GUID, the same for each attempt.
    pub guid: String,
    /// When the attempt was made, in Unix milliseconds by GitHub's clock.
    pub delivered_at_ms: u64,
    /// Whether somebody asked for it again.
    pub redelivery: bool,
    /// The receiver's HTTP status; 0 when nobody answered.
    pub status_code: u16,
    /// GitHub's word for how it went.
    pub status: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// The payload's action.
    pub action: Option<String>,
}

impl LogEntry {
    /// Whether the receiver took it.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        (200..300).contains(&self.status_code)
    }
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// Newest first.
    pub entries: Vec<LogEntry>,
    /// Where the older ones are; `None` at the log's end.
    pub next: Option<Cursor>,
}

/// A place in the log, opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// As GitHub writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Cursor {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A delivery with what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedDelivery {
    /// Its entry in the log.
    pub entry: LogEntry,
    /// The payload: JSON that says the same as the bytes that were signed,
    /// which GitHub does not keep. `None` when GitHub has none.
    pub payload: Option<String>,
}

/// Where an App's webhook points.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HookConfig {
    /// The address that deliveries go to; empty when none is set.
    #[serde(default)]
    pub url: String,
    /// `json`, or `form`, which Musher does not read.
    #[serde(default)]
    pub content_type: String,
}

impl GithubClient {
    /// A page of the App's delivery log: the newest hundred entries, or those
    /// at a cursor.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn deliveries(&self, at: Option<Cursor>) -> Result<LogPage, GithubError> {
        self.run("list deliveries", move |api| list(api, at.as_ref()))
            .await
    }

    /// One attempt in the delivery log, with its payload; `None` when the log
    /// does not hold it (any more).
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn find_delivery(&self, id: u64) -> Result<Option<LoggedDelivery>, GithubError> {
        self.run("look up delivery", move |api| find(api, id)).await
    }

    /// Asks GitHub to send a delivery once more, under its old GUID.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn redeliver(&self, id: u64) -> Result<(), GithubError> {
        self.run("redeliver", move |api| redeliver(api, id)).await
    }

    /// Where the App's webhook points.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn hook_config(&self) -> Result<HookConfig, GithubError> {
        self.run("read webhook settings", hook_config).await
    }
}

#[derive(Deserialize)]
struct WireEntry {
    id: u64,
    guid: String,
    delivered_at: String,
    #[serde(default)]
    redelivery: bool,
    status_code: u16,
    status: String,
    event: String,
    action: Option<String>,
}

#[derive(Deserialize)]
struct WireDelivery<'a> {
    #[serde(borrow)]
    request: Option<WireRequest<'a>>,
}

#[derive(Deserialize)]
struct WireRequest<'a> {
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl WireEntry {
    fn read(self, call: &Call<'_>) -> Result<LogEntry, GithubError> {
        let delivered_at_ms = time_ms(&self.delivered_at)
            .ok_or_else(|| malformed(call, "delivered_at is not a time"))?;
        Ok(LogEntry {
            id: self.id,
            guid: self.guid,
            delivered_at_ms,
            redelivery: self.redelivery,
            status_code: self.status_code,
            status: self.status,
            event: self.event,
            action: self.action,
        })
    }
}

/// A page of the log: the newest entries, or those at a cursor.
fn list(api: Api<'_>, at: Option<&Cursor>) -> Result<LogPage, GithubError> {
    // Without GitHub's own filter: `status=failure` means 400 to 599 and
    // leaves out what reached nobody.
    let mut path = format!("/app/hook/deliveries?per_page={PER_PAGE}");
    if let Some(Cursor(cursor)) = at {
        path = format!("{path}&cursor={cursor}");
    }
    // Pull mode asks every few seconds; what did not change is not counted.
    let call = Call::get_if_changed(&path);
    let answer = api.as_app(&call, 200)?;
    let wire: Vec<WireEntry> = parse(&call, &answer)?;
    let entries = wire.into_iter().map(|entry| entry.read(&call));
    Ok(LogPage {
        entries: entries.collect::<Result<_, _>>()?,
        next: next(&answer),
    })
}

/// One delivery; `None` when the log does not hold it (any more).
fn find(api: Api<'_>, id: u64) -> Result<Option<LoggedDelivery>, GithubError> {
    let path = format!("/app/hook/deliveries/{id}");
    let call = Call::get(&path);
    let answer = match api.as_app(&call, 200) {
        Err(GithubError::Status(error)) if error.kind == ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    let entry: WireEntry = parse(&call, &answer)?;
    let wire: WireDelivery<'_> = parse(&call, &answer)?;
    Ok(Some(LoggedDelivery {
        entry: entry.read(&call)?,
        payload: wire
            .request
            .and_then(|request| request.payload)
            .map(|payload| payload.get().to_owned()),
    }))
}

/// Asks GitHub to deliver once more, under the same GUID. Sent once.
fn redeliver(api: Api<'_>, id: u64) -> Result<(), GithubError> {
    let path = format!("/app/hook/deliveries/{id}/attempts");
    let call = Call::once(&path, None);
    api.as_app(&call, 202).map(drop)
}

/// Where the App's webhook points.
fn hook_config(api: Api<'_>) -> Result<HookConfig, GithubError> {
    let call = Call::get("/app/hook/config");
    let answer = api.as_app(&call, 200)?;
    parse(&call, &answer)
}

fn malformed(call: &Call<'_>, reason: &str) -> GithubError {
    GithubError::Answer {
        method: call.method.as_str(),
        path: call.path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn next(answer: &Answer) -> Option<Cursor> {
    cursor(answer.head.link.as_deref()?)
}

/// The cursor of a `Link` header's `rel="next"`. What could change the query
/// that it is put into is none.
fn cursor(link: &str) -> Option<Cursor> {
    let target = link.split(',').find_map(|part| {
        let (target, parameters) = part.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = |it: &str| matches!(it.trim(), "rel=\"next\"" | "rel=next");
        parameters.split(';').any(is_next).then_some(target)
    })?;
    let (_, query) = target.split_once('?')?;
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("cursor="))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let fits = !value.is_empty() && value.len() <= CURSOR_BYTES && value.bytes().all(plain);
    fits.then(|| Cursor(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors() {
        #[track_caller]
        fn check(link: &str, expect: Option<&str>) {
            assert_eq!(cursor(link).map(|it| it.0).as_deref(), expect, "{link}");
        }
        let at = |query: &str| format!("<https://api.github.com/app/hook/deliveries?{query}>");
        let next = at("per_page=100&cursor=v1_12077215967");
        check(&format!("{next}; rel=\"next\""), Some("v1_12077215967"));
        check(
            &format!("{}; rel=\"prev\", {next}; rel=\"next\"", at("cursor=v1_1")),
            Some("v1_12077215967"),
        );
        check(&format!("{next}; rel=\"prev\""), None);
        check(&format!("{}; rel=\"next\"", at("per_page=1")), None);
        check(&format!("{}; rel=\"next\"", at("cursor=")), None);
        check(&format!("{}; rel=\"next\"", at("cursor=a b")), None);
        let long = format!("cursor={}", "x".repeat(CURSOR_BYTES + 1));
        check(&format!("{}; rel=\"next\"", at(&long)), None);
        check("", None);
        check("<>; rel=\"next\"", None);
        check("cursor=v1_1", None);
    }
}
