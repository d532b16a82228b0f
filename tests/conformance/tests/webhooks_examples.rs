//! Deliveries that GitHub really sent (npm `@octokit/webhooks-examples`, for
//! github.com and every Enterprise Server release in it), posted to a running
//! Musher: none is refused, and each is answered by what it is.

use std::collections::BTreeMap;

use musher_conformance::octokit;
use musher_e2e::{Request, Standalone, exchange};
use serde_json::Value;

/// Pools that some of the examples' jobs are for. Their repositories are public.
const POOLS: &str = r#"
[[pool]]
name = "hello-world"
github = "main"
scope = { repo = "Codertocat/Hello-World" }
public = ["Codertocat/Hello-World"]
labels = ["ubuntu-latest"]
image = "debian-12"

[[pool]]
name = "elastic"
github = "main"
scope = { repo = "lineville/elastic-machines-testing" }
public = ["lineville/elastic-machines-testing"]
labels = ["self-hosted", "k8s", "linux"]
image = "debian-12"
"#;

/// One delivery.
struct Example {
    source: String,
    event: String,
    body: Value,
}

fn examples() -> Vec<Example> {
    let folder = octokit().join("webhooks-examples");
    let mut sources: Vec<_> = std::fs::read_dir(&folder)
        .expect("the examples are there")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.join("index.json").is_file())
        .collect();
    sources.sort();
    let mut all = Vec::new();
    for source in sources {
        let text = std::fs::read_to_string(source.join("index.json")).expect("they can be read");
        let events: Vec<Value> = serde_json::from_str(&text).expect("they are JSON");
        for event in events {
            for body in event["examples"]
                .as_array()
                .expect("each event has examples")
            {
                all.push(Example {
                    source: source.file_name().unwrap_or_default().display().to_string(),
                    event: event["name"]
                        .as_str()
                        .expect("each event has a name")
                        .to_owned(),
                    body: body.clone(),
                });
            }
        }
    }
    all
}

fn started() -> Standalone {
    started_with(POOLS)
}

fn started_with(pools: &str) -> Standalone {
    let mut musher = Standalone::new().unwrap();
    let inventory = musher.dir().join("inventory.toml");
    let text = std::fs::read_to_string(&inventory).unwrap();
    std::fs::write(&inventory, text + pools).unwrap();
    musher.start().unwrap();
    musher
}

fn post(musher: &Standalone, id: usize, example: &Example) -> (u16, Option<String>, String) {
    let id = format!("72d3162e-cc78-11e3-81ab-{id:012x}");
    let body = example.body.to_string();
    let request = Request::delivery(Standalone::SECRET, &id, &example.event, body);
    let answer = exchange(musher.webhook(), &request).unwrap();
    (answer.status, answer.result(), answer.body)
}

#[test]
fn every_example_is_answered_by_what_it_is() {
    let musher = started();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (id, example) in examples().iter().enumerate() {
        let Example {
            source,
            event,
            body,
        } = example;
        let action = body["action"].as_str().unwrap_or_default();
        let (status, result, said) = post(&musher, id, example);
        let shown = format!("{source} {event} {action}: {status} {said}");
        assert_eq!(status, 200, "{shown}");
        let result = result.unwrap_or_default();
        let expect: &[&str] = match event.as_str() {
            "ping" => &["pong"],
            // By then it may be known, over, or for nobody here.
            "workflow_job" => &["queued", "updated", "ignored"],
            _ => &["ignored"],
        };
        assert!(expect.contains(&result.as_str()), "{shown}");
        *counts.entry((event.clone(), result)).or_default() += 1;
    }
    let count = |event: &str, result: &str| {
        counts
            .get(&(event.to_owned(), result.to_owned()))
            .copied()
            .unwrap_or_default()
    };
    // A package without them would prove nothing.
    assert!(count("ping", "pong") >= 4, "{counts:?}");
    assert!(count("workflow_run", "ignored") >= 5, "{counts:?}");
    assert!(count("installation", "ignored") >= 7, "{counts:?}");
    assert!(
        count("installation_repositories", "ignored") >= 2,
        "{counts:?}"
    );
    assert!(
        counts
            .keys()
            .filter(|(event, _)| event == "workflow_job")
            .count()
            >= 1
    );
}

/// Each job that is for one of our pools is queued when it is heard of first.
#[test]
fn queued_jobs_are_queued() {
    let mut queued = 0;
    for example in examples() {
        if example.event != "workflow_job" || example.body["action"] != "queued" {
            continue;
        }
        let musher = started();
        let (status, result, said) = post(&musher, 1, &example);
        assert_eq!((status, result.as_deref()), (200, Some("queued")), "{said}");
        let done = musher
            .run(&["jobs", "--json", "--config", "musher.toml"])
            .unwrap();
        let jobs: Value = serde_json::from_slice(&done.stdout).unwrap();
        let ids: Vec<&Value> = jobs
            .as_array()
            .unwrap()
            .iter()
            .map(|job| &job["id"])
            .collect();
        assert_eq!(ids, [&example.body["workflow_job"]["id"]]);
        // Strangers' code runs only where their repository is named.
        let unnamed = POOLS.lines().filter(|line| !line.starts_with("public"));
        let musher = started_with(&unnamed.collect::<Vec<_>>().join("\n"));
        let (status, result, said) = post(&musher, 1, &example);
        assert_eq!(
            (status, result.as_deref()),
            (200, Some("ignored")),
            "{said}"
        );
        queued += 1;
    }
    assert!(queued >= 2, "the package holds {queued} queued jobs");
}
