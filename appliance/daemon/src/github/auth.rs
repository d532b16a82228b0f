//! Who asks: the App by a JWT, or one of its installations by a token.
//!
//! Tokens live in memory only. A token is renewed well before it expires, by
//! one request whoever asks; a clock that differs from GitHub's is measured
//! and allowed for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Deserialize;

use super::Clock;
use super::error::GithubError;
use super::flight::{Flight, Freshness};
use super::http::{Answer, Call, Http, Method};
use super::jwt::AppKey;
use super::pool::lock;
use super::scope::Scope;
use super::secret::Secret;
use super::status::{Asked, refuse};

/// A token with less than this left is renewed on the next call.
const RENEW_MS: u64 = 10 * 60_000;
/// A token with less than this left is not used at all.
const LEAST_LEFT_MS: u64 = 5 * 60_000;
/// A smaller difference between the clocks is no reason for a refused JWT:
/// it is backdated by 60 s.
const LEAST_OFFSET_MS: i64 = 30_000;
/// A larger one is not worked around: other things break as well.
const LARGEST_OFFSET_MS: i64 = 24 * 3_600_000;
/// Most scopes and installations remembered.
const REMEMBERED: usize = 1024;

/// The App's identity and what it was given.
pub(super) struct Auth {
    /// The configured name of the App, for log lines.
    name: String,
    key: AppKey,
    pub(super) http: Http,
    clock: Clock,
    /// GitHub's clock minus ours, in milliseconds.
    offset_ms: AtomicI64,
    installations: Mutex<HashMap<Scope, Arc<Flight<u64>>>>,
    tokens: Mutex<HashMap<u64, Arc<Flight<Token>>>>,
}

#[derive(Clone)]
struct Token {
    secret: Arc<Secret>,
    expires_at_ms: u64,
}

/// A token and the installation it stands for.
struct Grant {
    installation: u64,
    secret: Arc<Secret>,
}

impl Auth {
    pub(super) fn new(name: String, key: AppKey, http: Http, clock: Clock) -> Self {
        Self {
            name,
            key,
            http,
            clock,
            offset_ms: AtomicI64::new(0),
            installations: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// GitHub's time as far as known, in Unix milliseconds.
    fn now_ms(&self) -> u64 {
        (self.clock)().saturating_add_signed(self.offset_ms.load(Ordering::Relaxed))
    }

    /// A call as the App. A refusal that a wrong clock explains is tried once
    /// more by GitHub's clock: a refused call did nothing.
    pub(super) fn as_app(&self, call: &Call<'_>, expect: u16) -> Result<Answer, GithubError> {
        let mut answer = self.http.send(call, &self.jwt()?)?;
        if answer.status == 401 && self.adjust_clock(&answer) {
            answer = self.http.send(call, &self.jwt()?)?;
        }
        if answer.status == expect {
            return Ok(answer);
        }
        Err(refuse(
            Asked::App {
                app_id: self.key.app_id(),
            },
            call,
            &answer,
            self.now_ms(),
        ))
    }

    fn jwt(&self) -> Result<Secret, GithubError> {
        self.key
            .sign(self.now_ms())
            .map_err(|reason| GithubError::Config {
                app: self.name.clone(),
                key: "private_key_path",
                reason: format!("sign jwt: {reason}"),
            })
    }

    /// Learns GitHub's clock from the date of an answer. True if that changes
    /// the next JWT.
    fn adjust_clock(&self, answer: &Answer) -> bool {
        let Some(theirs_ms) = answer.date_ms else {
            return false;
        };
        let offset_ms = theirs_ms.wrapping_sub((self.clock)()).cast_signed();
        let change_ms = offset_ms.saturating_sub(self.offset_ms.load(Ordering::Relaxed));
        if change_ms.unsigned_abs() < LEAST_OFFSET_MS.unsigned_abs() {
            return false;
        }
        let offset_s = offset_ms / 1000;
        if offset_ms.unsigned_abs() > LARGEST_OFFSET_MS.unsigned_abs() {
            tracing::error!(
                github = %self.name, offset_s,
                "github refuses the app's jwt, and this machine's clock is more than a day off: set it",
            );
            return false;
        }
        tracing::warn!(
            github = %self.name, offset_s,
            "github refused the app's jwt, and this machine's clock differs: signing by github's clock",
        );
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
        true
    }

    /// A call as the installation that owns `scope`. A refused token is
    /// dropped; an idempotent call is then tried once more with a new one.
    pub(super) fn as_installation(
        &self,
        scope: &Scope,
        asked: Asked<'_>,
        call: &Call<'_>,
        expect: u16,
    ) -> Result<Answer, GithubError> {
        let mut grant = self.grant(scope)?;
        let mut answer = self.http.send(call, &grant.secret)?;
        if answer.status == 401 {
            self.forget_token(&grant);
            if call.idempotent {
                grant = self.grant(scope)?;
                answer = self.http.send(call, &grant.secret)?;
            }
        }
        if answer.status == expect {
            return Ok(answer);
        }
        if answer.status == 404 {
            // Perhaps the App was installed anew: the next call finds out.
            self.forget_installation(scope, grant.installation);
        }
        Err(refuse(asked, call, &answer, self.now_ms()))
    }

    fn grant(&self, scope: &Scope) -> Result<Grant, GithubError> {
        let installation = self.installation(scope)?;
        match self.token(installation) {
            // An App that was removed and installed again has another id.
            Err(error) if error.is_status(404) => {
                self.forget_installation(scope, installation);
                let installation = self.installation(scope)?;
                Ok(Grant {
                    installation,
                    secret: self.token(installation)?,
                })
            }
            result => Ok(Grant {
                installation,
                secret: result?,
            }),
        }
    }

    /// The id of the App's installation on `scope`, asked for once.
    pub(super) fn installation(&self, scope: &Scope) -> Result<u64, GithubError> {
        let flight = remembered(&self.installations, scope.clone());
        flight.get(
            "look up app installation",
            |_| Freshness::Fresh,
            || {
                #[derive(Deserialize)]
                struct Wire {
                    id: u64,
                }
                let path = format!("{}/installation", scope.path());
                let call = Call::get(&path);
                let answer = match self.as_app(&call, 200) {
                    Err(error) if error.is_status(404) => return Err(self.not_installed(scope)),
                    result => result?,
                };
                Ok(parse::<Wire>(&call, &answer)?.id)
            },
        )
    }

    fn not_installed(&self, scope: &Scope) -> GithubError {
        #[derive(Deserialize)]
        struct Wire {
            html_url: String,
        }
        let call = Call::get("/app");
        let page = self
            .as_app(&call, 200)
            .and_then(|answer| parse::<Wire>(&call, &answer));
        GithubError::NotInstalled {
            on: scope.to_string(),
            app_id: self.key.app_id(),
            mend: match page {
                Ok(app) => format!("install it at {}/installations/new", app.html_url),
                Err(_) => "install it from its settings at github, under Install App".to_owned(),
            },
        }
    }

    fn token(&self, installation: u64) -> Result<Arc<Secret>, GithubError> {
        let flight = remembered(&self.tokens, installation);
        let judge = |token: &Token| match token.expires_at_ms.saturating_sub(self.now_ms()) {
            RENEW_MS.. => Freshness::Fresh,
            LEAST_LEFT_MS.. => Freshness::Aging,
            _ => Freshness::Stale,
        };
        let token = flight.get("get installation token", judge, || {
            self.fetch_token(installation)
        })?;
        Ok(token.secret)
    }

    fn fetch_token(&self, installation: u64) -> Result<Token, GithubError> {
        #[derive(Deserialize)]
        struct Wire {
            token: String,
            expires_at: String,
        }
        let path = format!("/app/installations/{installation}/access_tokens");
        // A second token does no harm: both work until they expire.
        let call = Call {
            method: Method::Post,
            path: &path,
            body: None,
            idempotent: true,
        };
        let answer = self.as_app(&call, 201)?;
        let wire: Wire = parse(&call, &answer)?;
        let secret = Arc::new(Secret::new(wire.token));
        let expires_at_ms = wire
            .expires_at
            .parse::<jiff::Timestamp>()
            .ok()
            .and_then(|time| u64::try_from(time.as_millisecond()).ok())
            .ok_or_else(|| GithubError::Answer {
                method: call.method.as_str(),
                path: path.clone(),
                reason: "expires_at is not a time".to_owned(),
            })?;
        tracing::debug!(github = %self.name, installation, expires_at_ms, "installation token renewed");
        Ok(Token {
            secret,
            expires_at_ms,
        })
    }

    fn forget_token(&self, grant: &Grant) {
        remembered(&self.tokens, grant.installation)
            .forget(|token| Arc::ptr_eq(&token.secret, &grant.secret));
    }

    fn forget_installation(&self, scope: &Scope, installation: u64) {
        remembered(&self.installations, scope.clone()).forget(|id| *id == installation);
    }
}

/// The flight of `key`. A full map starts anew: it only saves requests.
fn remembered<K: Eq + Hash, T: Clone>(
    map: &Mutex<HashMap<K, Arc<Flight<T>>>>,
    key: K,
) -> Arc<Flight<T>> {
    let mut map = lock(map);
    if map.len() >= REMEMBERED && !map.contains_key(&key) {
        map.clear();
    }
    Arc::clone(map.entry(key).or_default())
}

/// Reads an answer's JSON. The error repeats none of it: it may be a secret.
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
