//! The hub: configuration, state and clock in one place, shared by the API,
//! the control routes, the runner protocol and the webhook sender. It decides
//! nothing itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use crate::config::{App, Config, Installation, Repository};
use crate::shapes;
use crate::state::{Announcement, DeliveryMode, State};
use crate::webhook::Outgoing;

/// Base addresses, without trailing slashes.
#[derive(Clone, Debug)]
pub struct Urls {
    /// Where the API is served.
    pub api: String,
    /// Where sleds reach the runner protocol and downloads.
    pub sled: String,
}

/// Everything of one running stand-in.
pub struct Hub {
    /// As given.
    pub config: Config,
    /// As bound.
    pub urls: Urls,
    state: Mutex<State>,
    outgoing: mpsc::Sender<Outgoing>,
    /// Wakes runners that wait for a job.
    pub changed: Notify,
    offset_ms: AtomicI64,
}

impl Hub {
    /// A hub whose deliveries go to `outgoing`.
    #[must_use]
    pub fn new(config: Config, urls: Urls, outgoing: mpsc::Sender<Outgoing>) -> Arc<Self> {
        Arc::new(Self {
            config,
            urls,
            state: Mutex::default(),
            outgoing,
            changed: Notify::new(),
            offset_ms: AtomicI64::new(0),
        })
    }

    /// The state. A panic elsewhere does not spoil it: every change is whole.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unix milliseconds, moved by what tests asked for.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        now.saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Moves the clock forward, so that tests need not wait for an expiry.
    pub fn advance(&self, seconds: u32) {
        self.offset_ms
            .fetch_add(i64::from(seconds) * 1_000, Ordering::Relaxed);
        self.sweep();
    }

    /// Applies what time alone changes.
    pub fn sweep(&self) {
        let now_ms = self.now_ms();
        let mut state = self.state();
        let ended = state.sweep(&self.config.limits, now_ms);
        self.announce(&mut state, ended);
    }

    /// The App that an `iss` names: its number or its client id.
    #[must_use]
    pub fn app_by_issuer(&self, issuer: &str) -> Option<&App> {
        let known = |app: &&App| app.app_id.to_string() == issuer || app.client_id == issuer;
        self.config.apps.iter().find(known)
    }

    /// An installation with its App.
    #[must_use]
    pub fn installation(&self, id: u64) -> Option<(&App, &Installation)> {
        self.installations()
            .find(|(_, installation)| installation.id == id)
    }

    /// Every installation with its App.
    pub fn installations(&self) -> impl Iterator<Item = (&App, &Installation)> {
        self.config
            .apps
            .iter()
            .flat_map(|app| app.installations.iter().map(move |it| (app, it)))
    }

    /// A configured repository, `owner/name`.
    #[must_use]
    pub fn repository(&self, full_name: &str) -> Option<(&Installation, &Repository)> {
        let (account, name) = full_name.split_once('/')?;
        self.installations()
            .map(|(_, installation)| installation)
            .filter(|installation| installation.account.eq_ignore_ascii_case(account))
            .find_map(|installation| Some((installation, installation.repository(name)?)))
    }

    /// Sends `workflow_job`, and `workflow_run` where the job's run changed by
    /// it, to every App that may see it, and wakes runners.
    pub fn announce(&self, state: &mut State, changes: impl IntoIterator<Item = Announcement>) {
        let api = self.urls.api.as_str();
        let mut runs = BTreeSet::new();
        for change in changes {
            let Some(job) = state.jobs.get(&change.job) else {
                continue;
            };
            runs.insert(job.run_id);
            let made = self.for_apps(
                "workflow_job",
                (&job.account, &job.repo),
                |installation, place| shapes::workflow_job(api, installation, place, job),
            );
            made.into_iter().for_each(|it| self.send(state, it));
        }
        for id in runs {
            self.announce_run(state, id);
        }
        self.changed.notify_waiters();
    }

    /// Sends `workflow_run` to every App that may see it, if the run changed.
    pub fn announce_run(&self, state: &mut State, id: u64) {
        let api = self.urls.api.as_str();
        let Some(action) = state.run_news(id) else {
            return;
        };
        let stands = state.run_status(id);
        let Some(run) = state.runs.get(&id) else {
            return;
        };
        let made = self.for_apps(
            "workflow_run",
            (&run.account, &run.repo),
            |installation, place| {
                let shown = shapes::run(api, installation, place, (id, run), stands);
                shapes::workflow_run(api, installation, place, action, shown)
            },
        );
        made.into_iter().for_each(|it| self.send(state, it));
    }

    /// A delivery for each App that subscribed to `event` and may see it at
    /// this account's repository.
    fn for_apps(
        &self,
        event: &'static str,
        (account, repo): (&str, &str),
        payload: impl Fn(&Installation, &Repository) -> Value,
    ) -> Vec<Outgoing> {
        let mut made = Vec::new();
        for (app, installation) in self.installations() {
            let here = installation.account.eq_ignore_ascii_case(account);
            let place = installation.repository(repo).filter(|_| here);
            let reads = installation.permissions.contains_key("actions");
            let wants = app.events.iter().any(|it| it == event);
            if let (Some(place), true, true) = (place, reads, wants) {
                let about = (Some(installation.id), Some(place.id));
                let payload = payload(installation, place);
                made.extend(Outgoing::new(app, event, about, &payload));
            }
        }
        made
    }

    /// Sends `ping` to every App with a webhook; says how many.
    pub fn ping(&self) -> usize {
        let mut state = self.state();
        let mut sent = 0;
        for app in &self.config.apps {
            let payload: Value = shapes::ping(&self.urls.api, app, crate::webhook::hook_id(app));
            if let Some(outgoing) = Outgoing::new(app, "ping", (None, None), &payload) {
                self.send(&mut state, outgoing);
                sent += 1;
            }
        }
        sent
    }

    /// Hands a delivery to the sender as the mode says. A full queue loses the
    /// event, as GitHub may; the sweep of a good client finds the job anyway.
    pub fn send(&self, state: &mut State, outgoing: Outgoing) {
        let copies = match state.delivery_mode {
            DeliveryMode::Deliver | DeliveryMode::Late { .. } | DeliveryMode::Reordered { .. } => 1,
            DeliveryMode::Duplicate => 2,
            DeliveryMode::Lost => 0,
            DeliveryMode::Unreachable => {
                let now_ms = self.now_ms();
                let most = self.config.limits.deliveries;
                state.log_delivery(outgoing.unreachable(now_ms), most, now_ms);
                return;
            }
        };
        let outgoing = outgoing.after(state.delivery_wait_ms());
        for _ in 0..copies {
            if self.outgoing.try_send(outgoing.clone()).is_err() {
                eprintln!(
                    "fakehub: delivery {} lost: the queue is full",
                    outgoing.guid
                );
            }
        }
    }
}
