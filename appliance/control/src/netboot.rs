//! What a sled that asks to boot is given: something only with a live ticket.

use alloc::format;

use messages::{BootId, Millis, SledId, TicketToken};

use crate::{
    BootAnswer, BootFile, BootOffer, BootQuestion, Effects,
    rows::{Boot, BootStage, Power},
    state::State,
};

const NOT_ARMED: &str = "no boot is due for this sled";

/// A sled that is held asks again every few seconds: it is noted this often.
const HELD_AUDIT_MS: u64 = 60_000;

/// Answers a question of a sled's firmware or boot loader.
pub(crate) fn answer(
    state: &mut State,
    now: Millis,
    question: BootQuestion,
    fx: &mut Effects,
) -> BootAnswer {
    match question {
        BootQuestion::Dhcp { mac, wants_boot } => match state.sleds.index().by_mac(mac) {
            None => BootAnswer::Unknown,
            Some(_) if !wants_boot => BootAnswer::Lease,
            Some(sled) => offer(state, now, sled, fx),
        },
        BootQuestion::Loader { mac } => match state.sleds.index().by_mac(mac) {
            None => BootAnswer::Unknown,
            Some(sled) => offer(state, now, sled, fx),
        },
        BootQuestion::File { ticket, file } => fetch(state, now, ticket, file),
        BootQuestion::Image { ticket, digest } => {
            let allowed = state
                .boot_of_ticket(ticket)
                .and_then(|id| state.boots.get(id))
                .is_some_and(|boot| {
                    boot.key.is_some()
                        && boot.image.rootfs.digest == digest
                        && matches!(
                            boot.stage,
                            BootStage::Wiping | BootStage::Ready | BootStage::Ordered
                        )
                });
            if allowed {
                BootAnswer::Lease
            } else {
                BootAnswer::Refused(NOT_ARMED)
            }
        }
    }
}

/// Whether a boot's ticket still fetches boot files.
fn is_armed(boot: &Boot, now: Millis) -> bool {
    boot.key.is_none()
        && now <= boot.deadline
        && matches!(boot.stage, BootStage::PoweringOn | BootStage::Netbooting)
}

fn claimed_boot(state: &State, sled: SledId) -> Option<(BootId, &Boot)> {
    match state.sleds.get(sled)?.power {
        Power::Claimed { boot } => state.boots.get(boot).map(|row| (boot, row)),
        Power::Off { .. } | Power::Unknown { .. } => None,
    }
}

fn offer(state: &mut State, now: Millis, sled: SledId, fx: &mut Effects) -> BootAnswer {
    let armed = claimed_boot(state, sled).filter(|(_, boot)| is_armed(boot, now));
    let Some((id, boot)) = armed else {
        let last = state.held.get(&sled);
        if last.is_none_or(|last| now.since(*last) >= HELD_AUDIT_MS) {
            state.held.insert(sled, now);
            let name = state.sled_name(sled).map(Into::into);
            fx.audit.push(crate::Audit {
                name: "audit.sled.held",
                sled: name,
                boot: None,
                job: None,
                detail: format!("it asked to boot, but {NOT_ARMED}"),
            });
        }
        return BootAnswer::Held(NOT_ARMED);
    };
    let offer = BootOffer {
        ticket: boot.ticket,
        image: boot.image.clone(),
    };
    // Network boot was forced for one start. A sled that has its kernel and
    // asks again started once more, from wherever it liked.
    if boot.times.kernel.is_some() && boot.override_confirmed {
        if let Some(mut boot) = state.boots.get_mut(id) {
            boot.override_confirmed = false;
        }
        let detail = "it asked to boot again after it had its kernel: its start counts as claimed";
        state.audit(fx, "audit.boot.again", Some(id), detail.into());
    }
    let Some(boot) = state.boots.get(id) else {
        return BootAnswer::Held(NOT_ARMED);
    };
    if boot.times.dhcp.is_none()
        && let Some(mut boot) = state.boots.get_mut(id)
    {
        boot.times.dhcp = Some(now);
    }
    BootAnswer::Offer(offer)
}

fn fetch(state: &mut State, now: Millis, ticket: TicketToken, file: BootFile) -> BootAnswer {
    let Some(id) = state.boot_of_ticket(ticket) else {
        return BootAnswer::Refused("this boot ticket is not known");
    };
    let Some(boot) = state.boots.get(id) else {
        return BootAnswer::Refused(NOT_ARMED);
    };
    if !is_armed(boot, now) {
        return BootAnswer::Refused("this boot ticket was redeemed or is over");
    }
    let offer = BootOffer {
        ticket,
        image: boot.image.clone(),
    };
    if file == BootFile::Kernel
        && boot.times.kernel.is_none()
        && let Some(mut boot) = state.boots.get_mut(id)
    {
        boot.times.kernel = Some(now);
    }
    BootAnswer::Offer(offer)
}
