//! One value that many want and one fetches: a cache with a single request in
//! flight.
//!
//! Whoever comes while it is fetched waits for that request and shares its
//! result, also its failure. Nothing is fetched ahead of demand.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::error::{ErrorKind, GithubError};
use super::pool::lock;

/// A fetch ends by its own deadlines well before this.
const LONGEST_WAIT: Duration = Duration::from_secs(180);

/// What a cached value is still good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Use it.
    Fresh,
    /// Fetch another; meanwhile, or if that fails, use it.
    Aging,
    /// Of no use.
    Stale,
}

pub(super) struct Flight<T> {
    state: Mutex<State<T>>,
    landed: Condvar,
}

struct State<T> {
    value: Option<T>,
    fetching: bool,
    /// Counts the fetches that ended.
    round: u64,
    /// How the last fetch ended, for those who waited for it.
    outcome: Option<Result<T, GithubError>>,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        let state = State {
            value: None,
            fetching: false,
            round: 0,
            outcome: None,
        };
        Self {
            state: Mutex::new(state),
            landed: Condvar::new(),
        }
    }
}

impl<T: Clone> Flight<T> {
    /// The value, fetched if need be. `judge` says what a cached one is good
    /// for.
    ///
    /// # Errors
    /// The fetch's own, or [`GithubError::Stopped`] if it never ended.
    pub(super) fn get(
        &self,
        operation: &'static str,
        judge: impl Fn(&T) -> Freshness,
        fetch: impl FnOnce() -> Result<T, GithubError>,
    ) -> Result<T, GithubError> {
        let mut state = lock(&self.state);
        let cached = state
            .value
            .as_ref()
            .map(|value| (value.clone(), judge(value)));
        let spare = match cached {
            Some((value, Freshness::Fresh)) => return Ok(value),
            Some((value, Freshness::Aging)) if state.fetching => return Ok(value),
            Some((value, Freshness::Aging)) => Some(value),
            Some((_, Freshness::Stale)) | None => None,
        };
        if state.fetching {
            let round = state.round;
            let (state, _) = self
                .landed
                .wait_timeout_while(state, LONGEST_WAIT, |state| state.round == round)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            return match &state.outcome {
                Some(outcome) if state.round != round => outcome.clone(),
                _ => Err(GithubError::Stopped { operation }),
            };
        }
        state.fetching = true;
        drop(state);

        let landing = Landing {
            flight: self,
            outcome: Err(GithubError::Stopped { operation }),
        };
        let result = fetch();
        landing.land(result.clone());
        match (result, spare) {
            (Err(failure), Some(value)) if failure.kind() == ErrorKind::Unavailable => {
                tracing::warn!(operation, error = %failure, "renewal failed, the old one still serves");
                Ok(value)
            }
            (result, _) => result,
        }
    }

    /// Drops the cached value if `is_it` says so.
    pub(super) fn forget(&self, is_it: impl Fn(&T) -> bool) {
        let mut state = lock(&self.state);
        if state.value.as_ref().is_some_and(is_it) {
            state.value = None;
        }
    }
}

/// Ends a fetch, also when it panicked: waiters are never left behind.
struct Landing<'a, T: Clone> {
    flight: &'a Flight<T>,
    outcome: Result<T, GithubError>,
}

impl<T: Clone> Landing<'_, T> {
    fn land(mut self, outcome: Result<T, GithubError>) {
        self.outcome = outcome;
    }
}

impl<T: Clone> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        let mut state = lock(&self.flight.state);
        state.fetching = false;
        state.round = state.round.wrapping_add(1);
        if let Ok(value) = &self.outcome {
            state.value = Some(value.clone());
        }
        state.outcome = Some(self.outcome.clone());
        self.flight.landed.notify_all();
    }
}
