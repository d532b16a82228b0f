//! Seeded worlds around `musher-control`: an engine with the discipline of the
//! real one, virtual sleds with BMCs, a virtual GitHub, people and forgers, all
//! in virtual time. A world is a function of its seed and options and nothing
//! else: it never reads a clock, the system's randomness, or the order of a
//! hash map. Each kind of fault ([`Fault`]) and the traffic ([`Model`]) draw
//! from generators of their own, so that one can be left out and the rest stays
//! nearly what it was: that is how a broken world is made smaller ([`shrink`]).
//!
//! Most worlds are small and last an hour; some have hundreds of sleds, some
//! last days. After a drawn time all faults end, and everything must settle.
//!
//! A history of many jobs with fixed faults and GitHub's delivery log is told by
//! [`replay`], and accounted for in a [`ReplayReport`].
//!
//! # Invariants
//! Checked at each commit, each act in the world, and at the end:
//!
//! | name | what holds |
//! | --- | --- |
//! | `one-claim-per-sled` | a claimed sled names its one boot, and no boot goes on without a claim |
//! | `generation-rises` | the claims of a sled are told apart by numbers that rise |
//! | `order-needs-wipe` | an order goes to, and a runner starts on, a machine that was wiped clean since it was powered on |
//! | `ticket-one-key` | all answers for one boot ticket go to one key |
//! | `order-to-one-boot` | a runner's config goes to one power-on of one machine and is started once |
//! | `one-run-per-power-on` | between two runs a machine was really off (or its first boot was given up because its BMC lied) |
//! | `live-job-is-not-cut` | a machine whose job GitHub runs is not turned off by us, unless the run is beyond its limit, the machine died in it, or messages for its ticket were forged |
//! | `edge-is-ours` | our driver turns a machine on only for the live boot of its newest claim |
//! | `changed-bmc-is-withheld` | no command of ours turns a machine on whose BMC's settings are not the adopted ones |
//! | `restart-causes-no-edge` | starting alone commands no power |
//! | `off-is-proved` | a boot ends only when its machine is off and its relay, where it has one, open (or a hand turned it on again, or its BMC lies at that moment and its agent is silent) |
//! | `order-meets-min-assurance` | a boot whose pool asks for a forced netboot gets an order only when its machine was really turned on by us with network boot set (or its BMC feigned that) |
//! | `caps-hold` | a pool holds no more sleds than its cap; where runners are minted for one repository, no claim takes it beyond its own |
//! | `power-budget` | no command of ours makes a circuit draw more than it bears |
//! | `circuit-starts` | a circuit starts no more sleds at a time, and none sooner after another, than it may |
//! | `shares-hold` | where runners are minted for one repository, a sled goes to who waits and has least for its weight |
//! | `priority-holds` | of the pools that a sled serves, the one with the highest priority gets it; waiting raises a pool's with time |
//! | `pause-holds` | a paused pool starts nothing |
//! | `withheld-gets-nothing` | no boot is started on a sled that is quarantined, drained, worked on or gone |
//! | `supply-is-owed` | a boot that may still be called off stands for a job that waits, or is warm |
//! | `offer-is-armed` | boot files are offered only for a boot on its way to its agent |
//! | `mint-is-late` | a runner is registered only for a wiped sled and a job |
//! | `proof-runs-apart` | a sled that proves itself gets the run that was dispatched for it and nothing else; no other sled gets that |
//! | `accepted-by-success` | what a sled owes before it serves is settled by its run's success or by people |
//! | `dispatched-once` | no run is dispatched twice for one label |
//! | `quarantine-has-reason` | a withheld sled says why |
//! | `delivery-applied-once` | a delivery id changes the state once |
//! | `acknowledged-is-kept` | an acknowledged job is in the state after every start |
//! | `job-forward-only` | a job's state never goes back |
//! | `receipt-chain` | one receipt per ended boot, each naming the hash of the one before, all signed in the end |
//! | `name-registered-once` | a runner's name is registered once, ever |
//! | `load-equals-live` | what is on disk loads into what is in memory |
//! | `no-busy-loop` | turns per virtual minute are bounded |
//! | `no-starvation` | after the faults end: no job waits for long while a sled that may serve it rests |
//! | `no-power-oscillation` | after the faults end: power-ons are bounded by the jobs that are left |
//! | `drains` | after the faults end: each job has ended or waits for withheld sleds only; each sled is off or withheld with a reason; no runner is registered; the outbox is empty |

mod checks;
mod day;
mod defect;
mod engine;
mod faults;
mod github;
mod machine;
mod many;
mod options;
mod picture;
mod random;
mod replay;
mod report;
mod shrink;
mod traffic;
mod world;

pub use checks::Violation;
pub use day::{Mark, Record, Sample, Standing};
pub use defect::Defect;
pub use faults::{Fault, FaultSet};
pub use many::run_all;
pub use options::{Boundary, Kept, Options, Shape};
pub use picture::draw_day;
pub use replay::{LogEntry, LogPage, LogReader, Repairs, Replay, ReplayReport};
pub use report::{report, report_briefly};
pub use shrink::{Shrunk, shrink};
pub use traffic::Model;
pub use world::{Failure, Summary, replay, run, run_recorded};
