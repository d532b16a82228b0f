//! The runner's releases: fetched and verified, and told of before GitHub's rule
//! bites. Time is an argument: nothing here waits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use messages::Millis;
use musher::engine::Clock;
use musher::releases::{
    CacheError, Carried, Fault, LEAVE_BYTES, ReleaseBoard, Releases, ReleasesView,
};
use serde_json::json;

use super::stage::{Stage, org};
use super::sweep::pool;

const START: u64 = 1_767_225_600_000;
const DAY_MS: u64 = 86_400_000;

fn day(number: u64) -> Millis {
    Millis(START + number * DAY_MS)
}

/// A watch over one image, as after a start of the appliance.
fn watch(stage: &Stage, carried: &str) -> Releases {
    Releases {
        client: stage.client().background(),
        pools: vec![pool(&[])],
        images: vec![Carried {
            image: "debian-12".to_owned(),
            version: Some(carried.parse().unwrap()),
        }],
        folder: stage.path("runners/main"),
        leave_bytes: LEAVE_BYTES,
        clock: Clock::start(),
        board: Arc::new(ReleaseBoard::default()),
    }
}

async fn look(releases: &Releases, now: Millis) -> (Result<(), Fault>, ReleasesView) {
    let looked = releases.look(now, &Arc::new(AtomicBool::new(false))).await;
    (looked, releases.board.view())
}

async fn offer(stage: &Stage, version: &str) {
    let body = json!({ "version": version });
    stage.own("POST", "/_fakehub/runner", body).await;
}

/// The names of what lies in the cache.
fn kept(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("actions-runner"))
        .collect();
    names.sort_unstable();
    names
}

fn archive(version: &str) -> String {
    format!("actions-runner-linux-x64-{version}.tar.gz")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_release_is_fetched_verified_and_the_oldest_goes() {
    let stage = Stage::start().await;
    let releases = watch(&stage, "2.335.0");
    let packed = std::fs::read(stage.path("runner.tar.gz")).unwrap();
    for (version, expect) in [
        ("2.335.0", vec!["2.335.0"]),
        ("2.336.0", vec!["2.335.0", "2.336.0"]),
        ("2.336.1", vec!["2.336.0", "2.336.1"]),
    ] {
        offer(&stage, version).await;
        let (looked, view) = look(&releases, day(0)).await;
        looked.unwrap();
        let expect: Vec<String> = expect.into_iter().map(archive).collect();
        assert_eq!(kept(&releases.folder), expect);
        assert_eq!(view.newest, version.parse().ok());
        let newest = releases.folder.join(archive(version));
        assert_eq!(view.cached[0], newest);
        assert_eq!(std::fs::read(newest).unwrap(), packed);
        assert_eq!((view.problem, view.read_at), (None, Some(START)));
    }
    // What went bad on the disk is fetched again.
    let newest = releases.folder.join(archive("2.336.1"));
    std::fs::write(&newest, "bad").unwrap();
    look(&releases, day(0)).await.0.unwrap();
    assert_eq!(std::fs::read(newest).unwrap(), packed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_what_the_api_says_is_named_and_not_kept() {
    let stage = Stage::start().await;
    let releases = watch(&stage, "2.335.0");
    for (fault, expect) in [
        (
            json!({ "kind": "spoilt_archive" }),
            "the archive has the sha256 ",
        ),
        (
            json!({ "kind": "cut_archive" }),
            "its archive broke off after ",
        ),
        (
            json!({ "kind": "huge_archive" }),
            "it is larger than 536870912 bytes",
        ),
        (
            json!({ "kind": "status", "status": 503, "path": "/_download/asset" }),
            "answered with status 503",
        ),
        (
            json!({ "kind": "lost_answer", "path": "/_download/" }),
            "GET runner archive at 127.0.0.1: connection to 127.0.0.1 failed",
        ),
    ] {
        stage.fault(fault.clone()).await;
        let (looked, view) = look(&releases, day(0)).await;
        let error = looked.unwrap_err().to_string();
        assert!(error.contains(expect), "{fault}: {error}");
        assert!(
            !error.contains("sig="),
            "an address with a signature: {error}"
        );
        assert_eq!(view.problem.as_deref(), Some(error.as_str()));
        assert_eq!(kept(&releases.folder), [] as [&str; 0], "{fault}");
        assert!(view.cached.is_empty());
    }
    look(&releases, day(0)).await.0.unwrap();
    assert_eq!(kept(&releases.folder), [archive("2.335.0")]);
}

/// What is left free is more than this disk has, and then the disk is full in
/// the midst of the download.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_keeps_its_room_and_the_watch_goes_on() {
    const EXBIBYTE: u64 = 1 << 60;
    let stage = Stage::start().await;
    let mut releases = watch(&stage, "2.334.0");
    releases.leave_bytes = EXBIBYTE;
    let (looked, view) = look(&releases, day(0)).await;
    let error = looked.unwrap_err();
    let Fault::Cache(CacheError::Room { needed, left, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!((needed, left), (1, EXBIBYTE >> 20));
    let problem = view.problem.unwrap();
    let folder = releases.folder.display().to_string();
    for words in ["1 MiB beside the", &folder, ": make room, or take it"] {
        assert!(problem.contains(words), "{problem}");
    }
    let names = std::fs::read_dir(&releases.folder).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["releases.json"], "nothing of it was written");

    releases.leave_bytes = 0;
    let part = releases.folder.join(format!("{}.part", archive("2.335.0")));
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let (looked, view) = look(&releases, day(1)).await;
    let error = looked.unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(view.problem, Some(error));
    assert_eq!(kept(&releases.folder), [] as [&str; 0]);
    // An image's age is known all the same.
    assert_eq!(
        (view.newest, view.read_at),
        ("2.335.0".parse().ok(), Some(day(1).0))
    );
    assert!(view.images[0].warning.is_some());

    let (looked, view) = look(&releases, day(2)).await;
    looked.unwrap();
    assert_eq!(view.problem, None);
    assert_eq!(kept(&releases.folder), [archive("2.335.0")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_image_is_told_of_in_time_also_over_restarts() {
    let stage = Stage::start().await;
    let first = watch(&stage, "2.335.0");
    look(&first, day(0)).await.0.unwrap();
    offer(&stage, "2.336.0").await;
    look(&first, day(10)).await.0.unwrap();
    // As after restarts: only the folder is the same.
    for (now, left, told) in [
        (11, 29, false),
        (25, 15, false),
        (26, 14, true),
        (41, -1, true),
    ] {
        let again = watch(&stage, "2.335.0");
        let (looked, view) = look(&again, day(now)).await;
        looked.unwrap();
        let image = &view.images[0];
        assert_eq!(image.outdated_by, "2.336.0".parse().ok());
        assert_eq!(image.outdated_since, Some(day(10).0));
        assert_eq!(image.days_left, Some(left), "day {now}");
        assert_eq!(image.warning.is_some(), told, "day {now}");
        if let (Some(warning), Some(mend)) = (&image.warning, &image.mend) {
            assert!(
                warning.contains("image debian-12 carries runner 2.335.0"),
                "{warning}"
            );
            let file = again.folder.join(archive("2.336.0"));
            let command = format!("--tarball {} --out", file.display());
            assert!(mend.contains(&command), "{mend}");
        }
    }
    // While GitHub does not answer, what is known goes on to age.
    stage
        .fault(json!({ "kind": "status", "status": 500, "times": 9 }))
        .await;
    let again = watch(&stage, "2.335.0");
    let (looked, view) = look(&again, day(45)).await;
    assert!(matches!(looked, Err(Fault::Github(_))), "{looked:?}");
    assert_eq!(view.images[0].days_left, Some(-5));
    let current = watch(&stage, "2.336.0");
    drop(look(&current, day(45)).await);
    assert_eq!(current.board.view().images[0].outdated_by, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_goes_to_the_api_alone() {
    let stage = Stage::start().await;
    let client = stage.client();
    let offered = client.runner_downloads(org()).await.unwrap();
    let url = offered[0].url.clone();
    // The stand-in refuses a signed address that gets a token (400).
    let fetched = tokio::task::spawn_blocking(move || {
        let archive = client.open_archive(&url, 1 << 20)?;
        let elsewhere = client.open_archive("http://192.0.2.1/runner", 1 << 20);
        let named = client.open_archive("http://me@127.0.0.1/runner", 1 << 20);
        Ok::<_, musher::github::GithubError>((archive.bytes, elsewhere.err(), named.err()))
    });
    let (bytes, elsewhere, named) = fetched.await.unwrap().unwrap();
    let packed = std::fs::metadata(stage.path("runner.tar.gz")).unwrap();
    assert_eq!(bytes, Some(packed.len()));
    for error in [elsewhere, named] {
        let error = error.expect("refused").to_string();
        assert!(error.contains("its address is not https"), "{error}");
    }
}
