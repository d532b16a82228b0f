//! Who asks: the App by a JWT, one of its installations by a token, or a
//! person's classic token for an enterprise, where GitHub takes no App's.
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
use super::answer::Answer;
use super::api::{parse, time_ms};
use super::archive::Archives;
use super::budget::{Budget, Urgency};
use super::cache::Cache;
use super::error::GithubError;
use super::flight::{Flight, Freshness};
use super::http::{Call, Http, Method};
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

/// Whom GitHub counts a request against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// The App itself.
    App,
    /// One of its installations, by id.
    Installation(u64),
    /// Whoever made the classic token.
    Token,
    /// Anybody.
    Nobody,
}

/// The App's identity and what it was given.
pub(super) struct Auth {
    /// The configured name of the App, for log lines.
    name: String,
    key: AppKey,
    /// A classic token, for enterprises.
    token: Option<Secret>,
    http: Http,
    clock: Clock,
    budgets: Mutex<HashMap<Identity, Budget>>,
    cache: Cache,
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
    pub(super) fn new(
        name: String,
        key: AppKey,
        token: Option<Secret>,
        http: Http,
        clock: Clock,
    ) -> Self {
        Self {
            name,
            key,
            token,
            http,
            clock,
            budgets: Mutex::default(),
            cache: Cache::default(),
            offset_ms: AtomicI64::new(0),
            installations: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// What fetches release archives, as nobody.
    pub(super) fn archives(&self) -> &Archives {
        self.http.archives()
    }

    /// GitHub's time as far as known, in Unix milliseconds.
    fn now_ms(&self) -> u64 {
        (self.clock)().saturating_add_signed(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Sends a call if the identity's budget allows it, and learns from the
    /// answer.
    fn send(
        &self,
        identity: Identity,
        bearer: Option<&Secret>,
        call: &Call<'_>,
        urgency: Urgency,
    ) -> Result<Answer, GithubError> {
        let now_ms = self.now_ms();
        let hold = lock(&self.budgets)
            .get(&identity)
            .and_then(|budget| budget.hold(urgency, now_ms));
        if let Some(hold) = hold {
            return Err(GithubError::Held {
                method: call.method.as_str(),
                path: call.path.to_owned(),
                hold,
            });
        }
        let etag = match call.conditional {
            true => self.cache.etag(identity, call.path),
            false => None,
        };
        let mut answer = self.http.send(call, bearer, etag.as_deref())?;
        self.learn(identity, &answer);
        if call.conditional {
            self.cache.settle(identity, call.path, &mut answer);
            if answer.status == 304 {
                answer = self.http.send(call, bearer, None)?;
                self.learn(identity, &answer);
            }
        }
        Ok(answer)
    }

    fn learn(&self, identity: Identity, answer: &Answer) {
        let mut budgets = lock(&self.budgets);
        if budgets.len() >= REMEMBERED && !budgets.contains_key(&identity) {
            budgets.clear();
        }
        let budget = budgets.entry(identity).or_default();
        budget.learn(answer, self.now_ms());
    }

    /// A call as the App. A refusal that a wrong clock explains is tried once
    /// more by GitHub's clock: a refused call did nothing.
    pub(super) fn as_app(
        &self,
        urgency: Urgency,
        call: &Call<'_>,
        expect: u16,
    ) -> Result<Answer, GithubError> {
        let send = || self.send(Identity::App, Some(&self.jwt()?), call, urgency);
        let mut answer = send()?;
        if answer.status == 401 && self.adjust_clock(&answer) {
            answer = send()?;
        }
        if answer.status == expect {
            return Ok(answer);
        }
        let app_id = self.key.app_id();
        Err(self.refused(Asked::App { app_id }, call, &answer))
    }

    /// A call that needs no identity.
    pub(super) fn as_nobody(&self, call: &Call<'_>, expect: u16) -> Result<Answer, GithubError> {
        let answer = self.send(Identity::Nobody, None, call, Urgency::Urgent)?;
        if answer.status == expect {
            return Ok(answer);
        }
        Err(self.refused(Asked::Anybody, call, &answer))
    }

    /// By the date of an answer, whatever its status.
    pub(super) fn clock_offset_ms(&self) -> Result<Option<i64>, GithubError> {
        let call = Call::get("/meta");
        let answer = self.send(Identity::Nobody, None, &call, Urgency::Urgent)?;
        Ok(self.offset_by(&answer))
    }

    fn refused(&self, asked: Asked<'_>, call: &Call<'_>, answer: &Answer) -> GithubError {
        refuse(asked, call, answer, self.now_ms())
    }

    /// GitHub's clock minus ours in milliseconds, by the date of an answer.
    fn offset_by(&self, answer: &Answer) -> Option<i64> {
        Some(
            answer
                .head
                .date_ms?
                .wrapping_sub((self.clock)())
                .cast_signed(),
        )
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
        let Some(offset_ms) = self.offset_by(answer) else {
            return false;
        };
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

    /// A call as whoever may act at `scope`: the installation that owns it,
    /// or the classic token at an enterprise. A refused token is dropped; an
    /// idempotent call is then tried once more with a new one.
    pub(super) fn at(
        &self,
        scope: &Scope,
        urgency: Urgency,
        asked: Asked<'_>,
        call: &Call<'_>,
        expect: u16,
    ) -> Result<Answer, GithubError> {
        if scope.is_enterprise() {
            let token = self.classic_token(scope)?;
            let answer = self.send(Identity::Token, Some(token), call, urgency)?;
            if answer.status == expect {
                return Ok(answer);
            }
            return Err(self.refused(asked, call, &answer));
        }
        let mut grant = self.grant(scope)?;
        let send = |grant: &Grant| {
            let identity = Identity::Installation(grant.installation);
            self.send(identity, Some(&grant.secret), call, urgency)
        };
        let mut answer = send(&grant)?;
        if answer.status == 401 {
            self.forget_token(&grant);
            if call.idempotent {
                grant = self.grant(scope)?;
                answer = send(&grant)?;
            }
        }
        if answer.status == expect {
            return Ok(answer);
        }
        if answer.status == 404 {
            // Perhaps the App was installed anew: the next call finds out.
            self.forget_installation(scope, grant.installation);
        }
        Err(self.refused(asked, call, &answer))
    }

    fn classic_token(&self, scope: &Scope) -> Result<&Secret, GithubError> {
        self.token.as_ref().ok_or_else(|| GithubError::Config {
            app: self.name.clone(),
            key: "token_path",
            reason: format!(
                "is missing, and {scope} takes no app's token: name a file with a classic token \
                 that has manage_runners:enterprise"
            ),
        })
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
        if scope.is_enterprise() {
            return Err(GithubError::Argument {
                operation: "look up app installation",
                reason: format!("{scope}: apps are installed on organizations and repositories"),
            });
        }
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
                let answer = match self.as_app(Urgency::Urgent, &call, 200) {
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
            .as_app(Urgency::Urgent, &call, 200)
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
        let call = Call::change(Method::Post, &path, None);
        let answer = self.as_app(Urgency::Urgent, &call, 201)?;
        let wire: Wire = parse(&call, &answer)?;
        let secret = Arc::new(Secret::new(wire.token));
        let expires_at_ms = time_ms(&wire.expires_at).ok_or_else(|| GithubError::Answer {
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

    /// All installations, and their tokens, are asked for anew.
    pub(super) fn forget_installations(&self) {
        lock(&self.installations).clear();
        lock(&self.tokens).clear();
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
