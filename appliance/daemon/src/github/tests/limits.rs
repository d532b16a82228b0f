//! What GitHub's limits make the client do, and what it need not ask twice.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::super::{ErrorKind, GithubClient, Scope};
use super::server::{Reply, Seen, Server};
use super::{FakeClock, START_MS, client, rfc3339};

const HOUR_MS: u64 = 3_600_000;

fn org() -> Scope {
    Scope::org("octo").unwrap()
}

/// A GitHub where the App is installed, and `answer` has the rest.
fn start(
    clock: &FakeClock,
    answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> (Server, GithubClient) {
    let server = Server::start(move |seen| match seen.line.as_str() {
        line if line.ends_with("/installation") => Reply::new(200, r#"{"id":5}"#),
        line if line.starts_with("POST /app/") => Reply::new(
            201,
            json!({"token": "ghs_x", "expires_at": rfc3339(START_MS + 2 * HOUR_MS)}).to_string(),
        ),
        _ => answer(seen),
    });
    let client = client(&server, clock);
    (server, client)
}

#[tokio::test]
async fn background_calls_leave_the_rest_of_the_hour_to_urgent_ones() {
    let clock = FakeClock::new();
    let left = AtomicU64::new(1_252);
    let (server, client) = start(&clock, move |_| {
        let left = left.fetch_sub(1, Ordering::Relaxed) - 1;
        Reply::new(200, r#"{"runners":[]}"#)
            .header("x-ratelimit-limit", "5000")
            .header("x-ratelimit-remaining", &left.to_string())
            .header(
                "x-ratelimit-reset",
                &((START_MS + HOUR_MS) / 1000).to_string(),
            )
    });
    let sweep = client.background();
    for _ in 0..3 {
        sweep.list_runners(org()).await.expect("enough is left");
    }
    let error = sweep.list_runners(org()).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::RateLimited {
            retry_after_ms: HOUR_MS
        }
    );
    assert_eq!(
        error.to_string(),
        "GET /orgs/octo/actions/runners?per_page=100&page=1: not sent: only 1249 requests of \
         this hour are left, they are kept for minting: ask again in 3600 s"
    );
    assert_eq!(server.count("GET /orgs/octo/actions/runners"), 3);
    client.list_runners(org()).await.expect("urgent");
    clock.set_ms(START_MS + HOUR_MS);
    sweep.list_runners(org()).await.expect("a new hour");
}

#[tokio::test]
async fn nothing_is_sent_while_github_asks_for_a_pause() {
    let clock = FakeClock::new();
    let (server, client) = start(&clock, |_| {
        let words = r#"{"message":"You have exceeded a secondary rate limit"}"#;
        Reply::new(403, words).header("Retry-After", "20")
    });
    let limited = |retry_after_ms| ErrorKind::RateLimited { retry_after_ms };
    let error = client.delete_runner(org(), 1).await.unwrap_err();
    assert_eq!(error.kind(), limited(20_000));
    clock.set_ms(START_MS + 5_000);
    let error = client.delete_runner(org(), 2).await.unwrap_err();
    assert_eq!(error.kind(), limited(15_000));
    assert_eq!(
        error.to_string(),
        "DELETE /orgs/octo/actions/runners/2: not sent: github asked for a pause, ask again in 15 s"
    );
    assert_eq!(server.count("DELETE"), 1);
    clock.set_ms(START_MS + 20_000);
    client.delete_runner(org(), 3).await.unwrap_err();
    assert_eq!(server.count("DELETE"), 2);
}

#[tokio::test]
async fn what_did_not_change_is_not_read_again() {
    let clock = FakeClock::new();
    let (server, client) = start(&clock, |seen| match seen.header("if-none-match") {
        Some("\"one\"") => Reply::new(304, "").header("ETag", "\"one\""),
        Some(other) => panic!("{other} was never sent"),
        None => Reply::new(
            200,
            r#"{"runner_groups":[{"id":7,"name":"sleds","allows_public_repositories":true},
                {"id":1,"name":"Default"}]}"#,
        )
        .header("ETag", "\"one\""),
    });
    for _ in 0..3 {
        let groups = client.runner_groups(org()).await.unwrap();
        let names: Vec<&str> = groups.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["sleds", "Default"]);
        // Where GitHub is silent, the careful reading counts.
        assert!(groups.iter().all(|it| it.allows_public_repositories));
    }
    let asked: Vec<bool> = server
        .seen()
        .iter()
        .filter(|seen| seen.line.contains("runner-groups"))
        .map(|seen| seen.header("if-none-match").is_some())
        .collect();
    assert_eq!(asked, [false, true, true]);
}

#[tokio::test]
async fn a_server_out_of_order_is_asked_again_if_that_does_no_harm() {
    let clock = FakeClock::new();
    let tries = AtomicU64::new(0);
    let (server, client) = start(&clock, move |seen| {
        if seen.line.starts_with("POST") {
            return Reply::new(502, "");
        }
        match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::new(503, ""),
            1 => Reply::hang_up(),
            _ => Reply::new(204, ""),
        }
    });
    client.delete_runner(org(), 9).await.expect("third try");
    assert_eq!(server.count("DELETE"), 3);
    let error = client
        .generate_jitconfig(org(), super::runners::request())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(server.count("POST /orgs"), 1);
}
