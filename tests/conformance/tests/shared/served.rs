//! `musher serve` with one sled, as a person at its command line sees it.

use std::time::{Duration, Instant};

use musher_e2e::Standalone;
use serde_json::Value;

/// What a command says, on either stream.
pub(crate) fn run(musher: &Standalone, words: &[&str]) -> String {
    let done = musher.run(words).unwrap();
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(done.status.success(), "musher {words:?}: {said}");
    said
}

pub(crate) fn sled(musher: &Standalone, words: &[&str]) -> String {
    run(
        musher,
        &[&["sled"], words, &["--config", "musher.toml"]].concat(),
    )
}

pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < limit, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The sled.
pub(crate) fn view(musher: &Standalone) -> Value {
    let said = run(musher, &["sleds", "--json", "--config", "musher.toml"]);
    serde_json::from_str::<Value>(&said).unwrap()[0].take()
}

/// Waits until its BMC's settings were adopted.
pub(crate) fn adopted(musher: &Standalone) {
    let audit = "audit.sled.bmc_adopted";
    wait(audit, || musher.log().unwrap().contains(audit));
}
