//! The ways in: whatever happens to a delivery, its job is known once.

use std::time::Duration;

use musher_demo::wait_for;
use musher_e2e::{Hub, Standalone};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

fn wait_for_job(musher: &Standalone, job: u64) {
    let known = || Ok(musher.jobs()?.contains(&job).then_some(()));
    if let Err(error) = wait_for(&format!("job {job}"), LIMIT, known) {
        panic!("{error:#}\n{}", musher.log().unwrap());
    }
}

/// What Musher's log says of each delivery, in order.
fn taken(musher: &Standalone) -> Vec<(String, String, String)> {
    let log = musher.log().unwrap();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["message"] == "delivery")
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (text("delivery"), text("source"), text("result"))
        })
        .collect()
}

/// The deliveries that queued a job, each with the way that it came.
fn queued(musher: &Standalone) -> Vec<(String, String)> {
    let queued = taken(musher)
        .into_iter()
        .filter(|(_, _, result)| result == "queued");
    queued.map(|(id, source, _)| (id, source)).collect()
}

/// The GUID of the delivery that told of a job first.
fn guid(hub: &Hub, job: u64) -> String {
    let log = hub.deliveries().unwrap();
    let of_job = |entry: &&Value| entry["request"]["payload"]["workflow_job"]["id"] == job;
    let first = log
        .iter()
        .rev()
        .find(of_job)
        .expect("the delivery is in the log");
    first["guid"].as_str().expect("a guid").to_owned()
}

#[test]
fn what_was_lost_comes_from_the_log() {
    let mut musher = Standalone::new().unwrap();
    let hub = Hub::start(&musher, &format!("http://{}/api/webhook", musher.webhook())).unwrap();
    musher
        .configure(hub.api(), "[tunnel]\nkind = \"direct\"\npoll_s = 1")
        .unwrap();
    // Before the appliance ran for the first time.
    let early = hub.queue_job("early").unwrap();
    wait_for("a failed delivery", LIMIT, || {
        Ok((!hub.deliveries()?.is_empty()).then_some(()))
    })
    .unwrap();
    musher.start().unwrap();
    wait_for_job(&musher, early);

    let sent = hub.queue_job("sent").unwrap();
    wait_for_job(&musher, sent);
    hub.deliveries_are("duplicate").unwrap();
    let twice = hub.queue_job("twice").unwrap();
    wait_for_job(&musher, twice);
    hub.deliveries_are("unreachable").unwrap();
    let lost = hub.queue_job("lost").unwrap();
    wait_for_job(&musher, lost);

    // While the appliance is down nobody answers.
    musher.kill().unwrap();
    hub.deliveries_are("deliver").unwrap();
    let down = hub.queue_job("down").unwrap();
    wait_for("a failed delivery", LIMIT, || {
        let log = hub.deliveries()?;
        Ok(log
            .iter()
            .any(|it| it["request"]["payload"]["workflow_job"]["id"] == down)
            .then_some(()))
    })
    .unwrap();
    musher.start().unwrap();
    wait_for_job(&musher, down);

    let expect: Vec<(String, String)> = [
        (early, "DeliveryLog"),
        (sent, "Tunnel"),
        (twice, "Tunnel"),
        (lost, "DeliveryLog"),
        (down, "DeliveryLog"),
    ]
    .into_iter()
    .map(|(job, source)| (guid(&hub, job), source.to_owned()))
    .collect();
    assert_eq!(queued(&musher), expect, "each once, and by its way");
    // What was answered when it was sent is not fetched: not by the reader
    // that saw it, and not by the one after the restart.
    let answered = [guid(&hub, sent), guid(&hub, twice)];
    let fetched = |(id, source, _): &&(String, String, String)| {
        source == "DeliveryLog" && answered.contains(id)
    };
    assert_eq!(taken(&musher).iter().find(fetched), None);
}

#[test]
fn pulling_needs_nobody_to_listen() {
    let mut musher = Standalone::new().unwrap();
    // Where nobody listens.
    let hub = Hub::start(&musher, "http://127.0.0.1:9/api/webhook").unwrap();
    musher
        .configure(hub.api(), "[tunnel]\nkind = \"pull\"\npoll_s = 1")
        .unwrap();
    musher.start().unwrap();
    let one = hub.queue_job("one").unwrap();
    wait_for_job(&musher, one);
    let other = hub.queue_job("other").unwrap();
    wait_for_job(&musher, other);
    hub.cancel_job(one).unwrap();
    let cancelled = || {
        let done = musher.run(&["jobs", "--json", "--config", "musher.toml"])?;
        let jobs: Vec<Value> = serde_json::from_slice(&done.stdout)?;
        let ended = |job: &Value| job["id"] == one && job["state"] == "cancelled";
        Ok(jobs.iter().any(ended).then_some(()))
    };
    wait_for("the cancellation", LIMIT, cancelled).unwrap();
    let told = taken(&musher);
    assert!(
        told.iter().all(|(_, source, _)| source == "DeliveryLog"),
        "{told:?}"
    );
    assert_eq!(told.len(), 3, "each delivery is fetched once: {told:?}");
    let status = musher.run(&["status", "--config", "musher.toml"]).unwrap();
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("deliveries: pull"), "{said}");
    assert!(said.contains("delivery log of main: 3 taken"), "{said}");
}
