//! Retention: what ended leaves after a time, and the gap that a receipt leaves
//! is on the record.
//!
//! Ended jobs and boots are history for people to look at: beyond their number
//! or age they go. Receipts are proof, so each goes only when the operator set
//! a bound, and then only once a person has a copy of it. Their chain then goes
//! on with an epoch record, signed like a receipt, that says where it now
//! begins: a gap is seen, and seen to be meant.

use alloc::{format, vec::Vec};

use messages::{Digest, Epoch, EpochCause, Millis, ReceiptRecord, SignedReceipt};

use crate::{Effect, Effects, boots, effect::AgedReceipts, jobs, persist, state::State};

/// How often receipts that may leave are looked for, in milliseconds.
const LOOK_MS: u64 = 24 * 60 * 60 * 1000;

/// Receipts that leave in one transaction.
const AT_ONCE: u64 = 10_000;

/// Lets history that is too old go, and asks for receipts that are.
pub(crate) fn tick(state: &mut State, now: Millis, fx: &mut Effects) {
    jobs::forget_ended(state, now);
    boots::forget_ended(state, now);
    let first_day = now.since(state.started) < LOOK_MS;
    if !first_day && state.retained.is_none_or(|last| now.since(last) >= LOOK_MS) {
        state.retained = Some(now);
        fx.aged_receipts = wanted(state, now);
    }
}

/// Which receipts may leave: the engine finds the last one of them.
fn wanted(state: &State, now: Millis) -> Option<AgedReceipts> {
    let (limits, meta) = (&state.limits, state.meta());
    if limits.receipts == 0 && limits.receipts_ms == 0 {
        return None;
    }
    // The newest one always stays: the next is chained to it.
    let at_most = meta.exported.min(meta.receipts.saturating_sub(1));
    let surplus = match limits.receipts {
        0 => 0,
        keep => meta.receipts.saturating_sub(keep),
    };
    let made_before = match limits.receipts_ms {
        0 => Millis(0),
        span => Millis(now.0.saturating_sub(span)),
    };
    (meta.first_receipt <= at_most).then_some(AgedReceipts {
        first: meta.first_receipt,
        made_before,
        surplus,
        at_most: at_most.min(meta.first_receipt.saturating_add(AT_ONCE - 1)),
    })
}

/// Receipts up to `through`, whose chain hash is `before`, may leave.
pub(crate) fn remove(
    state: &mut State,
    now: Millis,
    through: u64,
    before: Digest,
    fx: &mut Effects,
) {
    let first = state.meta().first_receipt;
    let allowed = wanted(state, now).is_some_and(|asked| through <= asked.at_most);
    if through < first || !allowed {
        return;
    }
    for sequence in first..=through {
        state.appended.extend(persist::no_receipt(sequence));
    }
    let sequence = state.meta().receipts + 1;
    let epoch = Epoch {
        sequence,
        previous: state.meta().last_receipt,
        appliance: state.appliance,
        made_at: now,
        cause: EpochCause::Retention,
        first: through + 1,
        before,
    };
    let body = ReceiptRecord::Epoch(epoch).to_bytes();
    let digest = SignedReceipt::chain_hash(&body);
    state.append_receipt(now, sequence, body, digest);
    state.count(|meta| meta.first_receipt = through + 1);
    // There may be more.
    state.retained = None;
    let detail = format!("{first} to {through}; record {sequence} says so");
    state.audit(fx, "audit.receipts.removed", None, detail);
}

/// A person has a copy of every receipt up to `through`.
pub(crate) fn exported(state: &mut State, through: u64) {
    let through = through.min(state.meta().receipts);
    if through > state.meta().exported {
        state.count(|meta| meta.exported = through);
    }
}

/// The oldest entries of what ended: beyond `most` in number, or from before
/// `since`.
pub(crate) fn leaving<T: Copy>(
    ended: impl ExactSizeIterator<Item = (Millis, T)>,
    most: usize,
    since: Millis,
) -> Vec<T> {
    let surplus = ended.len().saturating_sub(most);
    ended
        .enumerate()
        .take_while(|(index, (at, _))| *index < surplus || *at < since)
        .map(|(_, (_, id))| id)
        .collect()
}

/// Since when history is kept. An appliance that started with a wrong clock takes
/// everything for old: nothing leaves by age on its first day, so that there is
/// time to mend it.
pub(crate) const fn since(state: &State, now: Millis) -> Millis {
    if now.since(state.started) < LOOK_MS {
        return Millis(0);
    }
    Millis(now.0.saturating_sub(state.limits.history_ms))
}

impl State {
    /// Appends a record to the chain of receipts; its signature follows.
    pub(crate) fn append_receipt(
        &mut self,
        now: Millis,
        sequence: u64,
        body: Vec<u8>,
        digest: Digest,
    ) {
        self.appended.push(persist::receipt(sequence, body));
        self.count(|meta| {
            meta.receipts = sequence;
            meta.last_receipt = digest;
        });
        self.push_effect(now, Effect::SignReceipt { sequence, digest });
    }
}
