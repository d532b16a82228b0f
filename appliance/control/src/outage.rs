//! Failures that many sleds share. When several fail one after the other and
//! none gets through, the network, the BMCs' network or GitHub is out, and no
//! sled is to blame: failures do not count against it, and sleds are tried one
//! at a time until one gets through.

use alloc::{collections::BTreeMap, format};

use messages::{Millis, SledId};

use crate::{Effects, boots, rows::BootStage, state::State};

/// So many sleds in a row say that it is not them.
const SLEDS: usize = 3;

/// Failures further apart than this have nothing to do with each other.
const TOGETHER_MS: u64 = 30 * 60 * 1000;

/// Between two sleds that are tried during an outage, and as much again at
/// most, so that appliances that share a cause do not share a rhythm.
const PROBE_MS: u64 = 30_000;

/// What failed since a sled last got through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outage {
    /// When each sled failed, and how far it had come.
    failed: BTreeMap<SledId, (Millis, u32)>,
    next_probe: Option<Millis>,
}

impl Outage {
    /// When the next sled may be tried, in an outage.
    pub(crate) const fn next_probe(&self) -> Option<Millis> {
        self.next_probe
    }
}

/// Whether a failure in this stage may have a cause outside the sled. A wipe
/// needs nobody else.
const fn may_be_shared(stage: &BootStage) -> bool {
    matches!(
        stage,
        BootStage::PoweringOn | BootStage::Netbooting | BootStage::Ordered | BootStage::Running
    )
}

/// A boot failed; whether that counts against its sled.
pub(crate) fn failed(
    state: &mut State,
    now: Millis,
    sled: SledId,
    stage: &BootStage,
    fx: &mut Effects,
) -> bool {
    if !may_be_shared(stage) {
        return true;
    }
    let sleds = state.sleds.iter();
    let in_service = sleds.filter(|(_, sled)| sled.may_boot()).count();
    let outage = &mut state.outage;
    // An outage lasts until a sled gets through, however long that takes.
    let lasts = outage.next_probe.is_some();
    outage
        .failed
        .retain(|_, (at, _)| lasts || now.since(*at) < TOGETHER_MS);
    outage
        .failed
        .insert(sled, (now, boots::stage_progress(stage)));
    // A rack of two can only say so together; a single sled never.
    if !lasts && outage.failed.len() < SLEDS.min(in_service.max(2)) {
        return true;
    }
    if outage.next_probe.is_none() {
        let detail = format!(
            "{} sleds failed one after the other and none got through: look at the sled network, the BMCs' network and GitHub; sleds are tried one at a time until one gets through",
            outage.failed.len()
        );
        outage.next_probe = Some(now);
        state.audit(fx, "audit.outage.begin", None, detail);
    }
    probe(state, now, fx);
    false
}

/// A sled is tried: the next one has to wait.
pub(crate) fn probe(state: &mut State, now: Millis, fx: &mut Effects) {
    if state.outage.next_probe.is_some() {
        let jitter = u64::from(fx.random()[0]) * PROBE_MS / 256;
        state.outage.next_probe = Some(now.after(PROBE_MS + jitter));
    }
}

/// A sled came as far as `progress`: what failed before that had a cause that
/// is gone.
pub(crate) fn got_through(state: &mut State, progress: u32, fx: &mut Effects) {
    let outage = &mut state.outage;
    outage.failed.retain(|_, (_, failed)| *failed >= progress);
    if outage.failed.is_empty() && outage.next_probe.take().is_some() {
        state.due_pools.extend(state.pools.keys());
        let detail = "a sled got through".into();
        state.audit(fx, "audit.outage.end", None, detail);
    }
}
