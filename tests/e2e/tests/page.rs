//! The status page in a real browser: what happens is seen without a reload,
//! on a phone too, in light and dark, and a page that is not live says so.
//!
//! `browser/watch.mjs` looks; this side makes happen what is to be seen. The
//! screenshots of a run are in `target/e2e/page`.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use musher_demo::{Rig, wait_for};
use musher_e2e::{rig_config, wait_for_end, wait_for_stage};
use musher_lab::Firmware;
use serde_json::{Value, json};

/// Bound of one step on a busy machine; each has bounds of its own inside.
const STEP_LIMIT: Duration = Duration::from_secs(180);
/// How long the browser may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);

#[test]
fn shows_what_happens_without_a_reload() {
    let mut rig = Rig::up(&rig_config("page", vec![Firmware::Bios.into()]).unwrap()).unwrap();
    let mut browser = Browser::start(rig.page(), rig.dir());
    browser.step(&json!({ "step": "open", "sleds": ["sled-01"] }));
    browser.step(&json!({ "step": "look", "name": "empty" }));

    let first = rig.queue_job("is-cancelled", "sleep 600").unwrap();
    let under_way = json!(["claimed", "starting"]);
    browser.step(&json!({ "step": "job", "name": "is-cancelled", "states": under_way }));
    browser.step(&json!({ "step": "unfold", "name": "is-cancelled" }));
    let second = rig.queue_job("comes-after", "echo here").unwrap();
    browser.step(&json!({ "step": "waiting", "name": "comes-after" }));
    wait_for_stage(&rig, first.id, "Netbooting").unwrap();
    rig.cancel_job(first.id).unwrap();
    browser.step(&json!({ "step": "job", "name": "is-cancelled", "states": ["cancelled"] }));
    browser.step(&json!({ "step": "look", "name": "cancelled" }));

    let done = wait_for_end(&rig, second.id).unwrap();
    assert_eq!(done.state, "completed", "{done:?}");
    browser.step(&json!({
        "step": "job", "name": "comes-after", "states": ["completed"], "holds": "receipt",
    }));
    browser.step(&json!({ "step": "look", "name": "completed" }));

    rig.kill_musher().unwrap();
    browser.step(&json!({ "step": "lost" }));
    browser.step(&json!({ "step": "look", "name": "lost" }));
    rig.start_musher().unwrap();
    browser.step(&json!({ "step": "back" }));
    // Live is more than a word: the next change arrives.
    let third = rig.queue_job("after-the-restart", "sleep 600").unwrap();
    let name = "after-the-restart";
    browser.step(&json!({ "step": "job", "name": name, "states": under_way }));
    rig.cancel_job(third.id).unwrap();
    browser.step(&json!({ "step": "job", "name": name, "states": ["cancelled"] }));

    browser.step(&json!({ "step": "tabs" }));
    browser.step(&json!({ "step": "forbidden" }));
    browser.close();
    rig.down().unwrap();
}

/// A browser that watches the page. Dropping it ends it.
struct Browser {
    child: Child,
    steps: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Browser {
    fn start(url: &str, screenshots: &Path) -> Self {
        let folder = packages();
        let mut child = Command::new("node")
            .arg(folder.join("watch.mjs"))
            .arg(url)
            .arg(screenshots)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}", missing("node", "nodejs", &error)));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (lines, answers) = channel();
        // One line per step, so the channel holds few.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            steps: child.stdin.take(),
            child,
            answers,
        }
    }

    /// Has one thing looked at, and fails with what was seen instead.
    fn step(&mut self, step: &Value) {
        // A browser that could not start has answered already and is gone.
        let _ = writeln!(self.steps.as_mut().unwrap(), "{step}");
        let answer = self
            .answers
            .recv_timeout(STEP_LIMIT)
            .unwrap_or_else(|error| panic!("no answer to {step}: {error}"));
        println!("{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if let Some(error) = answer.get("error") {
            panic!("{step}: {}", error.as_str().unwrap_or_default());
        }
    }

    fn close(mut self) {
        drop(self.steps.take());
        let status = wait_for("the browser to close", CLOSE_LIMIT, || {
            Ok(self.child.try_wait()?)
        });
        assert!(status.unwrap().success(), "the browser ended badly");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.steps.take());
        let ended = wait_for("the browser to close", CLOSE_LIMIT, || {
            Ok(self.child.try_wait()?)
        });
        if ended.is_err() {
            // Chromium goes with the pipe that it is driven by.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The folder `browser`, with the packages that its `package-lock.json` pins.
/// Installs them once, and again after the pins changed.
fn packages() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    let changed = |path: &str| Some(folder.join(path).metadata().ok()?.modified().unwrap());
    // npm writes it last.
    if changed("node_modules/.package-lock.json") < changed("package-lock.json") {
        let status = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .status()
            .unwrap_or_else(|error| panic!("{}", missing("npm", "npm", &error)));
        assert!(status.success(), "npm ci failed in {}", folder.display());
    }
    folder
}

fn missing(program: &str, package: &str, error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::NotFound {
        format!("{program} is missing: install the package {package}")
    } else {
        format!("{program} does not start: {error}")
    }
}
