//! Installations, tokens, and clocks that differ.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use serde_json::json;

use super::super::{ErrorKind, GithubError, Scope};
use super::server::{Reply, Seen, Server};
use super::{FakeClock, START_MS, client, rfc3339};
use crate::github::error::StatusError;
use crate::github::flight::{Flight, Freshness};

const HOUR_MS: u64 = 3_600_000;

/// A GitHub with one organization; tokens are numbered and last an hour by
/// `clock`.
fn github(clock: &FakeClock) -> Server {
    let now_ms = clock.clock();
    let tokens = AtomicU64::new(0);
    Server::start(move |seen| match seen.line.as_str() {
        "GET /orgs/octo/installation" => Reply::new(200, r#"{"id":5}"#),
        "POST /app/installations/5/access_tokens" => {
            let token = format!("token-{}", tokens.fetch_add(1, Ordering::Relaxed));
            let expires_at = rfc3339(now_ms() + HOUR_MS);
            Reply::new(
                201,
                json!({"token": token, "expires_at": expires_at}).to_string(),
            )
        }
        line if line.starts_with("GET /orgs/octo/actions/runners") => {
            Reply::new(200, r#"{"total_count":0,"runners":[]}"#)
        }
        "DELETE /orgs/octo/actions/runners/9" => Reply::new(204, ""),
        _ => Reply::new(404, r#"{"message":"Not Found"}"#),
    })
}

fn octo() -> Scope {
    Scope::org("octo").unwrap()
}

/// The bearer of the last request.
fn last_bearer(server: &Server) -> String {
    server
        .seen()
        .last()
        .and_then(|seen| seen.header("authorization").map(str::to_owned))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_callers_share_one_token_request() {
    let clock = FakeClock::new();
    let server = github(&clock);
    let client = client(&server, &clock);
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.delete_runner(octo(), 9).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().expect("runner is deleted");
    }
    assert_eq!(server.count("GET /orgs/octo/installation"), 1);
    assert_eq!(server.count("POST /app/installations/5/access_tokens"), 1);
    assert_eq!(server.count("DELETE /orgs/octo/actions/runners/9"), 32);
    client.shutdown().await;
}

/// The same without the pool, so that all 32 truly wait at once, and the
/// fetch cannot end before each has come.
#[test]
fn a_flight_is_fetched_once_and_shared() {
    fn check(outcome: Result<u32, GithubError>) {
        let flight = Flight::<u32>::default();
        let (fetches, come) = (AtomicU64::new(0), Barrier::new(32));
        thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    let fetch = || {
                        fetches.fetch_add(1, Ordering::Relaxed);
                        // The others stand before the flight's lock or wait
                        // in it; one yield each lets them get there.
                        (0..10_000).for_each(|_| thread::yield_now());
                        outcome.clone()
                    };
                    come.wait();
                    let got = flight.get("test", |_| Freshness::Fresh, fetch);
                    assert_eq!(got.is_ok(), outcome.is_ok());
                });
            }
        });
        if outcome.is_ok() {
            assert_eq!(fetches.into_inner(), 1);
        }
    }
    check(Ok(7));
    check(Err(GithubError::Stopped { operation: "test" }));
}

#[test]
fn a_panicking_fetch_leaves_nobody_waiting() {
    let flight = Flight::<u32>::default();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        flight.get("test", |_| Freshness::Fresh, || panic!("as a test"))
    }));
    assert!(caught.is_err());
    assert_eq!(
        flight.get("test", |_| Freshness::Fresh, || Ok(7)).unwrap(),
        7
    );
}

#[test]
fn an_aging_value_outlives_a_failed_renewal() {
    #[track_caller]
    fn check(freshness: Freshness, renewal: Result<u32, GithubError>, expect: Option<u32>) {
        let flight = Flight::<u32>::default();
        flight.get("test", |_| Freshness::Fresh, || Ok(1)).unwrap();
        assert_eq!(
            flight.get("test", |_| freshness, || renewal.clone()).ok(),
            expect
        );
    }
    let down = || Err(GithubError::Stopped { operation: "test" });
    let gone = || {
        Err(GithubError::Status(Box::new(StatusError {
            method: "GET",
            path: "/".into(),
            status: 404,
            message: String::new(),
            mend: String::new(),
            kind: ErrorKind::NotFound,
        })))
    };
    check(Freshness::Fresh, Ok(2), Some(1));
    check(Freshness::Aging, Ok(2), Some(2));
    check(Freshness::Aging, down(), Some(1));
    check(Freshness::Aging, gone(), None);
    check(Freshness::Stale, down(), None);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let clock = FakeClock::new();
    let server = github(&clock);
    let client = client(&server, &clock);
    let minute_ms = 60_000;
    for (at_ms, token) in [
        (0, "token-0"),
        (49 * minute_ms, "token-0"),
        // Less than ten minutes are left: well above the five that GitHub's
        // own clock may be off by.
        (51 * minute_ms, "token-1"),
        (52 * minute_ms, "token-1"),
        (5 * HOUR_MS, "token-2"),
    ] {
        clock.set_ms(START_MS + at_ms);
        client.find_runner(octo(), "r".into()).await.unwrap();
        assert_eq!(
            last_bearer(&server),
            format!("Bearer {token}"),
            "after {at_ms} ms"
        );
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_but_minting_is_not_repeated() {
    let clock = FakeClock::new();
    let (revoked, expires_at) = (Arc::new(AtomicBool::new(true)), rfc3339(START_MS + HOUR_MS));
    let flag = Arc::clone(&revoked);
    let server = Server::start(move |seen| match seen.line.as_str() {
        "GET /orgs/octo/installation" => Reply::new(200, r#"{"id":5}"#),
        line if line.starts_with("POST /app/") => Reply::new(
            201,
            json!({"token": "t", "expires_at": expires_at}).to_string(),
        ),
        _ if flag.swap(false, Ordering::Relaxed) => {
            Reply::new(401, r#"{"message":"Bad credentials"}"#)
        }
        _ => Reply::new(200, r#"{"runners":[]}"#),
    });
    let client = client(&server, &clock);
    client
        .find_runner(octo(), "r".into())
        .await
        .expect("repeated with a new token");
    assert_eq!(server.count("POST /app/installations/5/access_tokens"), 2);

    revoked.store(true, Ordering::Relaxed);
    let error = client
        .generate_jitconfig(octo(), super::runners::request())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(
        server.count("POST /orgs/octo/actions/runners/generate-jitconfig"),
        1
    );
}

#[tokio::test]
async fn an_app_installed_anew_is_found_again() {
    let clock = FakeClock::new();
    let installations = AtomicU64::new(5);
    let expires_at = rfc3339(START_MS + HOUR_MS);
    let server = Server::start(move |seen| match seen.line.as_str() {
        "GET /orgs/octo/installation" => {
            let id = installations.fetch_add(1, Ordering::Relaxed);
            Reply::new(200, json!({"id": id}).to_string())
        }
        "POST /app/installations/6/access_tokens" => Reply::new(
            201,
            json!({"token": "t", "expires_at": expires_at}).to_string(),
        ),
        "DELETE /orgs/octo/actions/runners/9" => Reply::new(204, ""),
        _ => Reply::new(404, "{}"),
    });
    client(&server, &clock)
        .delete_runner(octo(), 9)
        .await
        .expect("found again");
    assert_eq!(server.count("POST /app/installations/5/access_tokens"), 1);
}

#[tokio::test]
async fn not_installed_says_where_to_install() {
    let clock = FakeClock::new();
    let server = Server::start(|seen| match seen.line.as_str() {
        "GET /app" => Reply::new(200, r#"{"html_url":"https://github.com/apps/sleds"}"#),
        _ => Reply::new(404, r#"{"message":"Not Found"}"#),
    });
    let error = client(&server, &clock)
        .installation(octo())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "look up app installation on organization octo: app 77 is not installed there: \
         install it at https://github.com/apps/sleds/installations/new"
    );
}

/// A GitHub that takes a JWT only if its `iat` and `exp` fit `theirs_ms`.
fn strict_github(theirs_ms: u64) -> Server {
    let fits = move |seen: &Seen| {
        let jwt = seen
            .header("authorization")
            .unwrap()
            .trim_start_matches("Bearer ")
            .to_owned();
        let claims = jwt.split('.').nth(1).unwrap().to_owned();
        let claims: serde_json::Value =
            serde_json::from_slice(&super::jwt::decode(&claims)).unwrap();
        let (iat, exp) = (
            claims["iat"].as_u64().unwrap(),
            claims["exp"].as_u64().unwrap(),
        );
        let now_s = theirs_ms / 1000;
        iat <= now_s && exp > now_s && exp <= now_s + 600
    };
    let date = jiff::Timestamp::from_millisecond(theirs_ms.cast_signed()).unwrap();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&date)
        .unwrap();
    Server::start(move |seen| {
        let reply = match fits(seen) {
            true => Reply::new(200, r#"{"id":5}"#),
            false => Reply::new(
                401,
                r#"{"message":"'Issued at' claim ('iat') must be in the past"}"#,
            ),
        };
        reply.header("Date", &date)
    })
}

#[tokio::test]
async fn a_clock_that_differs_from_githubs() {
    async fn check(ours_ahead_ms: i64, expect: Result<usize, ErrorKind>) {
        let clock = FakeClock::new();
        let server = strict_github(START_MS.saturating_add_signed(-ours_ahead_ms));
        let client = client(&server, &clock);
        let got = client
            .installation(octo())
            .await
            .map(|_| server.seen().len());
        assert_eq!(
            got.map_err(|error| error.kind()),
            expect,
            "{ours_ahead_ms} ms ahead"
        );
    }
    let minute_ms = 60_000;
    check(0, Ok(1)).await;
    check(minute_ms / 2, Ok(1)).await;
    check(-minute_ms / 2, Ok(1)).await;
    check(10 * minute_ms, Ok(2)).await;
    check(-20 * minute_ms, Ok(2)).await;
    check(23 * 60 * minute_ms, Ok(2)).await;
    check(25 * 60 * minute_ms, Err(ErrorKind::Unauthorized)).await;
}

#[tokio::test]
async fn a_wrong_key_is_not_blamed_on_the_clock() {
    let clock = FakeClock::new();
    let server = Server::start(|_| {
        let words = r#"{"message":"A JSON web token could not be decoded"}"#;
        Reply::new(401, words).header("Date", "Thu, 01 Jan 2026 00:00:10 GMT")
    });
    let error = client(&server, &clock)
        .installation(octo())
        .await
        .unwrap_err();
    assert_eq!(server.seen().len(), 1, "asking again would not help");
    assert_eq!(
        error.to_string(),
        "GET /orgs/octo/installation: github answered 401 (A JSON web token could not be decoded): \
         the private key does not belong to app 77, or this machine's clock is wrong"
    );
}
