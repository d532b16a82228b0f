//! Watches the releases of GitHub's runner, so that no image grows too old
//! unnoticed.
//!
//! Our runners do not update themselves: a boot's root filesystem is what its
//! digest says. GitHub gives no job to a runner 30 days after a newer release
//! (GitHub Docs, "Self-hosted runners reference", runner software updates). The
//! list of releases has no dates, so what counts here is when this appliance saw
//! a release first, kept over restarts; of what was there at the very first look
//! only that it is at least as old is known, and that is said.
//!
//! The newest archive is kept, verified, for whoever builds the next image. This
//! only watches and warns: no image is changed, no job held back.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use control::{MintScope, PoolSpec};
use messages::Millis;
use serde::Serialize;

use crate::{
    config::{Image, LoadedInventory},
    engine::Clock,
    github::{self, GithubClient, GithubError, RunnerDownload},
    http::Shutdown,
    retry::Backoff,
};

mod cache;
mod ledger;
mod version;

pub use cache::{Cache, CacheError, LEAVE_BYTES};
pub use ledger::{Ledger, LedgerError, Standing, WARN_DAYS};
pub use version::{ParseVersionError, Version};

/// Between two looks, give or take a tenth.
const INTERVAL: Duration = Duration::from_secs(12 * 3_600);
/// The first look leaves the start to what is urgent.
const FIRST: Duration = Duration::from_secs(10);
/// Waits after a look that failed.
const AFTER_FAILURE: (Duration, Duration) =
    (Duration::from_secs(5 * 60), Duration::from_secs(2 * 3_600));

/// An image that sleds of an App's pools run, and the runner in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The image's name.
    pub image: String,
    /// The runner's version, if the image says so.
    pub version: Option<Version>,
}

/// Watches for one App.
pub struct Releases {
    /// The App, for what can wait.
    pub client: GithubClient,
    /// Pools that use it.
    pub pools: Vec<PoolSpec>,
    /// Their images.
    pub images: Vec<Carried>,
    /// Where archives and the list are kept.
    pub folder: PathBuf,
    /// What a download leaves free on that disk, in bytes: [`LEAVE_BYTES`].
    pub leave_bytes: u64,
    /// The appliance's time.
    pub clock: Clock,
    /// What was found.
    pub board: Arc<ReleaseBoard>,
}

/// What was found, for people.
#[derive(Debug, Default)]
pub struct ReleaseBoard(Mutex<ReleasesView>);

/// The runner's releases as one App is offered them, and where its images stand.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReleasesView {
    /// The App's configured name.
    pub github: String,
    /// When the list was read last, in Unix milliseconds.
    pub read_at: Option<u64>,
    /// The newest release.
    pub newest: Option<Version>,
    /// The oldest that GitHub still gives jobs to, as far as known here.
    pub oldest_usable: Option<Version>,
    /// Verified archives on this appliance, the newest first.
    pub cached: Vec<PathBuf>,
    /// Every image of the App's pools.
    pub images: Vec<ImageView>,
    /// Why the list or the archive could not be had.
    pub problem: Option<String>,
}

/// Where one image stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageView {
    /// The image's name.
    pub image: String,
    /// The runner's version in it, if it is recorded.
    pub runner_version: Option<Version>,
    /// The version that made it old, if it is.
    pub outdated_by: Option<Version>,
    /// When this appliance saw that version first, in Unix milliseconds.
    pub outdated_since: Option<u64>,
    /// Days until GitHub may refuse it jobs, at most; negative once it may.
    pub days_left: Option<i64>,
    /// What is wrong, where a person must act.
    pub warning: Option<String>,
    /// What to do about it.
    pub mend: Option<String>,
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// GitHub did not tell its releases.
    #[error(transparent)]
    Github(#[from] GithubError),
    /// When a release was first seen is not kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The archive is not here.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// GitHub offers nothing that sleds run.
    #[error("github offers no runner for linux-x64")]
    NotOffered,
}

impl ReleaseBoard {
    /// What was found last.
    #[must_use]
    pub fn view(&self) -> ReleasesView {
        let view = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        view.clone()
    }

    fn change(&self, change: impl FnOnce(&mut ReleasesView)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Where an App's releases are kept below the state directory.
#[must_use]
pub fn folder(state_dir: &std::path::Path, app: &str) -> PathBuf {
    state_dir.join("runners").join(app)
}

/// The pools of an App, and what their images carry.
#[must_use]
pub fn of_app(app: &str, inventory: &LoadedInventory) -> (Vec<PoolSpec>, Vec<Carried>) {
    let pools = inventory.inventory.pools.iter();
    let pools: Vec<PoolSpec> = pools.filter(|pool| pool.github == app).cloned().collect();
    let used = |image: &&Image| {
        pools
            .iter()
            .any(|pool| pool.image.rootfs.name == image.name)
    };
    let images = inventory.images.iter().filter(used).map(|image| Carried {
        image: image.name.clone(),
        version: image.runner_version,
    });
    let images = images.collect();
    (pools, images)
}

impl Releases {
    /// Looks now and then until the appliance stops.
    pub async fn run(self, shutdown: Shutdown) {
        let name = self.client.name().to_owned();
        self.board.change(|view| view.github = name);
        let stop = Arc::new(AtomicBool::new(false));
        tokio::select! {
            () = self.watch(&stop) => {}
            () = shutdown.wait() => {}
        }
        // A download on its thread ends at its next piece.
        stop.store(true, Ordering::Relaxed);
    }

    async fn watch(&self, stop: &Arc<AtomicBool>) {
        let mut backoff = Backoff::new(AFTER_FAILURE.0, AFTER_FAILURE.1);
        let mut wait = FIRST;
        loop {
            tokio::time::sleep(wait).await;
            wait = match self.look(self.clock.now(), stop).await {
                Ok(()) => {
                    backoff.reset();
                    let part = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2));
                    INTERVAL.mul_f64(0.9 + 0.2 * part / f64::from(u32::MAX))
                }
                Err(_) => backoff.failed(),
            };
        }
    }

    /// Reads the list, keeps when its releases were first seen, and fetches what
    /// is new. What it finds is on the board, also when it fails.
    ///
    /// # Errors
    /// [`Fault`]; what is cached already stays.
    pub async fn look(&self, now: Millis, stop: &Arc<AtomicBool>) -> Result<(), Fault> {
        let looked = self.renew(now, stop).await;
        let problem = looked.as_ref().err().map(ToString::to_string);
        self.board.change(|view| {
            if let Some(problem) = problem.as_ref().filter(|it| view.problem.as_ref() != Some(it)) {
                tracing::warn!(github = %view.github, error = %problem, "the runner's releases are not watched; trying on");
            }
            view.problem = problem;
        });
        looked
    }

    async fn renew(&self, now: Millis, stop: &Arc<AtomicBool>) -> Result<(), Fault> {
        let cache = Cache::at(&self.folder, self.leave_bytes)?;
        let mut ledger = Ledger::load(&self.folder)?;
        self.tell(&ledger, &cache, now);
        let (version, release) = newest(self.releases().await?).ok_or(Fault::NotOffered)?;
        if ledger.saw(version, now) {
            ledger.store(&self.folder)?;
            tracing::info!(github = %self.client.name(), %version, "a release of the runner is new here");
        }
        self.board.change(|view| view.read_at = Some(now.0));
        self.tell(&ledger, &cache, now);
        self.warn();
        let (client, stop, keeper) = (self.client.clone(), Arc::clone(stop), cache.clone());
        let kept = move || keeper.keep(&client, version, &release, &stop);
        // A task that panicked or was never run has kept nothing either.
        let kept = tokio::task::spawn_blocking(kept).await;
        kept.unwrap_or(Err(CacheError::Stopped))?;
        self.tell(&ledger, &cache, now);
        Ok(())
    }

    /// Asked at the first of the pools' places that answers: the list is the same
    /// everywhere.
    async fn releases(&self) -> Result<Vec<RunnerDownload>, GithubError> {
        let mut asked = Ok(Vec::new());
        for pool in &self.pools {
            asked = self.releases_at(pool).await;
            if asked.is_ok() {
                break;
            }
        }
        asked
    }

    async fn releases_at(&self, pool: &PoolSpec) -> Result<Vec<RunnerDownload>, GithubError> {
        let mut place = github::Scope::of(&pool.scope)?;
        // Such an App manages no organisation's runners.
        if place.is_org() && pool.policy.mint_scope == MintScope::Repository {
            let all = self.client.installation_repositories(place.clone()).await?;
            if let Some(one) = all.into_iter().find(|it| !it.archived) {
                place = github::Scope::repo(&one.full_name)?;
            }
        }
        self.client.runner_downloads(place).await
    }

    fn tell(&self, ledger: &Ledger, cache: &Cache, now: Millis) {
        let images = views(&self.images, ledger, cache, now);
        self.board.change(|view| {
            view.newest = ledger.newest();
            view.oldest_usable = ledger.oldest_usable(now);
            view.cached = cache.archives();
            view.images = images;
        });
    }

    fn warn(&self) {
        for image in self.board.view().images {
            if let (Some(warning), Some(mend)) = (image.warning, image.mend) {
                tracing::warn!(github = %self.client.name(), image = %image.image, mend = %mend, "{warning}");
            }
        }
    }
}

/// The newest release for sleds.
#[must_use]
pub fn newest(releases: Vec<RunnerDownload>) -> Option<(Version, RunnerDownload)> {
    let ours = releases
        .into_iter()
        .filter(|it| it.os == "linux" && it.architecture == "x64");
    ours.filter_map(|it| Some((Version::of_archive(&it.filename)?, it)))
        .max_by_key(|(version, _)| *version)
}

/// Where images stand by what is known.
#[must_use]
pub fn views(images: &[Carried], ledger: &Ledger, cache: &Cache, now: Millis) -> Vec<ImageView> {
    let of = |carried: &Carried| {
        let mut view = ImageView {
            image: carried.image.clone(),
            runner_version: carried.version,
            outdated_by: None,
            outdated_since: None,
            days_left: None,
            warning: None,
            mend: None,
        };
        let standing = carried.version.map(|version| ledger.standing(version, now));
        if let Some(Standing::Outdated(age)) = standing {
            view.outdated_by = Some(age.by);
            view.outdated_since = Some(age.since.0);
            view.days_left = Some(age.days_left);
            if age.must_be_told() {
                view.warning = carried
                    .version
                    .map(|version| age.words(&carried.image, version));
                view.mend = ledger.newest().map(|newest| mend(carried, newest, cache));
            }
        }
        view
    };
    images.iter().map(of).collect()
}

fn mend(carried: &Carried, newest: Version, cache: &Cache) -> String {
    let archive = cache.archive(newest);
    let tarball = match archive.is_file() {
        true => archive.display().to_string(),
        false => newest.archive(),
    };
    format!(
        "Build image {} anew with runner {newest}: `musher-image runner --base debian --tarball {tarball} --out ROOTFS`, \
         put ROOTFS where the inventory names it, and start musher again.",
        carried.image
    )
}
