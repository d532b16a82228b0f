//! What a sweep asks GitHub next: which runners there are, then places, then
//! the open runs of each, then the jobs of each run. Does no IO.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use control::Scope;

use crate::github::{Repository, RunStatus};

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// Which runners are registered here?
    Runners(Scope),
    /// Which repositories are there?
    Place(Scope),
    /// Which runs of it are in this state?
    Runs(Arc<Repository>, RunStatus),
    /// How do the jobs of this run stand?
    Jobs(Arc<Repository>, u64),
}

/// One way through all places. Bounded by what GitHub tells at most: of one
/// repository's runs at a time.
#[derive(Debug, Default)]
pub(super) struct Round {
    errands: VecDeque<Errand>,
    /// Repositories that were met, in lower case: pools may share them.
    met: BTreeSet<String>,
}

impl Round {
    /// To where runners are registered, then through these places.
    pub(super) fn through(runners: &[Scope], places: &[Scope]) -> Self {
        let runners = runners.iter().cloned().map(Errand::Runners);
        let places = places.iter().cloned().map(Errand::Place);
        Self {
            errands: runners.chain(places).collect(),
            met: BTreeSet::new(),
        }
    }

    /// The next question; it stays the next one until it is settled.
    pub(super) fn next(&self) -> Option<Errand> {
        self.errands.front().cloned()
    }

    /// The next question was answered, or never will be.
    pub(super) fn settle(&mut self, answer: Vec<Errand>) {
        self.errands.pop_front();
        // Before the other places, so that one's runs are all that wait.
        for errand in answer.into_iter().rev() {
            self.errands.push_front(errand);
        }
    }

    /// What to ask of these repositories, unless another pool's place had
    /// them already; `register` says whether runners are registered at one.
    pub(super) fn visit(
        &mut self,
        repositories: Vec<Repository>,
        register: impl Fn(&Repository) -> bool,
    ) -> Vec<Errand> {
        let mut errands = Vec::new();
        for repository in repositories {
            if self.met.insert(repository.full_name.to_ascii_lowercase()) {
                if register(&repository) {
                    let place = Scope::Repo(repository.full_name.clone());
                    errands.push(Errand::Runners(place));
                }
                let repository = Arc::new(repository);
                errands.push(Errand::Runs(Arc::clone(&repository), RunStatus::Queued));
                errands.push(Errand::Runs(repository, RunStatus::InProgress));
            }
        }
        errands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_repository_is_met_once_and_its_runs_come_first() {
        let repository = |name: &str| Repository {
            id: 1,
            full_name: name.to_owned(),
            private: true,
            archived: false,
        };
        let (org, repo) = (Scope::Org("o".into()), Scope::Repo("O/a".into()));
        let places = [org.clone(), repo.clone()];
        let mut round = Round::through(std::slice::from_ref(&repo), &places);
        assert_eq!(round.next(), Some(Errand::Runners(repo.clone())));
        round.settle(Vec::new());
        assert_eq!(round.next(), Some(Errand::Place(org)));
        let found = vec![repository("o/a"), repository("o/b")];
        let found = round.visit(found, |repository| repository.full_name == "o/a");
        round.settle(found);
        let at_a = Errand::Runners(Scope::Repo("o/a".into()));
        assert_eq!(round.next(), Some(at_a));
        round.settle(Vec::new());
        let a = Arc::new(repository("o/a"));
        assert_eq!(
            round.next(),
            Some(Errand::Runs(Arc::clone(&a), RunStatus::Queued))
        );
        assert_eq!(round.next(), round.next(), "until it is settled");
        let of = |run| Errand::Jobs(Arc::clone(&a), run);
        round.settle(vec![of(1), of(2)]);
        for run in [1, 2] {
            assert_eq!(round.next(), Some(of(run)));
            round.settle(Vec::new());
        }
        for _ in 0..3 {
            assert!(matches!(round.next(), Some(Errand::Runs(..))));
            round.settle(Vec::new());
        }
        assert_eq!(round.next(), Some(Errand::Place(repo)));
        assert_eq!(round.visit(vec![repository("O/A")], |_| true), []);
        round.settle(Vec::new());
        assert_eq!(round.next(), None);
    }
}
