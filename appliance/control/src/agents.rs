//! What agents say, and what they are told.
//!
//! A ticket is redeemed by one key. The same key asking again gets the same
//! answer, because answers get lost; another key is an attack.

use alloc::{
    format,
    string::{String, ToString},
};

use messages::{
    AgentKey, AgentMessage, BootId, BootPlan, Instruction, Inventory, Millis, Outcome, RunEnd,
    RunExit, Stage, TicketToken, WipeReport,
};

use crate::{
    AgentReply, Effects, acceptance,
    boots::{self, Off},
    holds, outage,
    rows::BootStage,
    state::State,
};

/// Takes one message of an agent whose signature was verified.
pub(crate) fn hear(
    state: &mut State,
    now: Millis,
    ticket: TicketToken,
    key: AgentKey,
    message: AgentMessage,
    fx: &mut Effects,
) -> AgentReply {
    let Some(id) = state.boot_of_ticket(ticket) else {
        return AgentReply::Refused("this boot ticket is not known");
    };
    let Some(boot) = state.boots.get(id) else {
        return AgentReply::Refused("this boot ticket is over");
    };
    match boot.key {
        Some(redeemer) if redeemer != key => return attacked(state, now, id, fx),
        Some(_) => {}
        None => {
            let AgentMessage::Hello(_) = message else {
                return AgentReply::Refused("this boot ticket was not redeemed: say hello first");
            };
            if !matches!(boot.stage, BootStage::PoweringOn | BootStage::Netbooting) {
                return AgentReply::Refused("this boot ticket is over");
            }
        }
    }
    // Words after the end must not be remembered for ever.
    if boot.stage != BootStage::Ended {
        state.heard.insert(id, now);
    }
    let instruction = match message {
        AgentMessage::Hello(inventory) => hello(state, now, id, key, inventory, fx),
        AgentMessage::Wiped(report) => wiped(state, now, id, report, fx),
        AgentMessage::Poll => return poll(state, now, id, fx),
        AgentMessage::Accepted { runner_name } => accepted(state, now, id, &runner_name, fx),
        AgentMessage::Log { .. } => log(state, id),
        AgentMessage::Finished(end) => finished(state, now, id, end, fx),
        AgentMessage::Failed { stage, reason } => failed(state, now, id, stage, &reason, fx),
    };
    AgentReply::Instruction {
        boot: id,
        instruction,
    }
}

fn power_off(reason: &str) -> Instruction {
    Instruction::PowerOff {
        reason: reason.to_string(),
    }
}

/// A second redeemer: whoever came first may be the false one, so nothing of
/// this boot is trusted any more.
fn attacked(state: &mut State, now: Millis, id: BootId, fx: &mut Effects) -> AgentReply {
    let refusal = AgentReply::Refused("this boot ticket was redeemed by another agent");
    let Some(boot) = state.boots.get(id) else {
        return refusal;
    };
    if boot.stage == BootStage::Ended {
        return refusal;
    }
    let sled = boot.sled;
    let reason = "two agents claimed the same boot: look for a second machine with this sled's address on the sled network, then release it";
    state.audit(fx, "audit.boot.two_redeemers", Some(id), reason.to_string());
    boots::quarantine(state, now, sled, reason.to_string(), fx);
    // One that is going off has failed or ended once already.
    if !matches!(
        state.boots.get(id).map(|boot| &boot.stage),
        Some(BootStage::PoweringOff { .. })
    ) {
        boots::fail(state, now, id, reason, Off::Cut, fx);
    }
    refusal
}

fn hello(
    state: &mut State,
    now: Millis,
    id: BootId,
    key: AgentKey,
    inventory: Inventory,
    fx: &mut Effects,
) -> Instruction {
    let Some(boot) = state.boots.get(id) else {
        return power_off("this boot is over");
    };
    match boot.stage {
        BootStage::PoweringOn | BootStage::Netbooting => {
            let Some(mut boot) = state.boots.get_mut(id) else {
                return power_off("this boot is over");
            };
            boot.key = Some(key);
            boot.times.agent = Some(now);
            boot.inventory = Some(inventory);
            drop(boot);
            boots::enter(state, now, id, BootStage::Wiping);
            if let Some(progress) = state.boots.get(id).map(boots::progress) {
                outage::got_through(state, progress, fx);
            }
            state.audit(fx, "audit.boot.redeemed", Some(id), format!("key {key}"));
        }
        BootStage::Wiping
        | BootStage::Ready
        | BootStage::Ordered
        | BootStage::Running
        | BootStage::Held => {}
        BootStage::PoweringOff { .. } | BootStage::Ended => return power_off("this boot is over"),
    }
    let sled = state
        .boots
        .get(id)
        .and_then(|boot| state.sleds.get(boot.sled));
    Instruction::Welcome(BootPlan {
        boot: id,
        sled: sled.map_or_else(String::new, |sled| sled.name.to_string()),
        log_limit_bytes: state.limits.log_limit_bytes,
    })
}

fn wiped(
    state: &mut State,
    now: Millis,
    id: BootId,
    report: WipeReport,
    fx: &mut Effects,
) -> Instruction {
    let Some(boot) = state.boots.get(id) else {
        return power_off("this boot is over");
    };
    match boot.stage {
        BootStage::Wiping => {}
        BootStage::Ready | BootStage::Ordered | BootStage::Running | BootStage::Held => {
            return Instruction::Continue;
        }
        BootStage::PoweringOn | BootStage::Netbooting => return power_off("it was not welcomed"),
        BootStage::PoweringOff { .. } | BootStage::Ended => return power_off("this boot is over"),
    }
    let sled = boot.sled;
    let missing = boot.inventory.as_ref().and_then(|inventory| {
        let wiped = |name: &str| report.disks.iter().any(|disk| disk.name == name);
        inventory
            .disks
            .iter()
            .find(|disk| !wiped(&disk.name))
            .map(|disk| disk.name.clone())
    });
    let clean = report.is_clean() && missing.is_none();
    if let Some(mut boot) = state.boots.get_mut(id) {
        boot.times.wiped = Some(now);
        boot.wipe = Some(report);
    }
    if !clean {
        let reason = missing.map_or_else(
            || {
                "a disk still held data after its wipe: replace it, then release the sled"
                    .to_string()
            },
            |name| format!("disk {name} was found but not wiped"),
        );
        boots::quarantine(state, now, sled, reason.clone(), fx);
        boots::fail(state, now, id, reason, Off::Asked, fx);
        return power_off("the wipe failed");
    }
    boots::enter(state, now, id, BootStage::Ready);
    if let Some(mut boot) = state.boots.get_mut(id) {
        boot.times.ready = Some(now);
    }
    Instruction::Continue
}

fn poll(state: &mut State, now: Millis, id: BootId, _fx: &mut Effects) -> AgentReply {
    let Some(boot) = state.boots.get(id) else {
        return AgentReply::Refused("this boot ticket is over");
    };
    let instruction = match boot.stage {
        BootStage::Ready => Instruction::Wait,
        BootStage::Held => holds::instruction(state, id),
        BootStage::Ordered => {
            let Some(name) = boot.runner.as_ref().map(|runner| runner.name.clone()) else {
                return AgentReply::Instruction {
                    boot: id,
                    instruction: Instruction::Wait,
                };
            };
            let image = boot.image.rootfs.clone();
            let max_runtime_s = state
                .pools
                .get(boot.pool)
                .map_or(6 * 3600, |pool| pool.max_runtime_s);
            if boot.times.order.is_none()
                && let Some(mut boot) = state.boots.get_mut(id)
            {
                boot.times.order = Some(now);
            }
            return AgentReply::Order {
                boot: id,
                runner_name: name,
                image,
                max_runtime_s,
            };
        }
        // It asks for an order while its order runs: an agent that lost its
        // place. One boot does one job.
        BootStage::Running => power_off("this boot had its order"),
        BootStage::Wiping | BootStage::PoweringOn | BootStage::Netbooting => {
            power_off("it was not wiped")
        }
        BootStage::PoweringOff { .. } | BootStage::Ended => power_off("this boot is over"),
    };
    AgentReply::Instruction {
        boot: id,
        instruction,
    }
}

fn accepted(
    state: &mut State,
    now: Millis,
    id: BootId,
    name: &str,
    fx: &mut Effects,
) -> Instruction {
    let Some(boot) = state.boots.get(id) else {
        return power_off("this boot is over");
    };
    let current = boot
        .runner
        .as_ref()
        .is_some_and(|runner| runner.name == name);
    match boot.stage {
        BootStage::Running if current => Instruction::Continue,
        BootStage::Ordered if current => {
            boots::enter(state, now, id, BootStage::Running);
            if let Some(mut boot) = state.boots.get_mut(id) {
                boot.times.order.get_or_insert(now);
                boot.times.running = Some(now);
            }
            state.began.insert(id, now);
            acceptance::runner_listens(state, now, id);
            state.audit(fx, "audit.boot.running", Some(id), name.to_string());
            Instruction::Continue
        }
        BootStage::Ready | BootStage::Ordered => Instruction::Discard,
        BootStage::Running | BootStage::Held => power_off("this boot had its order"),
        BootStage::Wiping | BootStage::PoweringOn | BootStage::Netbooting => {
            power_off("it was not wiped")
        }
        BootStage::PoweringOff { .. } | BootStage::Ended => power_off("this boot is over"),
    }
}

fn log(state: &State, id: BootId) -> Instruction {
    match state.boots.get(id).map(|boot| &boot.stage) {
        Some(BootStage::Running | BootStage::Held) => Instruction::Continue,
        // The last lines of a run that is ending are welcome.
        Some(BootStage::PoweringOff { .. }) => power_off("this boot is over"),
        _ => power_off("nothing runs in this boot"),
    }
}

fn finished(
    state: &mut State,
    now: Millis,
    id: BootId,
    end: RunEnd,
    fx: &mut Effects,
) -> Instruction {
    let Some(boot) = state.boots.get(id) else {
        return Instruction::Continue;
    };
    match boot.stage {
        BootStage::Running => {}
        // Its answer got lost.
        BootStage::Held => return holds::instruction(state, id),
        BootStage::PoweringOn
        | BootStage::Netbooting
        | BootStage::Wiping
        | BootStage::Ready
        | BootStage::Ordered
        | BootStage::PoweringOff { .. }
        | BootStage::Ended => return Instruction::Continue,
    }
    let exit = end.exit;
    if let Some(mut boot) = state.boots.get_mut(id) {
        boot.times.finished = Some(now);
        boot.end = Some(end);
    }
    if holds::begin(state, now, id, exit, fx) {
        return Instruction::Wait;
    }
    match exit {
        RunExit::Code(0) | RunExit::TimedOut => {
            boots::begin_power_off(state, now, id, Outcome::Ran, Off::Asked, fx);
        }
        // The listener's own trouble; the job's result is GitHub's to tell.
        RunExit::Code(code) => {
            let reason = format!("the runner ended with code {code}");
            boots::fail(state, now, id, reason, Off::Asked, fx);
        }
        RunExit::Signal(signal) => {
            let reason = format!("the runner was killed by signal {signal}");
            boots::fail(state, now, id, reason, Off::Asked, fx);
        }
    }
    Instruction::Continue
}

fn failed(
    state: &mut State,
    now: Millis,
    id: BootId,
    stage: Stage,
    reason: &str,
    fx: &mut Effects,
) -> Instruction {
    let Some(boot) = state.boots.get(id) else {
        return Instruction::Continue;
    };
    if matches!(boot.stage, BootStage::PoweringOff { .. } | BootStage::Ended) {
        return Instruction::Continue;
    }
    let sled = boot.sled;
    let reason: String = reason
        .chars()
        .filter(|c| !c.is_control())
        .take(500)
        .collect();
    let stage = match stage {
        Stage::Start => "start",
        Stage::Wipe => "wipe",
        Stage::Scratch => "scratch",
        Stage::Image => "image",
        Stage::Run => "run",
    };
    let reason = format!("its agent failed at {stage}: {reason}");
    if stage == "wipe" {
        boots::quarantine(state, now, sled, reason.clone(), fx);
    }
    boots::fail(state, now, id, reason, Off::Asked, fx);
    Instruction::Continue
}
