//! Where the App is installed for its pools: a delivery of another
//! installation is none of ours, whatever repository it names.
//!
//! What is known comes from the sweep. Until something is, and where an
//! enterprise hides it, every installation counts as ours: the core looks at
//! the repository by itself.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::github::GithubClient;

/// The installations of one App at its pools' places, by number.
#[derive(Debug, Default)]
pub struct Installations {
    known: Mutex<Option<BTreeSet<u64>>>,
    /// What holds tokens of theirs.
    client: Option<GithubClient>,
    changed: Notify,
}

impl Installations {
    /// Those of this client's App. None is known yet.
    #[must_use]
    pub fn of(client: GithubClient) -> Self {
        Self {
            client: Some(client),
            ..Self::default()
        }
    }

    /// These are all of them.
    pub fn are(&self, all: BTreeSet<u64>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(all);
    }

    /// GitHub tells that one came, went, or may do other things now: what is
    /// known of them, and their tokens, are of the past.
    pub fn changed(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(client) = &self.client {
            client.forget_installations();
        }
        self.changed.notify_one();
    }

    /// Resolves when they changed since the last time.
    pub(crate) async fn change(&self) {
        self.changed.notified().await;
    }

    /// Whether a delivery that names `installation` is of another one. A hook
    /// of a repository or organisation names none.
    #[must_use]
    pub fn is_foreign(&self, installation: Option<u64>) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .as_ref()
            .zip(installation)
            .is_some_and(|(known, id)| !known.contains(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_foreign() {
        let installations = Installations::default();
        assert!(!installations.is_foreign(Some(7)));
        installations.are([1001].into());
        assert!(installations.is_foreign(Some(7)));
        assert!(!installations.is_foreign(Some(1001)));
        assert!(!installations.is_foreign(None));
        installations.changed();
        assert!(!installations.is_foreign(Some(7)));
    }
}
