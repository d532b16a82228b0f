//! The disk is full: deliveries are refused so that GitHub shows them as
//! failed, what was acknowledged stays, and with room again Musher goes on by
//! itself.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use musher_demo::wait_for;
use musher_e2e::{Request, Standalone, exchange, workflow_job};

/// Set for the test that runs in its own mount namespace.
const INSIDE: &str = "MUSHER_TEST_IN_NAMESPACE";
/// Size of the disk. The database begins with 1.5 MiB.
const DISK: &str = "size=4m";
/// With so many deliveries any database has outgrown that disk.
const MANY: u64 = 20_000;
/// How long it may take until Musher notes that there is room. GitHub does not
/// send again by itself, so each second counts, but none is promised.
const RECOVERY: Duration = Duration::from_secs(10);

/// Runs the body with mounts of its own.
fn with_mounts(test: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        body();
        return;
    }
    let works = |flags: &&str| {
        let probe = Command::new("unshare").args([*flags, "true"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    let flags = ["-m", "-Urm"].into_iter().find(works).expect(
        "this test needs mount namespaces: run it as root, or allow user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1); `unshare` is in package util-linux",
    );
    let status = Command::new("unshare")
        .arg(flags)
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("run unshare");
    assert!(status.success(), "{test} failed with its own mounts");
}

/// A small disk, until the value goes.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "tmpfs"])
            .arg(&folder)
            .output()
            .expect("run mount");
        assert!(done.status.success(), "{done:?}");
        Self(folder)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves not a byte.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let error = loop {
            if let Err(error) = filler.write_all(&[b'x'; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: Musher may still hold files there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Sends deliveries, and remembers what was acknowledged.
struct Hub {
    webhook: SocketAddr,
    next: u64,
    acknowledged: BTreeSet<u64>,
}

impl Hub {
    /// Sends one more job; whether it was acknowledged.
    fn queue(&mut self) -> bool {
        let job = self.next;
        self.next += 1;
        let id = format!("72d3162e-cc78-11e3-81ab-{job:012x}");
        let body = workflow_job("queued", job, &["self-hosted", "linux"]);
        let request = Request::delivery(Standalone::SECRET, &id, "workflow_job", body);
        let answer = exchange(self.webhook, &request).unwrap();
        if answer.status == 200 {
            assert_eq!(answer.result().as_deref(), Some("queued"));
            self.acknowledged.insert(job);
            return true;
        }
        assert_eq!(answer.status, 503, "{answer:?}");
        let wait = answer.header("Retry-After").and_then(|s| s.parse().ok());
        assert!(wait.is_some_and(|wait: u64| wait > 0), "{answer:?}");
        false
    }

    fn queue_until_refused(&mut self) {
        assert!((0..MANY).any(|_| !self.queue()), "the disk was never full");
    }

    fn health(&self) -> u16 {
        let answer = exchange(self.webhook, &Request::get("/healthz"));
        answer.unwrap().status
    }

    /// Everything acknowledged is there.
    fn check_jobs(&self, musher: &Standalone) {
        let jobs = musher.jobs().unwrap();
        let lost: Vec<_> = self.acknowledged.difference(&jobs).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let log = musher.log().unwrap();
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    with_mounts("a_full_disk_refuses_and_recovers_by_itself", || {
        let mut musher = Standalone::new().unwrap();
        let disk = Disk::mount(musher.dir().join("state"));
        musher.start().unwrap();
        let mut hub = Hub {
            webhook: musher.webhook(),
            next: 1,
            acknowledged: BTreeSet::new(),
        };
        for _ in 0..20 {
            assert!(hub.queue());
        }
        // It gets well by itself, whether something is sent or not.
        fill_up(&mut hub, &disk);
        wait_for("health", RECOVERY, || {
            Ok((hub.health() == 200).then_some(()))
        })
        .unwrap();
        assert!(hub.queue());
        hub.check_jobs(&musher);
        fill_up(&mut hub, &disk);
        wait_for("a delivery to be taken", RECOVERY, || {
            Ok(hub.queue().then_some(()))
        })
        .unwrap();
        assert_eq!(hub.health(), 200);
        hub.check_jobs(&musher);

        // What was acknowledged survives the worst end at the worst time.
        disk.fill();
        hub.queue_until_refused();
        musher.kill().unwrap();
        disk.make_room();
        musher.start().unwrap();
        hub.check_jobs(&musher);
        assert!(hub.queue());
    });
}

/// Fills the disk until deliveries are refused, and makes room again.
fn fill_up(hub: &mut Hub, disk: &Disk) {
    disk.fill();
    hub.queue_until_refused();
    assert_eq!(hub.health(), 503);
    for _ in 0..20 {
        hub.queue();
    }
    assert_eq!(hub.health(), 503);
    disk.make_room();
}
