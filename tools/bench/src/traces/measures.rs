//! Waits and fairness of one policy on one trace, as the module above defines
//! them.

use super::models::{REPOSITORIES, Trace};

/// How well one policy served one trace.
pub(crate) struct Measures {
    /// Of all jobs, least first, in milliseconds.
    pub(crate) waits_ms: Vec<u64>,
    /// Of the jobs of light repositories.
    pub(crate) light_waits_ms: Vec<u64>,
    /// Jain's index.
    pub(crate) jain: f64,
}

impl Measures {
    /// From the times at which jobs started.
    pub(crate) fn new(trace: &Trace, starts_ms: &[u64]) -> Self {
        let is_light = light(&trace.work_ms());
        let (mut waits_ms, mut light_waits_ms) = (Vec::new(), Vec::new());
        for (job, start) in trace.jobs.iter().zip(starts_ms) {
            let wait = start.saturating_sub(job.created_ms);
            waits_ms.push(wait);
            if is_light[job.repository] {
                light_waits_ms.push(wait);
            }
        }
        waits_ms.sort_unstable();
        light_waits_ms.sort_unstable();
        let ratios = got_over_due(trace, starts_ms);
        Self {
            waits_ms,
            light_waits_ms,
            jain: jain(&ratios),
        }
    }
}

/// The value that `percent` of a hundred do not exceed (nearest rank).
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// The half of the repositories with the least work.
fn light(work_ms: &[u64]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..work_ms.len()).collect();
    order.sort_by_key(|&index| work_ms[index]);
    let mut light = vec![false; work_ms.len()];
    for &index in &order[..order.len() / 2] {
        light[index] = true;
    }
    light
}

/// (Σx)² / (n Σx²).
#[allow(clippy::cast_precision_loss)] // 30 of them
fn jain(ratios: &[f64]) -> f64 {
    let sum: f64 = ratios.iter().sum();
    let squares: f64 = ratios.iter().map(|x| x * x).sum();
    sum * sum / (ratios.len() as f64 * squares)
}

/// For each repository with jobs: the sled-time that it got, over the sled-time
/// that was its max-min fair share.
fn got_over_due(trace: &Trace, starts_ms: &[u64]) -> Vec<f64> {
    // Every change: time, repository, and what it adds to present and running.
    let mut changes = Vec::with_capacity(3 * trace.jobs.len());
    for (job, start) in trace.jobs.iter().zip(starts_ms) {
        changes.push((job.created_ms, job.repository, 1, 0));
        changes.push((*start, job.repository, 0, 1));
        changes.push((start + job.run_ms, job.repository, -1, -1));
    }
    changes.sort_unstable();
    let mut present = [0i32; REPOSITORIES];
    let mut running = [0i32; REPOSITORIES];
    let (mut got, mut due) = (vec![0.0; REPOSITORIES], vec![0.0; REPOSITORIES]);
    let mut before = 0;
    for (at, repository, arrives, runs) in changes {
        if at > before {
            #[allow(clippy::cast_precision_loss)] // far below 2^52
            let span = (at - before) as f64;
            let shares = fair_shares(&present, running.iter().sum());
            for index in 0..REPOSITORIES {
                got[index] += span * f64::from(running[index]);
                due[index] += span * shares[index];
            }
            before = at;
        }
        present[repository] += arrives;
        running[repository] += runs;
    }
    let pairs = got.into_iter().zip(due);
    let served = pairs.filter(|(_, due)| *due > 0.0);
    served.map(|(got, due)| got / due).collect()
}

/// Shares `sleds` out max-min fairly: in equal parts, nobody more than it
/// wants, what is left over in equal parts again.
fn fair_shares(wanted: &[i32], sleds: i32) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&index| wanted[index]);
    let mut shares = vec![0.0; wanted.len()];
    let mut left = f64::from(sleds);
    for (place, &index) in order.iter().enumerate() {
        let others = u32::try_from(order.len() - place).unwrap_or(1);
        let share = f64::from(wanted[index]).min(left / f64::from(others));
        shares[index] = share;
        left -= share;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let check = |percent, expect| {
            let values: Vec<u64> = (1..=20).collect();
            assert_eq!(percentile(&values, percent), expect, "{percent}");
        };
        check(50, 10);
        check(95, 19);
        check(99, 20);
        check(100, 20);
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn fair_shares_leave_nothing_that_is_wanted() {
        let check = |wanted: &[i32], sleds, expect: &[f64]| {
            assert_eq!(fair_shares(wanted, sleds), expect, "{wanted:?}");
        };
        check(&[10, 10], 8, &[4.0, 4.0]);
        check(&[1, 10, 10], 9, &[1.0, 4.0, 4.0]);
        check(&[0, 2, 3], 9, &[0.0, 2.0, 3.0]);
    }

    #[test]
    fn the_index_is_one_for_equals_and_a_share_for_one_alone() {
        assert!((jain(&[0.7, 0.7, 0.7]) - 1.0).abs() < 1e-12);
        assert!((jain(&[1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-12);
    }
}
