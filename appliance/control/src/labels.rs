//! Label sets and the rule by which a runner fits a job.

use alloc::{collections::BTreeSet, string::String, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::interner::Interner;

/// A set of labels: lower case, sorted, in one allocation.
///
/// GitHub compares labels without case, so they are folded once here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Labels(Arc<str>);

impl Labels {
    /// The set of these labels. Labels hold no line break; one that does
    /// counts as the labels on its lines.
    pub fn new<'a>(labels: impl IntoIterator<Item = &'a str>) -> Self {
        let set: BTreeSet<String> = labels
            .into_iter()
            .flat_map(str::lines)
            .map(|label| label.trim().to_lowercase())
            .filter(|label| !label.is_empty())
            .collect();
        let mut joined = String::new();
        for label in &set {
            if !joined.is_empty() {
                joined.push('\n');
            }
            joined.push_str(label);
        }
        Self(joined.into())
    }

    /// The same set, sharing the memory of an equal one.
    pub(crate) fn shared(self, pool: &mut Interner) -> Self {
        Self(pool.share(self.0))
    }

    /// The labels in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        // An empty text is one empty line to `split`.
        let lines = self.0.split('\n');
        lines.filter(|label| !label.is_empty())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a runner with these labels may take a job with those of `job`.
    ///
    /// The runner's labels must hold all of the job's. An empty set would fit
    /// everything by that rule, so it matches nothing. Every runner of ours
    /// is self-hosted, whether its pool lists that label or not.
    #[must_use]
    pub fn serve(&self, job: &Self) -> bool {
        !self.is_empty()
            && !job.is_empty()
            && job
                .iter()
                .all(|label| label == "self-hosted" || self.iter().any(|own| own == label))
    }

    /// The first label of `job` that is missing here.
    #[must_use]
    pub fn missing<'a>(&self, job: &'a Self) -> Option<&'a str> {
        job.iter()
            .find(|label| *label != "self-hosted" && !self.iter().any(|own| own == *label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runner: &[&str], job: &[&str], expect: bool) {
        let runner = Labels::new(runner.iter().copied());
        let job = Labels::new(job.iter().copied());
        assert_eq!(runner.serve(&job), expect, "{runner:?} for {job:?}");
        assert_eq!(
            expect,
            !runner.is_empty() && !job.is_empty() && runner.missing(&job).is_none()
        );
    }

    #[test]
    fn a_runner_serves_what_it_holds() {
        check(&["self-hosted", "linux", "x64"], &["linux"], true);
        check(
            &["Self-Hosted", "Linux", "X64"],
            &["x64", "LINUX", "self-hosted"],
            true,
        );
        check(&["linux"], &["self-hosted", "linux"], true);
        check(&["linux", "x64"], &["linux", "gpu"], false);
        check(&["linux"], &["ubuntu-latest"], false);
        check(&[], &["linux"], false);
        check(&["linux"], &[], false);
        check(&[], &[], false);
    }
}
