//! What is on the disk stands for what is in memory, and the receipts on it
//! are one chain.

use control::{State, TableId};
use messages::{Digest, ReceiptRecord, SignedReceipt, decode};

use super::{Checked, broken};
use crate::engine::Engine;

/// What people see, but for why jobs wait: that may be an outage, which is
/// found anew after a start.
fn shown(state: &State, now: messages::Millis) -> control::StatusView {
    let mut status = state.status(now, 1000);
    for job in &mut status.jobs {
        job.reason = job.reason.take().filter(|_| job.state != "queued");
    }
    status
}

/// `load-equals-live`: what is on disk stands for what is in memory.
pub(crate) fn round_trip(engine: &Engine, live: &State) -> Checked {
    live.check_indexes()
        .map_err(|table| broken("load-equals-live", format!("the index of {table}")))?;
    let loaded = engine
        .load()
        .map_err(|error| broken("load-equals-live", error))?;
    let now = messages::Millis(0);
    let all = messages::Millis(u64::MAX);
    let parts = [
        ("sleds", live.sleds().eq(loaded.sleds())),
        ("boots", live.boots().eq(loaded.boots())),
        ("jobs", live.jobs().eq(loaded.jobs())),
        ("receipts", live.receipt_head() == loaded.receipt_head()),
        ("effects", live.due_effects(all).eq(loaded.due_effects(all))),
    ];
    if let Some((part, _)) = parts.iter().find(|(_, same)| !same) {
        let mut rows = live.boots().zip(loaded.boots());
        let boots = rows.find(|(here, there)| here != there);
        return Err(broken(
            "load-equals-live",
            format!("the disk and memory differ in their {part}; boots: {boots:#?}"),
        ));
    }
    let (here, there) = (shown(live, now), shown(&loaded, now));
    if format!("{here:?}") == format!("{there:?}") {
        return Ok(());
    }
    let (here, there) = (format!("{here:#?}"), format!("{there:#?}"));
    let differing = here.lines().zip(there.lines()).find(|(a, b)| a != b);
    Err(broken(
        "load-equals-live",
        format!("what is shown differs (memory, disk): {differing:?}"),
    ))
}

/// `receipt-chain`, of everything on the disk.
pub(crate) fn chain_on_disk(engine: &Engine, receipts: u64) -> Checked {
    let mut previous = Digest([0; 32]);
    let mut count = 0;
    for ((_, key), body) in engine
        .disk
        .iter()
        .filter(|((table, _), _)| *table == TableId::Receipts)
    {
        let Ok(ReceiptRecord::V1(receipt) | ReceiptRecord::Metered(receipt, _)) = decode(body)
        else {
            return Err(broken("receipt-chain", "a stored receipt cannot be read"));
        };
        count += 1;
        if receipt.previous != previous
            || receipt.sequence != count
            || *key != count.to_be_bytes().to_vec()
        {
            return Err(broken("receipt-chain", format!("it breaks at {count}")));
        }
        previous = SignedReceipt::chain_hash(body);
        let signature = (TableId::Signatures, key.clone());
        if !engine.disk.contains_key(&signature) {
            return Err(broken("receipt-chain", format!("{count} is not signed")));
        }
    }
    if count != receipts {
        return Err(broken(
            "receipt-chain",
            format!("{count} of {receipts} receipts are stored"),
        ));
    }
    Ok(())
}
