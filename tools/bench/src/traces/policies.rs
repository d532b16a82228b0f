//! The two policies beside ours, without any core: each is a queue before some
//! sleds, served in the order in which jobs came.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::models::{REPOSITORIES, Trace};

/// What a boot costs beside the job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overhead {
    /// From a job's creation until a free sled runs it.
    pub(crate) before_ms: u64,
    /// From its end until the sled may be turned on again.
    pub(crate) after_ms: u64,
}

/// First in, first out over all repositories: when each job starts.
pub(crate) fn first_come(trace: &Trace, sleds: usize, overhead: Overhead) -> Vec<u64> {
    serve(trace, &mut [rack(sleds)], |_| 0, overhead)
}

/// Each repository has sleds of its own, by [`shares`].
pub(crate) fn fixed_split(trace: &Trace, sleds: usize, overhead: Overhead) -> Vec<u64> {
    let shares = shares(&trace.work_ms(), sleds);
    let mut racks: Vec<_> = shares.into_iter().map(rack).collect();
    serve(trace, &mut racks, |repository| repository, overhead)
}

/// Times at which sleds are free.
type Rack = BinaryHeap<Reverse<u64>>;

fn rack(sleds: usize) -> Rack {
    (0..sleds).map(|_| Reverse(0)).collect()
}

fn serve(
    trace: &Trace,
    racks: &mut [Rack],
    rack_of: impl Fn(usize) -> usize,
    overhead: Overhead,
) -> Vec<u64> {
    let jobs = trace.jobs.iter();
    jobs.map(|job| {
        let rack = &mut racks[rack_of(job.repository)];
        let Reverse(free) = rack.pop().expect("a rack has a sled");
        let start = free.max(job.created_ms) + overhead.before_ms;
        rack.push(Reverse(start + job.run_ms + overhead.after_ms));
        start
    })
    .collect()
}

/// The best fixed split that there is for someone who knows all of the load
/// beforehand: one sled each, and every further one to whoever has most work
/// per sled (D'Hondt).
fn shares(work_ms: &[u64], sleds: usize) -> Vec<usize> {
    assert!(sleds >= REPOSITORIES, "a repository would have no sled");
    let mut shares = vec![1; work_ms.len()];
    for _ in work_ms.len()..sleds {
        let neediest = (0..shares.len()).max_by(|&a, &b| {
            let (left, right) = (work_ms[a] * shares[b] as u64, work_ms[b] * shares[a] as u64);
            left.cmp(&right).then(b.cmp(&a))
        });
        if let Some(neediest) = neediest {
            shares[neediest] += 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleds_go_where_the_work_is() {
        let mut work = vec![1; REPOSITORIES];
        work[4] = 900;
        work[7] = 500;
        let shares = shares(&work, REPOSITORIES + 3);
        assert_eq!(shares.iter().sum::<usize>(), REPOSITORIES + 3);
        assert_eq!((shares[4], shares[7], shares[0]), (3, 2, 1));
    }

    #[test]
    fn one_sled_serves_in_order() {
        let overhead = Overhead {
            before_ms: 50,
            after_ms: 5,
        };
        let starts = first_come(&Trace::even(3, 10, 100), 1, overhead);
        assert_eq!(starts, [60_050, 60_205, 60_360]);
    }
}
