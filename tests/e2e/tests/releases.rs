//! GitHub's rule about old runners, as whoever runs `musher serve` learns of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use musher_demo::wait_for;
use musher_e2e::{Hub, Standalone, free_port};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 86_400_000;

fn status(musher: &Standalone, more: &[&str]) -> anyhow::Result<String> {
    let words = [&["status", "--config", "musher.toml"], more].concat();
    let done = musher.run(&words)?;
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The image as `musher status` tells of it, once the newest release is here.
fn image(musher: &Standalone) -> Value {
    let looked = || {
        let status: Value = serde_json::from_str(&status(musher, &["--json"])?)?;
        let app = &status["runner_releases"][0];
        let archive = app["cached"][0].as_str().unwrap_or_default();
        let here = Path::new(archive).ends_with("actions-runner-linux-x64-2.335.0.tar.gz");
        Ok(here.then(|| app["images"][0].clone()))
    };
    wait_for("a look at the releases", LIMIT, looked)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", musher.log().unwrap()))
}

/// The warnings of its log, each with what is to be done.
fn warned(musher: &Standalone) -> Vec<(String, String)> {
    let log = musher.log().unwrap();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["level"] == "WARN" && line["image"] == "debian-12")
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (text("message"), text("mend"))
        })
        .collect()
}

/// How old a release is that was out before this appliance looked is not known,
/// so it is told of at once; of any other, in the last fourteen days.
#[test]
fn a_running_appliance_warns_of_an_old_runner() {
    let mut musher = Standalone::new().unwrap();
    let inventory = musher.dir().join("inventory.toml");
    let text = fs::read_to_string(&inventory).unwrap();
    let rootfs = "rootfs = \"rootfs\"\n";
    let carried = format!("{rootfs}runner_version = \"2.334.0\"\n");
    fs::write(&inventory, text.replace(rootfs, &carried)).unwrap();
    let nobody = "http://127.0.0.1:9/api/webhook";
    let hub = Hub::start(&musher, nobody, free_port().unwrap()).unwrap();
    musher.configure(hub.api(), "").unwrap();

    let check = |musher: &Standalone, left: i64, words: &str| {
        let image = image(musher);
        assert_eq!(image["runner_version"], "2.334.0", "{image}");
        assert_eq!(image["outdated_by"], "2.335.0", "{image}");
        assert_eq!(image["days_left"], left, "{image}");
        let told = warned(musher);
        let (warning, mend) = told.last().expect("it is in the log");
        assert!(
            warning.starts_with("image debian-12 carries runner 2.334.0"),
            "{warning}"
        );
        assert!(warning.contains(words), "{warning}");
        assert!(
            mend.contains("musher-image runner --base debian --tarball "),
            "{mend}"
        );
        assert_eq!(image["warning"], warning.as_str());
        let said = status(musher, &[]).unwrap();
        assert!(said.contains(warning), "{said}");
    };
    musher.start().unwrap();
    check(&musher, 30, "30 days are left at most: it was out already");
    musher.kill().unwrap();

    // The same appliance, had it seen the release come 20 days ago.
    let since_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let seen = |version: &str, days: u64| {
        let first_seen = u64::try_from(since_ms).unwrap() - days * DAY_MS;
        json!({ "version": version, "first_seen": first_seen, "maybe_older": false })
    };
    let kept = musher.dir().join("state/runners/main/releases.json");
    assert!(fs::read_to_string(&kept).unwrap().contains("2.335.0"));
    let aged = json!({ "releases": [seen("2.334.0", 40), seen("2.335.0", 20)] });
    fs::write(&kept, aged.to_string()).unwrap();
    musher.start().unwrap();
    check(
        &musher,
        9,
        "9 days are left by when this appliance saw it first",
    );
}
