//! Real programs: shells that say something, end, or have children.

use super::*;
use crate::{http::ShutdownHandle, tunnel::TunnelView};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

struct Runs {
    shared: Arc<TunnelShared>,
    stop: ShutdownHandle,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

fn start(script: &str) -> Runs {
    let folder = tempfile::tempdir().unwrap();
    let shared = Arc::new(TunnelShared::default());
    let tunnel = CommandTunnel {
        command: TunnelCommand {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec!["CARGO_PKG_NAME".into()],
        },
        state_dir: folder.path().into(),
        clock: Clock::start(),
        shared: Arc::clone(&shared),
    };
    let (stop, shutdown) = Shutdown::new();
    Runs {
        shared,
        stop,
        task: tokio::spawn(tunnel.run(shutdown)),
        _folder: folder,
    }
}

impl Runs {
    /// Waits until `found` sees something.
    async fn until<T>(&self, found: impl Fn(&TunnelView) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            let view = self.shared.view();
            if let Some(found) = found(&view) {
                return found;
            }
            assert!(Instant::now() < deadline, "{view:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(self) {
        self.stop.stop();
        timeout(LIMIT, self.task).await.unwrap().unwrap();
    }
}

fn is_alive(number: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
    state.is_some_and(|state| state != b'Z')
}

/// A process that was killed may take a moment.
async fn until_gone(number: i32) {
    let deadline = Instant::now() + LIMIT;
    while is_alive(number) {
        assert!(Instant::now() < deadline, "process {number} lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_program_that_ends_is_started_again() {
    let runs = start("echo out; echo err >&2; printf '%0400d\\n' 7; exit 3");
    let view = runs
        .until(|view| (view.restarts >= 2).then(|| view.clone()))
        .await;
    assert!(view.lines.contains(&"out".to_owned()), "{view:?}");
    assert!(view.lines.contains(&"err".to_owned()), "{view:?}");
    let longest = view.lines.iter().map(String::len).max();
    assert_eq!(longest, Some(LINE_BYTES));
    assert_eq!(view.lines.iter().filter(|line| *line == "out").count(), 2);
    let problem = view
        .problem
        .or(runs.until(|view| view.problem.clone()).await.into());
    assert_eq!(problem.as_deref(), Some("sh ended: exit status: 3"));
    runs.end().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told() {
    let mut runs = start("");
    runs.end().await;
    runs = start("exec /nonexistent/program");
    let problem = runs.until(|view| view.problem.clone()).await;
    assert!(problem.contains("127"), "{problem}");
    runs.end().await;
}

#[tokio::test]
async fn children_end_with_the_appliance() {
    // The child does not mind being asked.
    let runs = start("(trap '' TERM; exec sleep 600) & echo $!; wait");
    let number = |view: &TunnelView| view.lines.front().and_then(|line| line.parse().ok());
    let child: i32 = runs.until(number).await;
    assert!(is_alive(child));
    assert_eq!(runs.shared.view().state, "up");
    runs.end().await;
    until_gone(child).await;
}

#[tokio::test]
async fn children_end_with_their_program() {
    let runs = start("sleep 600 & echo $!");
    let number = |view: &TunnelView| view.lines.front().and_then(|line| line.parse().ok());
    let child: i32 = runs.until(number).await;
    runs.until(|view| view.problem.clone()).await;
    until_gone(child).await;
    runs.end().await;
}

#[tokio::test]
async fn our_environment_is_not_the_programs() {
    let runs = start("env; sleep 600");
    // Cargo sets both for tests; the second is named in the configuration.
    runs.until(|view| {
        view.lines
            .iter()
            .any(|line| line.starts_with("PATH="))
            .then_some(())
    })
    .await;
    runs.until(|view| {
        view.lines
            .contains(&"CARGO_PKG_NAME=musher".to_owned())
            .then_some(())
    })
    .await;
    let lines = runs.shared.view().lines;
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("CARGO_MANIFEST_DIR=")),
        "{lines:?}"
    );
    runs.end().await;
}

#[tokio::test]
async fn what_a_killed_daemon_left_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let left_over = LeftOver::new(folder.path());
    let mut child = Command::new("sleep")
        .arg("600")
        .process_group(0)
        .spawn()
        .unwrap();
    let group = child.id().and_then(pid);
    left_over.note(group);
    let (status, ()) = tokio::join!(child.wait(), left_over.end());
    assert!(!status.unwrap().success());
    assert!(left_over.process().is_none());

    // Another process under an old number is none of ours.
    let mut other = Command::new("sleep")
        .arg("600")
        .process_group(0)
        .spawn()
        .unwrap();
    let number = other.id().unwrap();
    fs::write(&left_over.0, format!("{number} 1")).unwrap();
    left_over.end().await;
    assert!(other.try_wait().unwrap().is_none());
    other.kill().await.unwrap();
}
