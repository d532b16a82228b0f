//! The ways in: whatever happens to a delivery, its job is known once.

use std::time::Duration;

use musher_demo::wait_for;
use musher_e2e::{Hub, Request, Standalone, exchange, free_port, sign, workflow_job};
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

/// The GUID of the delivery that told of a job first. It is in GitHub's log only
/// after it was answered, when the job may be known here already.
fn guid(hub: &Hub, job: u64) -> String {
    let of_job = |entry: &&Value| entry["request"]["payload"]["workflow_job"]["id"] == job;
    wait_for("the delivery in GitHub's log", LIMIT, || {
        let log = hub.deliveries()?;
        let first = log.iter().rev().find(of_job);
        Ok(first.and_then(|entry| entry["guid"].as_str().map(str::to_owned)))
    })
    .unwrap()
}

#[test]
fn what_was_lost_comes_from_the_log() {
    let mut musher = Standalone::new().unwrap();
    let webhook = format!("http://{}/api/webhook", musher.webhook());
    let hub = Hub::start(&musher, &webhook, free_port().unwrap()).unwrap();
    musher
        .configure(
            hub.api(),
            "[tunnel]\nkind = \"direct\"\npoll_s = 1\nsweep_s = 0",
        )
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
fn what_no_log_holds_is_swept() {
    let mut musher = Standalone::new().unwrap();
    let webhook = format!("http://{}/api/webhook", musher.webhook());
    let hub = Hub::start(&musher, &webhook, free_port().unwrap()).unwrap();
    let lines = "[tunnel]\nkind = \"direct\"\nsweep_s = 1";
    musher.configure(hub.api(), lines).unwrap();
    musher.start().unwrap();
    hub.deliveries_are("lost").unwrap();
    let lost = hub.queue_job("lost").unwrap();
    wait_for_job(&musher, lost);
    musher.kill().unwrap();
    let down = hub.queue_job("down").unwrap();
    let runs = hub.queue_job("runs").unwrap();
    hub.steal_job(runs).unwrap();
    musher.start().unwrap();
    wait_for_job(&musher, down);
    wait_for_job(&musher, runs);
    hub.steal_job(down).unwrap();
    wait_for("both to run elsewhere", LIMIT, || {
        let done = musher.run(&["jobs", "--json", "--config", "musher.toml"])?;
        let jobs: Vec<Value> = serde_json::from_slice(&done.stdout)?;
        let run = jobs.iter().filter(|job| job["state"] == "running");
        Ok((run.count() == 2).then_some(()))
    })
    .unwrap();
    assert!(hub.deliveries().unwrap().is_empty(), "no log holds them");
    let mut told = taken(&musher);
    told.sort();
    let by_sweep = |job: u64, state: &str, result: &str| {
        let id = format!("sweep.1.{job}.1.{state}");
        (id, "Sweep".to_owned(), result.to_owned())
    };
    let mut expect = [
        by_sweep(lost, "queued", "queued"),
        by_sweep(down, "queued", "queued"),
        by_sweep(down, "in_progress", "updated"),
        by_sweep(runs, "in_progress", "updated"),
    ];
    expect.sort();
    assert_eq!(told, expect, "each is told once");
    let status = musher.run(&["status", "--config", "musher.toml"]).unwrap();
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("sweep of main: 3 taken"), "{said}");

    // GitHub was asked by a signed token and by one of the installation: neither
    // is told, nor what signs deliveries.
    let log = musher.log().unwrap();
    let secret = String::from_utf8_lossy(Standalone::SECRET).into_owned();
    for word in ["ghs_", "eyJ", "Bearer", "PRIVATE KEY", &secret] {
        assert!(!log.contains(word), "{word} is in the log");
    }
}

#[test]
fn what_is_overtaken_does_not_go_back() {
    let mut musher = Standalone::new().unwrap();
    let webhook = format!("http://{}/api/webhook", musher.webhook());
    let hub = Hub::start(&musher, &webhook, free_port().unwrap()).unwrap();
    let lines = "[tunnel]\nkind = \"direct\"\nsweep_s = 0\npoll_s = 3600";
    musher.configure(hub.api(), lines).unwrap();
    musher.start().unwrap();
    hub.deliveries_wait("late", 500).unwrap();
    let late = hub.queue_job("late").unwrap();
    wait_for_job(&musher, late);

    let sorts = |name: &str, end: &dyn Fn(u64), state: &str| {
        hub.deliveries_wait("reordered", 1_500).unwrap();
        let job = hub.queue_job(name).unwrap();
        end(job);
        let before = taken(&musher).len();
        wait_for("both deliveries", LIMIT, || {
            Ok((taken(&musher).len() == before + 2).then_some(()))
        })
        .unwrap();
        let told: Vec<_> = taken(&musher).split_off(before);
        let results: Vec<&str> = told.iter().map(|(.., result)| result.as_str()).collect();
        assert_eq!(results, ["updated", "updated"], "{told:?}");
        // What was answered first is in the log first.
        let log = hub.deliveries().unwrap();
        let first = log.iter().find(|entry| entry["guid"] == told[0].0.as_str());
        assert_ne!(first.expect("it is in the log")["action"], "queued");
        let done = musher
            .run(&["jobs", "--json", "--config", "musher.toml"])
            .unwrap();
        let jobs: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap();
        let stands = jobs.iter().find(|it| it["id"] == job);
        assert_eq!(stands.map(|it| &it["state"]), Some(&Value::from(state)));
    };
    sorts("taken", &|job| hub.steal_job(job).unwrap(), "running");
    sorts("over", &|job| hub.cancel_job(job).unwrap(), "cancelled");
}

/// Nobody waits for the next sweep when the App was installed somewhere.
#[test]
fn a_changed_installation_is_looked_at_at_once() {
    let mut musher = Standalone::new().unwrap();
    let webhook = format!("http://{}/api/webhook", musher.webhook());
    let hub = Hub::start(&musher, &webhook, free_port().unwrap()).unwrap();
    let lines = "[tunnel]\nkind = \"direct\"\nsweep_s = 3600";
    musher.configure(hub.api(), lines).unwrap();
    musher.start().unwrap();
    hub.deliveries_are("lost").unwrap();
    let job = hub.queue_job("lost").unwrap();
    let told = r#"{"action":"created","installation":{"id":1001,"account":{"login":"octo-org"}}}"#;
    let post = |secret: &[u8], id: &str| {
        let request = Request::delivery(secret, id, "installation", told);
        exchange(musher.webhook(), &request).unwrap()
    };
    assert_eq!(post(b"another secret", "forged").status, 401);
    let answer = post(Standalone::SECRET, "told");
    assert_eq!(
        (answer.status, answer.result().as_deref()),
        (200, Some("ignored"))
    );
    wait_for_job(&musher, job);
    let by_sweep = (format!("sweep.1.{job}.1.queued"), "Sweep".to_owned());
    assert_eq!(queued(&musher), [by_sweep]);
}

#[test]
fn pulling_needs_nobody_to_listen() {
    let mut musher = Standalone::new().unwrap();
    // Where nobody listens.
    let hub = Hub::start(
        &musher,
        "http://127.0.0.1:9/api/webhook",
        free_port().unwrap(),
    )
    .unwrap();
    musher
        .configure(
            hub.api(),
            "[tunnel]\nkind = \"pull\"\npoll_s = 1\nsweep_s = 0",
        )
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

/// `[tunnel]` as `musher status` tells it.
fn tunnel(musher: &Standalone) -> anyhow::Result<Value> {
    let done = musher.run(&["status", "--json", "--config", "musher.toml"])?;
    let status: Value = serde_json::from_slice(&done.stdout)?;
    Ok(status["ways"]["tunnel"].clone())
}

fn wait_until_up(musher: &Standalone, restarts: u64) -> Value {
    let up = || {
        let tunnel = tunnel(musher)?;
        let fits = tunnel["state"] == "up" && tunnel["restarts"].as_u64() >= Some(restarts);
        Ok(fits.then_some(tunnel))
    };
    wait_for("the tunnel", LIMIT, up)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", musher.log().unwrap()))
}

#[test]
fn a_channel_is_believed_only_what_is_signed() {
    let mut musher = Standalone::new().unwrap();
    let channel = free_port().unwrap();
    let hub = Hub::start(&musher, &format!("http://{channel}/a-channel"), channel).unwrap();
    let lines =
        format!("[tunnel]\nkind = \"smee\"\nurl = \"http://{channel}/a-channel\"\npoll_s = 3600");
    musher.configure(hub.api(), &lines).unwrap();
    // The channel says 200 to it, and nobody listens.
    let missed = hub.queue_job("missed").unwrap();
    wait_for("an answered delivery", LIMIT, || {
        Ok(hub
            .deliveries()?
            .iter()
            .any(|it| it["status_code"] == 200)
            .then_some(()))
    })
    .unwrap();
    musher.start().unwrap();
    wait_for_job(&musher, missed);
    wait_until_up(&musher, 0);

    let signed = hub.queue_job("signed").unwrap();
    wait_for_job(&musher, signed);

    // Somebody else knows the channel's address.
    let post = |id: &str, signature: &str, body: &str| {
        let request = Request::delivery(b"another secret", id, "workflow_job", body)
            .with("X-Hub-Signature-256", signature)
            .to("POST /a-channel");
        let answer = exchange(channel, &request).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let forged = workflow_job("queued", 999_999, &["self-hosted", "linux", "x64"]);
    let id = |number: u32| format!("72d3162e-cc78-11e3-81ab-{number:012x}");
    post(&id(1), &sign(b"another secret", forged.as_bytes()), &forged);
    post(&id(2), "", &forged);
    post(&id(3), "sha256=00", "{}");
    // Under the GUID of a delivery that GitHub did send: only what GitHub says.
    hub.deliveries_are("unreachable").unwrap();
    let lost = hub.queue_job("lost").unwrap();
    post(&guid(&hub, lost), "sha256=00", &forged);
    wait_for_job(&musher, lost);
    // Events come in order, so what was forged has been looked at by now.
    hub.deliveries_are("deliver").unwrap();
    let last = hub.queue_job("last").unwrap();
    wait_for_job(&musher, last);

    let known: Vec<u64> = musher.jobs().unwrap().into_iter().collect();
    assert_eq!(known, [missed, signed, lost, last]);
    let ways = taken(&musher);
    let by = |job, source: &str| {
        let id = guid(&hub, job);
        ways.iter().any(|(it, by, _)| *it == id && by == source)
    };
    assert!(by(missed, "DeliveryLog"), "{ways:?}");
    assert!(by(signed, "Tunnel") && by(last, "Tunnel"), "{ways:?}");
    assert!(by(lost, "DeliveryLog") && !by(lost, "Tunnel"), "{ways:?}");
    assert_eq!(queued(&musher).len(), 4, "each once: {ways:?}");
    // Who knows the address could read along: it is in no log.
    assert!(!musher.log().unwrap().contains("a-channel"));
}

#[test]
fn a_tunnel_program_is_kept_running() {
    let mut musher = Standalone::new().unwrap();
    let public = free_port().unwrap();
    let hub = Hub::start(
        &musher,
        &format!("http://{public}/api/webhook"),
        free_port().unwrap(),
    )
    .unwrap();
    let listen = format!("TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr", public.port());
    let lines = format!(
        "[tunnel]\nkind = \"command\"\npoll_s = 3600\ncommand = [\"socat\", \"-d\", \"-d\", \"{listen}\", \"TCP:{}\"]",
        musher.webhook()
    );
    musher.configure(hub.api(), &lines).unwrap();
    musher.start().unwrap();
    let listening = || Ok(std::net::TcpStream::connect(public).ok());
    let comes_through = |musher: &Standalone, name: &str| {
        wait_for("socat (is the package socat installed?)", LIMIT, listening).unwrap();
        let job = hub.queue_job(name).unwrap();
        wait_for_job(musher, job);
        assert!(queued(musher).contains(&(guid(&hub, job), "Tunnel".to_owned())));
    };
    comes_through(&musher, "first");
    let said = wait_until_up(&musher, 0);
    assert!(said["lines"].to_string().contains("listening on"), "{said}");

    let newest = || {
        let log = musher.log().unwrap();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut started = lines.filter(|line| line["message"] == "tunnel started");
        started
            .next_back()
            .and_then(|line| line["pid"].as_u64())
            .expect("a pid")
    };
    let killed = std::process::Command::new("kill")
        .arg(newest().to_string())
        .status();
    assert!(killed.unwrap().success());
    let again = wait_until_up(&musher, 1);
    assert_eq!(again["restarts"], 1, "{again}");
    comes_through(&musher, "second");

    // Without a warning the program stays behind, and holds the port.
    let before = newest();
    musher.kill().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{before}")).exists());
    musher.start().unwrap();
    wait_until_up(&musher, 0);
    assert!(!std::path::Path::new(&format!("/proc/{before}")).exists());
    comes_through(&musher, "third");
}
