//! The checks can fail: each defect, built in on purpose, breaks an invariant
//! that is meant for it.

use std::collections::BTreeSet;

use musher_sim::{Defect, Options, run};

/// Worlds in which a defect must show at least once.
const WORLDS: u64 = 150;

fn check(defect: Defect, expect: &str) {
    let mut seen = BTreeSet::new();
    for seed in 0..WORLDS {
        let options = Options {
            defect: Some(defect),
            ..Options::default()
        };
        if let Err(failure) = run(seed, &options) {
            seen.insert(failure.violation.invariant);
            if failure.violation.invariant == expect {
                return;
            }
        }
    }
    panic!("{defect:?} did not break {expect} in {WORLDS} worlds, but {seen:?}");
}

#[test]
fn answering_before_the_commit_loses_jobs() {
    check(Defect::AnswerBeforeCommit, "acknowledged-is-kept");
}

#[test]
fn rows_that_miss_the_disk_show() {
    check(Defect::LoseRows, "load-equals-live");
}

#[test]
fn forgotten_delivery_ids_apply_twice() {
    check(Defect::ForgetDeliveryIds, "delivery-applied-once");
}

#[test]
fn an_unfenced_driver_turns_ended_boots_on() {
    check(Defect::NoFence, "edge-is-ours");
}

#[test]
fn a_name_minted_twice_shows() {
    check(Defect::MintTwice, "name-registered-once");
}

#[test]
fn a_restart_that_toggles_power_cuts_jobs() {
    check(Defect::RestartToggles, "live-job-is-not-cut");
}

#[test]
fn a_ticket_for_any_key_shows() {
    check(Defect::AnyKey, "ticket-one-key");
}

#[test]
fn a_made_up_wipe_shows() {
    check(Defect::ForgedWipe, "order-needs-wipe");
}

#[test]
fn an_order_for_whoever_polls_shows() {
    check(Defect::AnyOrder, "order-to-one-boot");
}

#[test]
fn a_lost_receipt_breaks_the_chain() {
    check(Defect::LoseReceipt, "receipt-chain");
}

#[test]
fn a_bmc_that_reads_off_while_on_shows() {
    check(Defect::ReadsOff, "off-is-proved");
}

#[test]
fn runners_left_behind_show() {
    check(Defect::KeepRunners, "drains");
}

#[test]
fn a_core_without_time_does_not_drain() {
    check(Defect::NoTicks, "drains");
}

#[test]
fn a_spinning_engine_shows() {
    check(Defect::Spin, "no-busy-loop");
}

/// The patches of `defects/run` go stale where the core is changed.
#[test]
fn every_patch_applies() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut hunks = 0;
    for entry in std::fs::read_dir(here.join("defects")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "patch") {
            continue;
        }
        let patch = std::fs::read_to_string(&path).unwrap();
        let mut source = String::new();
        for part in patch
            .split_inclusive('\n')
            .collect::<Vec<_>>()
            .chunk_by(|_, next| {
                !next.starts_with("+++ ") && !next.starts_with("@@ ") && !next.starts_with("--- ")
            })
        {
            let [head, lines @ ..] = part else { continue };
            if let Some(name) = head.strip_prefix("+++ b/") {
                let file = here.join("../..").join(name.trim_end());
                source = std::fs::read_to_string(file).unwrap();
            } else if head.starts_with("@@ ") {
                let old = |line: &&str| Some(line.strip_prefix([' ', '-'])?.to_owned());
                let old: String = lines.iter().filter_map(old).collect();
                assert!(
                    source.contains(&old),
                    "{} in {}",
                    head.trim_end(),
                    path.display()
                );
                hunks += 1;
            }
        }
    }
    assert!(hunks > 40, "{hunks}");
}
