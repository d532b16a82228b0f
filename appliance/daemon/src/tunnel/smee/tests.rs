//! What the channel says, without a channel.

use control::Limits;
use messages::{ApplianceId, HubId};
use serde_json::json;

use super::*;
use crate::{delivery_log::LogShared, engine::EngineConfig, store::Store};

/// A client whose engine answers nothing, so that whoever asks it hangs.
fn smee(folder: &tempfile::TempDir) -> Smee {
    let clock = Clock::start();
    let config = EngineConfig {
        appliance: ApplianceId([7; 4]),
        limits: Limits::default(),
        clock,
        store: Store::open(&folder.path().join("musher.redb")).unwrap(),
    };
    let (engine, waiting) = config.load().unwrap();
    drop(waiting);
    Smee {
        url: ChannelUrl {
            https: false,
            host: "127.0.0.1".into(),
            port: 9,
            path: "/channel".into(),
        },
        hubs: vec![Hub {
            id: HubId(1),
            secret: b"secret".to_vec().into(),
            log: Arc::new(LogShared::default()),
        }],
        engine,
        clock,
        shared: Arc::new(TunnelShared::default()),
    }
}

async fn hints(smee: &Smee, data: &str) -> bool {
    smee.take(data.as_bytes()).await;
    // A hint that was given is there at once.
    timeout(Duration::ZERO, smee.hubs[0].log.news())
        .await
        .is_ok()
}

#[tokio::test]
async fn what_is_not_signed_is_at_most_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let smee = smee(&folder);
    let delivery = |event: &str, id: &str| {
        json!({
            "x-github-delivery": id, "x-github-event": event,
            "x-hub-signature-256": format!("sha256={}", "0".repeat(64)),
            "body": {"action": "queued"}, "query": {}, "timestamp": 1,
        })
        .to_string()
    };
    assert!(hints(&smee, &delivery("workflow_job", "one")).await);
    assert!(!hints(&smee, &delivery("push", "two")).await);
    assert!(!hints(&smee, &delivery("workflow_job", "")).await);
    assert!(!hints(&smee, "no json").await);
    assert!(!hints(&smee, "{}").await);
    assert!(!hints(&smee, r#"{"x-github-delivery": 7, "body": null}"#).await);
    // What the log has told already is no news.
    smee.hubs[0]
        .log
        .seen
        .insert(intake::delivery_key("one").unwrap());
    assert!(!hints(&smee, &delivery("workflow_job", "one")).await);
}
