//! What boots draw: readings of power, taken together to joules.

use messages::{BootId, Energy, Millis, PowerMeter, SledId};

use crate::{rows::Power, state::State};

/// Between readings further apart than this nothing is assumed, in milliseconds.
const GAP_MS: u64 = 60_000;

/// A boot's readings so far. It lives in memory: after a restart a boot is
/// measured from then on, and its receipt says for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    last: (Millis, u32),
    millijoules: u64,
    measured_ms: u64,
    meter: PowerMeter,
}

/// A sled draws so many watts now.
pub(crate) fn read(state: &mut State, now: Millis, sled: SledId, watts: u32, meter: PowerMeter) {
    let claimed = state.sleds.get(sled).map(|sled| &sled.power);
    let Some(Power::Claimed { boot }) = claimed else {
        return;
    };
    let fresh = Meter {
        last: (now, watts),
        millijoules: 0,
        measured_ms: 0,
        meter,
    };
    let known = state.meters.entry(*boot).or_insert(fresh);
    let (since, before) = known.last;
    let span = now.since(since);
    if span <= GAP_MS && known.meter == meter {
        // Watts times milliseconds are millijoules; half of the sum of two.
        let both = u64::from(before) + u64::from(watts);
        known.millijoules = known.millijoules.saturating_add(both * span / 2);
        known.measured_ms += span;
    }
    known.last = (now, watts);
}

/// What a boot drew that is off now.
pub(crate) fn take(state: &mut State, boot: BootId) -> Option<Energy> {
    let meter = state.meters.remove(&boot)?;
    (meter.measured_ms > 0).then_some(Energy {
        joules: meter.millijoules / 1000,
        measured_ms: meter.measured_ms,
        meter: meter.meter,
    })
}
