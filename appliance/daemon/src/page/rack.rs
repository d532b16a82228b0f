//! The rack: one unit per sled, with what it is doing.

use control::{BootView, SledView, StatusView};
use maud::{Markup, html};

use super::{
    icon,
    timeline::{Axis, Bar},
    words,
};

/// Up to this many sleds stand in one column, the queue beside them.
pub(super) const FEW: usize = 8;

/// The rack with all its sleds.
pub(super) fn section(view: &StatusView) -> Markup {
    html! {
        section #rack-section .sleds aria-labelledby="sleds-title" {
            h2 #sleds-title { "Sleds" }
            @if view.sleds.is_empty() {
                p.empty {
                    "No sleds yet — a sled is one machine with its network card and its power driver. Add them to the inventory that "
                    code { "musher serve --inventory" } " reads."
                }
            } @else {
                div #rack .rack.dense[view.sleds.len() > FEW] {
                    @for sled in &view.sleds { (unit(view, sled)) }
                }
            }
        }
    }
}

fn unit(view: &StatusView, sled: &SledView) -> Markup {
    html! {
        details.unit.(icon::tone(sled.state)) id={ "sled-" (sled.name) } {
            summary {
                (icon::state(sled.state))
                span.name { (sled.name) }
                span.state { (state_words(sled.state)) }
                span.doing { (doing(view, sled)) }
                span.clock { (time_in_state(view, sled)) }
                (progress(view, sled))
            }
            div.inside {
                (facts(view, sled))
                @if let Some(boot) = &sled.boot { (boot_facts(view, sled, boot)) }
            }
        }
    }
}

/// The state's name as it is read.
fn state_words(state: &str) -> &str {
    match state {
        "PoweringOn" => "Powering on",
        "PoweringOff" => "Powering off",
        "Unknown" => "Power unknown",
        other => other,
    }
}

fn time_in_state(view: &StatusView, sled: &SledView) -> Markup {
    html! {
        @if let Some(since) = sled.since { (words::since(since, view.now)) }
        @if let (Some(since), Some(deadline)) = (sled.since, sled.deadline) {
            small { " of " (words::limit(deadline.since(since))) }
        }
    }
}

/// How much of the time that the state may take is used up.
fn progress(view: &StatusView, sled: &SledView) -> Markup {
    let (Some(since), Some(deadline)) = (sled.since, sled.deadline) else {
        return html! {};
    };
    let (used, whole) = (view.now.since(since), deadline.since(since).max(1));
    let part = (used as f64 / whole as f64).min(1.0) * 100.0;
    let text = format!(
        "{} used of the {} this may take",
        words::whole_span(used),
        words::limit(whole)
    );
    html! {
        svg.progress.late[part > 75.0] width="100%" height="3" role="img" aria-label=(text) {
            rect.track width="100%" height="3" {}
            rect.used width=(format_args!("{part:.2}%")) height="3"
                data-since=(since) data-deadline=(deadline) {}
        }
    }
}

/// What it is doing, or what was last known of it.
fn doing(view: &StatusView, sled: &SledView) -> Markup {
    let boot = sled.boot.as_ref();
    let times = boot.map(|boot| &boot.timeline);
    let seen = |pick: fn(&control::Timeline) -> bool| times.is_some_and(pick);
    html! {
        @match sled.state {
            "PoweringOn" => "power on is commanded",
            "Netbooting" if seen(|times| times.kernel.is_some()) => "kernel fetched; agent comes next",
            "Netbooting" if seen(|times| times.dhcp.is_some()) => "has an address; kernel comes next",
            "Netbooting" => "firmware; DHCP comes next",
            "Wiping" => "wiping every local disk",
            "Ready" if seen(|times| times.order.is_some()) => "has its order; fetching the image",
            "Ready" => "registering a runner at GitHub",
            "Running" => { @match boot { Some(boot) => { (job_of(view, boot)) } None => "a job" } },
            "PoweringOff" => {
                @if let Some(reason) = &sled.reason { (reason) } @else { "until its power reads as off" }
            },
            "Off" => (last(view, sled)),
            _ => { @if let Some(reason) = &sled.reason { (reason) } },
        }
    }
}

fn last(view: &StatusView, sled: &SledView) -> Markup {
    html! {
        @if sled.failures > 0 {
            (words::count(usize::try_from(sled.failures).unwrap_or(usize::MAX), "failed boot")) " in a row"
        } @else if let Some(boot) = &sled.boot {
            @if boot.outcome == Some("ran") { "last ran " (job_of(view, boot)) }
            @else { "its last boot ended without a job" }
        } @else {
            "not booted yet"
        }
    }
}

/// The job of a boot, by name while it is on the page.
fn job_of(view: &StatusView, boot: &BootView) -> Markup {
    let job = view.jobs.iter().find(|job| {
        job.boot.as_ref().is_some_and(|its| its.id == boot.id) && Some(job.id) == boot.job
    });
    html! {
        @match (job, boot.job) {
            (Some(job), _) => { (job.name) " of " (job.repository) },
            (None, Some(number)) => { "job " (number) },
            (None, None) => "a runner that GitHub gave no job yet",
        }
    }
}

fn facts(view: &StatusView, sled: &SledView) -> Markup {
    html! {
        dl {
            // Elsewhere it stands in the unit's face already.
            @if let (Some(reason), "Running" | "Wiping" | "Ready" | "Netbooting" | "PoweringOn" | "Off") = (&sled.reason, sled.state) {
                dt { "But" } dd { (reason) }
            }
            dt { "Network card" } dd { code { (sled.mac) } }
            dt { "Pools" }
            dd { @if sled.pools.is_empty() { "none, so it gets no jobs" } @else { (sled.pools.join(", ")) } }
            @if let Some(since) = sled.since {
                dt { (state_words(sled.state)) " since" } dd { (words::clock(since)) }
            }
            @if let Some(deadline) = sled.deadline {
                dt { "Until at the latest" } dd { (words::clock(deadline)) " (" (words::whole_span(deadline.since(view.now))) " left)" }
            }
            @if sled.failures > 0 { dt { "Failed boots" } dd { (sled.failures) " in a row" } }
            @if let Some(problem) = &sled.power_problem { dt { "Power driver" } dd { (problem) } }
        }
    }
}

fn boot_facts(view: &StatusView, sled: &SledView, boot: &BootView) -> Markup {
    let bar = Bar::of_boot(boot, view.now);
    let axis = Axis::of([bar.length()].into_iter());
    html! {
        h3 {
            @if bar.is_going() { "Boot " (boot.id) } @else { "Last boot, " (boot.id) }
        }
        dl { (about_boot(sled.reason.as_deref(), boot)) }
        div.drawn { (bar.draw(&axis)) (axis.draw()) }
        (bar.table())
    }
}

/// What there is to say of a boot, as terms and descriptions. Its reason is
/// left out when it is the one `said` before.
pub(super) fn about_boot(said: Option<&str>, boot: &BootView) -> Markup {
    html! {
        @if let Some(outcome) = boot.outcome { dt { "Outcome" } dd { (outcome) } }
        @if let Some(reason) = boot.reason.as_deref().filter(|reason| Some(*reason) != said) {
            dt { "Because" } dd { (reason) }
        }
        // Before the agent spoke there is nothing to grade.
        @if boot.receipt.is_some() || boot.timeline.agent.is_some() {
            dt { "Assurance" } dd { (boot.assurance) " — " (assurance_words(boot.assurance)) }
        }
        @if let Some(runner) = &boot.runner { dt { "Runner" } dd { code { (runner) } } }
        @if let Some(receipt) = boot.receipt { dt { "Receipt" } dd { "number " (receipt) } }
        @if boot.timeline.running.is_some() {
            dt { "Log" }
            dd { a href={ "/api/v1/boots/" (boot.id) "/log" } { "runner log of boot " (boot.id) } }
        }
    }
}

fn assurance_words(grade: &str) -> &'static str {
    match grade {
        "claimed" => "the agent said so, nothing proved it",
        "netboot-forced" => "network boot was set out of band and its requests were seen in order",
        "attested" => "its TPM signed what it booted",
        _ => "grade not known to this page",
    }
}
