//! Registers runners: in the pool's group, and never where a stranger's job
//! could reach them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use control::{GithubFailure, Labels, Scope};
use messages::{BootId, HubId, Identity, Registration, RunnerId, Secret};
use tokio::time::Instant;

use super::{Shared, WORK_FOLDER, github_failure};
use crate::{
    github::{self, GithubClient, JitRequest},
    strangers::{self, Entrance},
};

/// How long an answer on who may use runners is good for: settings rarely
/// change.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// An App, a scope there, and the name of a runner group.
type Place = (HubId, Scope, Option<String>);

/// What is known of where runners are registered. No more places than pools
/// and repositories.
#[derive(Default)]
pub(super) struct Entrances(Mutex<BTreeMap<Place, (Instant, Entrance)>>);

impl Entrances {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, (Instant, Entrance)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, place: &Place) -> Option<Entrance> {
        let known = self.lock();
        let (asked, entrance) = known.get(place)?;
        (asked.elapsed() < FRESH).then(|| entrance.clone())
    }
}

/// A runner to register.
pub(super) struct Minting {
    pub(super) hub: HubId,
    pub(super) scope: Scope,
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) boot: BootId,
}

impl Shared {
    /// Registers a runner once, or gets a token by which it registers itself
    /// where GitHub is too old a server for more, and keeps what it gets for the
    /// boot's agent.
    pub(super) async fn mint(&self, minting: Minting) -> Result<Option<RunnerId>, GithubFailure> {
        let boot = minting.boot;
        let told = self.engine.query(move |state, _| {
            let group = state.runner_group(boot).map(str::to_owned);
            (group, state.public_repositories(boot).to_vec())
        });
        let (group, named) = told.await.ok().unwrap_or_default();
        let place = (minting.hub, minting.scope.clone(), group);
        self.mint_at(&place, &named, minting).await
    }

    /// Registers a runner where only public repositories come in that are
    /// `named`.
    async fn mint_at(
        &self,
        place: &Place,
        named: &[String],
        minting: Minting,
    ) -> Result<Option<RunnerId>, GithubFailure> {
        let client = self.hub(minting.hub)?;
        let entrance = self.entrance(client, place).await?;
        entrance
            .check(named)
            .map_err(|strangers| GithubFailure::Refused(strangers.to_string()))?;
        let request = JitRequest {
            name: minting.name.clone(),
            runner_group_id: entrance.group,
            labels: minting.labels.iter().map(str::to_owned).collect(),
            work_folder: WORK_FOLDER.to_owned(),
        };
        let at = github::Scope::of(&minting.scope).map_err(|error| github_failure(&error))?;
        let minted = client.register(at, request).await;
        if minted.is_err() {
            // The group may have been made anew under another number.
            self.entrances.lock().remove(place);
        }
        let (id, identity) = match minted.map_err(|error| github_failure(&error))? {
            github::Registration::Jit(runner) => {
                let config = Secret::new(runner.encoded_jit_config.expose().to_owned());
                (Some(RunnerId(runner.runner_id)), Identity::Jit(config))
            }
            github::Registration::Token(token) => {
                let registration = Registration {
                    url: page_of(client, &minting.scope)?,
                    token: Secret::new(token.token.expose().to_owned()),
                    labels: minting.labels.iter().map(str::to_owned).collect(),
                    group: place.2.clone(),
                };
                tracing::warn!(
                    runner = minting.name,
                    "this GitHub server has no just-in-time runners (they came with 3.10): the runner registers itself, by a token that is good for more than one runner; update the server"
                );
                (None, Identity::Token(registration))
            }
        };
        self.vault.keep(minting.boot, minting.name, identity);
        Ok(id)
    }

    async fn entrance(
        &self,
        client: &GithubClient,
        place: &Place,
    ) -> Result<Entrance, GithubFailure> {
        if let Some(known) = self.entrances.fresh(place) {
            return Ok(known);
        }
        let (_, scope, group) = place;
        let entrance = strangers::look(client, scope, group.as_deref()).await;
        let entrance = entrance.map_err(|error| github_failure(&error))?;
        let entry = (Instant::now(), entrance.clone());
        self.entrances.lock().insert(place.clone(), entry);
        Ok(entrance)
    }
}

/// The page of a scope at GitHub, which `config.sh` takes as `--url`.
fn page_of(client: &GithubClient, scope: &Scope) -> Result<String, GithubFailure> {
    let Some(web) = client.web_url() else {
        let message = format!(
            "where the pages of \"{}\" are does not follow from its api_url: set web_url",
            client.name()
        );
        return Err(GithubFailure::Refused(message));
    };
    Ok(match scope {
        Scope::Org(name) | Scope::Repo(name) => format!("{web}/{name}"),
        Scope::Enterprise(name) => format!("{web}/enterprises/{name}"),
    })
}

#[cfg(test)]
mod tests;
