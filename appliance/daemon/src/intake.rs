//! What every way in shares: the words of a delivery in those of the core,
//! submitted under its GUID.
//!
//! It verifies nothing: whoever calls vouches for the bytes. It decides
//! nothing: what a delivery means is for `control`.

use control::{DeliveryResult, Event, Hook, JobReport, Labels, Reply, RunReport, Source};
use messages::{DeliveryKey, HubId, RunnerId};
use sha2::{Digest, Sha256};

use crate::{
    engine::{Engine, EngineError},
    installations::Installations,
    payload::{self, JobAction, JobPayload, Payload, PayloadError, RunAction, RunPayload},
};

/// Longest delivery id that is looked at, in bytes. A GUID has 36.
const MAX_DELIVERY_ID: usize = 128;

/// A delivery whose truth somebody vouches for.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// Its id as GitHub writes it, for log lines.
    pub id: &'a str,
    /// The same as [`delivery_key`] gives it.
    pub key: DeliveryKey,
    /// The App that it is for.
    pub hub: HubId,
    /// How it came.
    pub source: Source,
    /// What it says.
    pub hook: Hook,
}

/// Why the core did not take a delivery: it must come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The queue is at its bound.
    #[error("the queue is full: come again")]
    Full,
    /// The disk takes nothing now, or the appliance stops.
    #[error("it cannot be stored now: come again")]
    NotStored,
}

/// Whether a delivery of this event (`X-GitHub-Event`) can change anything; of
/// its action too, where that is known. Others are not fetched from GitHub's log.
#[must_use]
pub fn is_of_use(event: &str, action: Option<&str>) -> bool {
    match event {
        "workflow_job" | "installation" | "installation_repositories" => true,
        "workflow_run" => action.is_none_or(|action| action == "completed"),
        _ => false,
    }
}

/// Reads a body of this event. What is of another installation says nothing; that
/// an installation changed is told to `ours`, and nothing to the core.
///
/// # Errors
/// [`PayloadError`], naming the field where there is one.
pub fn read(event: &str, body: &[u8], ours: &Installations) -> Result<Hook, PayloadError> {
    let payload = payload::parse(event, body)?;
    let (installation, repository) = match &payload {
        Payload::WorkflowJob(job) => (job.installation_id, job.repository.as_str()),
        Payload::WorkflowRun(run) => (run.installation_id, run.repository.as_str()),
        Payload::Installation(_) | Payload::Ping | Payload::Other => (None, ""),
    };
    if ours.is_foreign(installation) {
        tracing::info!(
            installation,
            repository,
            "a delivery of an installation that no pool uses"
        );
        return Ok(Hook::Other);
    }
    Ok(match payload {
        Payload::Installation(it) => {
            tracing::info!(
                action = %it.action, account = %it.account, installation = it.installation_id,
                "github: an installation of the app changed; asking for it anew",
            );
            ours.changed();
            Hook::Other
        }
        payload => hook(payload),
    })
}

/// Submits a delivery; the answer comes when it is on disk.
///
/// # Errors
/// [`NotTaken`]: nothing is remembered of it.
pub async fn submit(engine: &Engine, delivery: Delivery<'_>) -> Result<DeliveryResult, NotTaken> {
    let Delivery {
        id,
        key,
        hub,
        source,
        hook,
    } = delivery;
    let event = Event::Delivery {
        key,
        hub,
        source,
        hook,
    };
    match engine.submit(event).await {
        Ok(Reply::Delivery(DeliveryResult::Full)) => Err(NotTaken::Full),
        Ok(Reply::Delivery(result)) => {
            tracing::info!(delivery = id, ?source, result = result.as_str(), "delivery");
            Ok(result)
        }
        Ok(_) | Err(EngineError::NotStored | EngineError::Stopped) => Err(NotTaken::NotStored),
    }
}

/// GitHub's GUID as a number; any other id by its hash.
#[must_use]
pub fn delivery_key(id: &str) -> Option<DeliveryKey> {
    if id.is_empty() || id.len() > MAX_DELIVERY_ID {
        return None;
    }
    let digits: String = id.chars().filter(|c| *c != '-').collect();
    if id.len() == 36
        && digits.len() == 32
        && let Ok(number) = u128::from_str_radix(&digits, 16)
    {
        return Some(DeliveryKey(number));
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
    Some(DeliveryKey(u128::from_be_bytes(bytes)))
}

fn hook(payload: Payload) -> Hook {
    match payload {
        Payload::Ping => Hook::Ping,
        Payload::WorkflowRun(run) => Hook::Run(Box::new(run_report(&run))),
        // Nothing is decided by them.
        Payload::Installation(_) | Payload::Other => Hook::Other,
        Payload::WorkflowJob(job) => Hook::Job(Box::new(job_report(&job))),
    }
}

fn run_report(run: &RunPayload) -> RunReport {
    let ended = run.action == RunAction::Completed;
    RunReport {
        run_id: run.run_id,
        repository: run.repository.as_str().into(),
        conclusion: run
            .conclusion
            .filter(|_| ended)
            .map(|conclusion| conclusion.as_str().into()),
        page: page(run.html_url.as_deref()),
    }
}

/// A page that people may be sent to.
pub(crate) fn page(url: Option<&str>) -> Option<Box<str>> {
    url.filter(|url| url.starts_with("https://"))
        .map(Into::into)
}

/// GitHub's words in those of the core.
pub(crate) fn job_report(job: &JobPayload) -> JobReport {
    // A queued job may carry the runner of an earlier attempt.
    let runs = matches!(job.action, JobAction::InProgress | JobAction::Completed);
    let runner = job.runner_id.filter(|_| runs).map(|id| {
        (
            RunnerId(id),
            job.runner_name.as_deref().unwrap_or("(unnamed)").into(),
        )
    });
    JobReport {
        number: job.job_id,
        action: match job.action {
            JobAction::Queued => control::JobAction::Queued,
            JobAction::Waiting => control::JobAction::Waiting,
            JobAction::InProgress => control::JobAction::InProgress,
            JobAction::Completed => control::JobAction::Completed,
        },
        repository: job.repository.as_str().into(),
        name: job.name.as_str().into(),
        workflow: job.workflow_name.as_deref().unwrap_or_default().into(),
        run_id: job.run_id,
        run_attempt: job.run_attempt,
        labels: Labels::new(job.labels.iter().map(String::as_str)),
        group: job.runner_group_name.as_deref().map(Into::into),
        public: !job.private,
        ran_ms: job
            .started_at_ms
            .zip(job.completed_at_ms)
            .map(|(started, ended)| ended.saturating_sub(started)),
        runner,
        page: page(job.html_url.as_deref()),
        conclusion: job.conclusion.as_deref().map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_run_is_of_use() {
        for (event, action, used) in [
            ("workflow_job", Some("queued"), true),
            ("workflow_run", Some("completed"), true),
            ("workflow_run", Some("requested"), false),
            ("workflow_run", None, true),
            ("push", None, false),
        ] {
            assert_eq!(is_of_use(event, action), used, "{event} {action:?}");
        }
    }

    #[test]
    fn delivery_ids_are_told_apart() {
        let guid = delivery_key("72d3162e-cc78-11e3-81ab-4c9367dc0958").unwrap();
        assert_eq!(guid, DeliveryKey(0x72d3_162e_cc78_11e3_81ab_4c93_67dc_0958));
        assert_ne!(delivery_key("one"), delivery_key("two"));
        assert_eq!(delivery_key(""), None);
        assert_eq!(delivery_key(&"x".repeat(129)), None);
    }
}
