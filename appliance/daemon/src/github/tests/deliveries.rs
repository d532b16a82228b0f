//! The App's delivery log: pages, payloads, and what is no delivery.

use serde_json::json;

use super::super::{ErrorKind, LogEntry};
use super::server::{Reply, Server};
use super::{FakeClock, client};

fn entry(id: u64, status_code: u16) -> serde_json::Value {
    json!({
        "id": id, "guid": format!("guid-{id}"), "delivered_at": "2026-01-01T00:00:00.250Z",
        "redelivery": false, "duration": 0.27, "status": "OK", "status_code": status_code,
        "event": "workflow_job", "action": "queued", "installation_id": 5,
        "repository_id": null, "throttled_at": null,
    })
}

/// A log of three attempts, two to a page.
fn github() -> Server {
    Server::start(|seen| {
        let page = |entries: &[serde_json::Value]| Reply::new(200, json!(entries).to_string());
        let link = "<https://ghes.example.org/api/v3/app/hook/deliveries?per_page=100&cursor=v1_8>; rel=\"next\"";
        match seen.line.as_str() {
            "GET /app/hook/deliveries?per_page=100" => {
                page(&[entry(9, 0), entry(8, 502)]).header("Link", link)
            }
            "GET /app/hook/deliveries?per_page=100&cursor=v1_8" => page(&[entry(7, 200)]),
            "GET /app/hook/deliveries/9" => {
                let mut whole = entry(9, 0);
                whole["request"] = json!({
                    "headers": {"X-GitHub-Delivery": "guid-9"}, "payload": {"action": "queued"},
                });
                whole["response"] = json!({"headers": {}, "payload": null});
                Reply::new(200, whole.to_string())
            }
            "GET /app/hook/deliveries/8" => Reply::new(200, entry(8, 502).to_string()),
            "GET /app/hook/deliveries/6" => {
                let mut odd = entry(6, 200);
                odd["delivered_at"] = json!("yesterday");
                Reply::new(200, odd.to_string())
            }
            "POST /app/hook/deliveries/9/attempts" => Reply::new(202, "{}"),
            "GET /app/hook/config" => Reply::new(
                200,
                r#"{"content_type":"json","insecure_ssl":"0","secret":"********","url":"https://ci.example.org/api/webhook"}"#,
            ),
            _ => Reply::new(404, r#"{"message":"Not Found"}"#),
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_the_link_to_the_logs_end() {
    let (clock, server) = (FakeClock::new(), github());
    let client = client(&server, &clock);
    let first = client.deliveries(None).await.unwrap();
    let ids = |entries: &[LogEntry]| entries.iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(ids(&first.entries), [9, 8]);
    let newest = &first.entries[0];
    assert_eq!(newest.guid, "guid-9");
    assert_eq!(newest.delivered_at_ms, 1_767_225_600_250);
    assert_eq!(newest.event, "workflow_job");
    assert!(!newest.is_answered());
    let second = client.deliveries(first.next).await.unwrap();
    assert_eq!(ids(&second.entries), [7]);
    assert!(second.entries[0].is_answered());
    assert_eq!(second.next, None);
    let bearer = server.seen()[0].header("authorization").map(str::to_owned);
    assert!(
        bearer.is_some_and(|it| it.starts_with("Bearer ey")),
        "a JWT"
    );
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_comes_with_its_payload() {
    let (clock, server) = (FakeClock::new(), github());
    let client = client(&server, &clock);
    let found = client.find_delivery(9).await.unwrap().unwrap();
    assert_eq!(found.entry.guid, "guid-9");
    assert_eq!(found.payload.as_deref(), Some(r#"{"action":"queued"}"#));
    let bare = client.find_delivery(8).await.unwrap().unwrap();
    assert_eq!(bare.payload, None);
    assert_eq!(client.find_delivery(1).await.unwrap(), None);
    let odd = client.find_delivery(6).await.unwrap_err();
    assert!(odd.to_string().contains("delivered_at"), "{odd}");
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_asked_for_again_once() {
    let (clock, server) = (FakeClock::new(), github());
    let client = client(&server, &clock);
    client.redeliver(9).await.unwrap();
    assert_eq!(server.count("POST /app/hook/deliveries/9/attempts"), 1);
    let error = client.redeliver(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let hook = client.hook_config().await.unwrap();
    assert_eq!(hook.url, "https://ci.example.org/api/webhook");
    assert_eq!(hook.content_type, "json");
    client.shutdown().await;
}
