//! What time alone changes: idle registrations, lost runners, cancelled jobs
//! that nobody ends, jobs that wait too long.

use super::{Announcement, Conclusion, State, Status};
use crate::config::Limits;

/// Line that GitHub shows for such a job.
const LOST: &str = "The self-hosted runner lost communication with the server. Verify the machine \
                    is running and has a healthy network connection.";

fn older(then_ms: i64, limit_s: u64, now_ms: i64) -> bool {
    let limit_ms = i64::try_from(limit_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
    now_ms.saturating_sub(then_ms) >= limit_ms
}

impl State {
    /// Applies every limit at `now_ms`.
    pub fn sweep(&mut self, limits: &Limits, now_ms: i64) -> Vec<Announcement> {
        self.tokens.retain(|_, token| token.expires_ms > now_ms);
        self.runners.retain(|_, runner| {
            let seen_ms = runner
                .session
                .as_ref()
                .map_or(runner.created_ms, |it| it.seen_ms);
            runner.job.is_some() || !older(seen_ms, limits.jit_idle_s, now_ms)
        });
        let lost: Vec<u64> = self
            .runners
            .values()
            .filter(|runner| {
                let seen_ms = runner
                    .session
                    .as_ref()
                    .map_or(runner.created_ms, |it| it.seen_ms);
                older(seen_ms, limits.lost_runner_s, now_ms)
            })
            .filter_map(|runner| runner.job)
            .collect();
        let mut ended = Vec::new();
        for id in lost {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.log.push_back(LOST.to_owned());
            }
            ended.extend(self.end(id, Conclusion::Failure, now_ms));
        }
        let overdue: Vec<(u64, Conclusion)> = self
            .jobs
            .values()
            .filter_map(|job| match (job.status, job.cancel_ms) {
                (Status::InProgress, Some(since))
                    if older(since, limits.cancel_grace_s, now_ms) =>
                {
                    Some((job.id, Conclusion::Cancelled))
                }
                (Status::Queued, _) if older(job.created_ms, limits.queued_s, now_ms) => {
                    Some((job.id, Conclusion::Failure))
                }
                (Status::Queued | Status::InProgress | Status::Completed, _) => None,
            })
            .collect();
        for (id, conclusion) in overdue {
            ended.extend(self.end(id, conclusion, now_ms));
        }
        ended
    }
}
