//! Receipts: what one boot was, chained to the one before.

use messages::{
    BootId, JobRef, Millis, Observed, Outcome, Receipt, ReceiptRecord, Reported, SignedReceipt,
};

use crate::{
    Effects,
    rows::{Boot, BootStage, Conclusion},
    state::State,
};

/// Makes the receipt of a boot that was proved off. Its signature follows as
/// an effect; the chain is fixed by this commit already.
pub(crate) fn make(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) {
    let Some(boot) = state.boots.get(id) else {
        return;
    };
    debug_assert!(boot.stage == BootStage::Ended && boot.times.off.is_some());
    let Some(sled) = state.sleds.get(boot.sled) else {
        return;
    };
    let sequence = state.meta().receipts + 1;
    let receipt = Receipt {
        sequence,
        previous: state.meta().last_receipt,
        appliance: state.appliance,
        made_at: now,
        sled: sled.name.as_ref().into(),
        mac: sled.mac,
        boot: id,
        generation: boot.generation,
        pool: state
            .pools
            .get(boot.pool)
            .map(|pool| pool.name.clone())
            .unwrap_or_default(),
        assurance: boot.assurance(),
        outcome: boot.outcome.clone().unwrap_or(Outcome::Ran),
        runner_name: boot.runner.as_ref().map(|runner| runner.name.clone()),
        runner_id: boot.runner.as_ref().and_then(|runner| runner.id),
        job: job_ref(state, boot),
        observed: observed(boot),
        reported: Reported {
            inventory: boot.inventory.clone(),
            wipe: boot.wipe.clone(),
            end: boot.end.clone(),
        },
    };
    let record = match boot.energy {
        Some(energy) => ReceiptRecord::Metered(receipt, energy),
        None => ReceiptRecord::V1(receipt),
    };
    let body = record.to_bytes();
    let digest = SignedReceipt::chain_hash(&body);
    state.append_receipt(now, sequence, body, digest);
    if let Some(mut boot) = state.boots.get_mut(id) {
        boot.receipt = Some(sequence);
    }
    state.audit(
        fx,
        "audit.receipt.made",
        Some(id),
        alloc::format!("receipt {sequence}"),
    );
}

fn observed(boot: &Boot) -> Observed {
    Observed {
        power_on_at: boot.times.power_on.filter(|_| boot.power_edge),
        boot_override_confirmed: boot.override_confirmed,
        dhcp_at: boot.times.dhcp,
        kernel_at: boot.times.kernel,
        hello_at: boot.times.agent,
        wiped_at: boot.times.wiped,
        order_at: boot.times.order,
        off_at: boot.times.off,
        power_cut: boot.power_cut,
        kernel_digest: boot.image.kernel,
        initramfs_digest: boot.image.initramfs,
        image_digest: boot.image.rootfs.digest,
    }
}

fn job_ref(state: &State, boot: &Boot) -> Option<JobRef> {
    let id = boot.job?;
    let job = state.jobs.get(id)?;
    Some(JobRef {
        number: id.number,
        repository: job.repository.as_ref().into(),
        name: job.name.as_ref().into(),
        conclusion: match &job.conclusion {
            Some(Conclusion::Said(word)) => Some(word.as_ref().into()),
            Some(Conclusion::Silent) | None => None,
        },
    })
}
