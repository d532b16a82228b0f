//! How deliveries come in, whether the way is open, and what was recovered.

use maud::{Markup, html};
use messages::Millis;

use super::words;
use crate::{reader::Health, tunnel::TunnelView, ways::WaysView};

/// The ways in.
pub(super) fn section(ways: &WaysView, now: Millis) -> Markup {
    let how = match ways.kind {
        "command" => "through a tunnel program that Musher keeps running",
        "smee" => "through an event-stream channel",
        "pull" => "from GitHub's delivery log alone",
        _ => "to the webhook's address",
    };
    html! {
        section #ways .ways aria-labelledby="ways-title" {
            h2 #ways-title { "Ways in" }
            article.pool.blocked[is_closed(ways)] {
                header {
                    h3 { (ways.kind) }
                    @if let Some(tunnel) = &ways.tunnel { (state(tunnel, now)) }
                }
                p.facts { "Deliveries come " (how) "." }
                @if let Some(tunnel) = &ways.tunnel {
                    @if let Some(problem) = &tunnel.problem { p.reason { (problem) } }
                    @if let Some(line) = tunnel.lines.back() {
                        p.facts { "It said last: " code { (line) } }
                    }
                }
                @for log in &ways.delivery_log { (reader("Delivery log", log, now)) }
                @for sweep in &ways.sweep { (reader("Sweep", sweep, now)) }
            }
        }
    }
}

/// Whether something on the way needs to be looked at.
fn is_closed(ways: &WaysView) -> bool {
    let tunnel = ways.tunnel.as_ref();
    let readers = ways.delivery_log.iter().chain(&ways.sweep);
    tunnel.is_some_and(|tunnel| tunnel.state == "down")
        || readers.into_iter().any(|reader| reader.problem.is_some())
}

fn state(tunnel: &TunnelView, now: Millis) -> Markup {
    html! {
        p.tally {
            strong { (tunnel.state) }
            @if let Some(since) = tunnel.since { " for " (words::since(since, now)) }
            @if tunnel.restarts > 0 {
                " · opened again " (words::count(usize::try_from(tunnel.restarts).unwrap_or(usize::MAX), "time"))
            }
        }
    }
}

fn reader(name: &str, health: &Health, now: Millis) -> Markup {
    html! {
        p.facts {
            (name) " of " (health.github) ": "
            strong { (health.taken) } " recovered"
            @if health.passed_over > 0 { ", " (health.passed_over) " could not be read" }
            @match health.read_at {
                Some(at) => { ", read " (words::age(Millis(at), now)) }
                None => { ", not read yet" }
            }
            @if health.backlog { ", still reading" }
        }
        @if let Some(problem) = &health.problem { p.reason { (problem) } }
    }
}
