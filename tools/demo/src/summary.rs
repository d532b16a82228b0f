//! What the demo found, for people and for `summary.json`. It judges from
//! what Musher and the stand-in say, and from receipts that were verified.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use musher_demo::{JobView, Timeline};
use serde::Serialize;

/// The file's content. Times are Unix milliseconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Every job succeeded, on a boot of its own, with a valid receipt.
    pub(crate) ok: bool,
    /// One entry per job, in the order they were queued.
    pub(crate) jobs: Vec<JobSummary>,
    /// What went wrong.
    pub(crate) problems: Vec<String>,
}

/// One job.
#[derive(Debug, Serialize)]
pub(crate) struct JobSummary {
    /// GitHub's number.
    pub(crate) id: u64,
    /// Its name.
    pub(crate) name: String,
    /// The sled it ran on.
    pub(crate) sled: Option<String>,
    /// The boot it ran in.
    pub(crate) boot: Option<u64>,
    /// What the sled's own kernel called that boot, where the job printed it.
    pub(crate) kernel_boot_id: Option<String>,
    /// `success`, or what it was instead.
    pub(crate) result: String,
    /// The number of its receipt, if that is valid.
    pub(crate) receipt: Option<u64>,
    /// The receipt's grade.
    pub(crate) assurance: Option<String>,
    /// When things happened.
    pub(crate) timeline: Timeline,
}

impl Summary {
    pub(crate) fn problem(&mut self, text: String) {
        self.problems.push(text);
    }

    /// Adds a job; `receipts` are the numbers that were verified.
    pub(crate) fn add(
        &mut self,
        name: &str,
        id: u64,
        view: Option<&JobView>,
        log: &[String],
        receipts: &[u64],
    ) {
        let boot = view.and_then(|view| view.boot.as_ref());
        let timeline = Timeline {
            delivered: view.map(|view| view.delivered),
            ..boot.map(|boot| boot.timeline.clone()).unwrap_or_default()
        };
        let receipt = boot
            .and_then(|boot| boot.receipt)
            .filter(|number| receipts.contains(number));
        let result = match view {
            Some(view) => view
                .conclusion
                .clone()
                .unwrap_or_else(|| view.state.clone()),
            None => "not delivered".to_owned(),
        };
        self.jobs.push(JobSummary {
            id,
            name: name.to_owned(),
            sled: boot.map(|boot| boot.sled.clone()),
            boot: boot.map(|boot| boot.id),
            kernel_boot_id: log
                .iter()
                .find_map(|line| line.trim().strip_prefix("boot_id="))
                .map(str::to_owned),
            result,
            receipt,
            assurance: boot.map(|boot| boot.assurance.clone()),
            timeline,
        });
    }

    /// Decides whether all is well, and says why not. `printed`: whether the
    /// jobs are ours and print their kernel's boot id.
    pub(crate) fn judge(&mut self, printed: bool) {
        let mut boots: BTreeMap<String, &str> = BTreeMap::new();
        let mut found = Vec::new();
        for job in &self.jobs {
            let name = &job.name;
            if job.result != "success" {
                found.push(format!("{name} ended as {}", job.result));
            }
            if job.receipt.is_none() {
                found.push(format!("{name} has no valid receipt"));
            }
            if printed && job.kernel_boot_id.is_none() {
                found.push(format!("{name} printed no boot id"));
            }
            let numbered = job.boot.map(|boot| boot.to_string());
            if let Some(boot) = job.kernel_boot_id.clone().or(numbered)
                && let Some(other) = boots.insert(boot, name)
            {
                found.push(format!("{name} shared a boot with {other}"));
            }
            for (step, at) in job.timeline.steps() {
                if at.is_none() {
                    found.push(format!("{name} has no time for {step}"));
                }
            }
        }
        self.problems.append(&mut found);
        self.ok = self.problems.is_empty() && !self.jobs.is_empty();
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("encode the summary")?;
        fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, result: &str, receipt: Option<u64>, boot: Option<&str>) -> JobSummary {
        let at = Some(1);
        JobSummary {
            id: 1,
            name: name.to_owned(),
            sled: Some("sled-01".to_owned()),
            boot: Some(1),
            kernel_boot_id: boot.map(str::to_owned),
            result: result.to_owned(),
            receipt,
            assurance: None,
            timeline: Timeline {
                delivered: at,
                claimed: at,
                power_on: at,
                dhcp: at,
                kernel: at,
                agent: at,
                wiped: at,
                ready: at,
                order: at,
                running: at,
                finished: at,
                off: at,
            },
        }
    }

    #[test]
    fn all_is_well_only_when_every_job_is() {
        let good = || job("one", "success", Some(1), Some("a"));
        let check = |jobs: Vec<JobSummary>, expect: &[&str]| {
            let mut summary = Summary {
                jobs,
                ..Summary::default()
            };
            summary.judge(true);
            assert_eq!(summary.problems, expect);
        };
        check(vec![good(), job("two", "success", Some(2), Some("b"))], &[]);
        check(
            vec![good(), job("two", "success", Some(2), Some("a"))],
            &["two shared a boot with one"],
        );
        check(
            vec![job("one", "failure", Some(1), Some("a"))],
            &["one ended as failure"],
        );
        check(
            vec![job("one", "success", None, Some("a"))],
            &["one has no valid receipt"],
        );
        check(
            vec![job("one", "success", Some(1), None)],
            &["one printed no boot id"],
        );
        let mut late = good();
        late.timeline.off = None;
        check(vec![late], &["one has no time for off"]);
    }

    #[test]
    fn nothing_is_not_well() {
        let mut summary = Summary::default();
        summary.judge(true);
        assert!(!summary.ok);
    }
}
