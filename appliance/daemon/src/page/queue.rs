//! The jobs that wait, by pool, each with the reason why.

use control::{JobView, PoolView, StatusView};
use maud::{Markup, html};

use super::{icon, words};

/// Most waiting jobs listed per pool.
const MOST: usize = 25;

/// As many of them are seen at once; the others are opened.
const OPEN: usize = 5;

/// The queue.
pub(super) fn section(view: &StatusView) -> Markup {
    let waiting: Vec<&JobView> = view
        .jobs
        .iter()
        .take(super::MOST_JOBS)
        .filter(|job| job.state == "queued")
        .collect();
    let poolless: Vec<&JobView> = waiting
        .iter()
        .copied()
        .filter(|job| !view.pools.iter().any(|pool| serves(pool, job)))
        .collect();
    html! {
        section #queue .queue aria-labelledby="queue-title" {
            h2 #queue-title { "Queue" }
            @if view.pools.is_empty() {
                p.empty {
                    "No pools yet — a pool names the labels that its sleds answer to. Add one to the inventory that "
                    code { "musher serve --inventory" } " reads."
                }
            }
            @for pool in &view.pools { (pool_card(view, pool, &waiting)) }
            @if !poolless.is_empty() {
                article #pool-none .pool {
                    h3 { "No pool" }
                    (list(view, &poolless, 0))
                }
            }
        }
    }
}

fn serves(pool: &PoolView, job: &JobView) -> bool {
    job.pool.as_deref() == Some(pool.name.as_str())
}

fn pool_card(view: &StatusView, pool: &PoolView, waiting: &[&JobView]) -> Markup {
    let mine: Vec<&JobView> = waiting
        .iter()
        .copied()
        .filter(|job| serves(pool, job))
        .collect();
    // Queued at GitHub, but a sled is on its way for it.
    let claimed = view
        .jobs
        .iter()
        .filter(|job| serves(pool, job) && matches!(job.state, "claimed" | "starting"))
        .count();
    let unlisted = pool.queued.saturating_sub(mine.len() + claimed);
    html! {
        article.pool.blocked[pool.problem.is_some()] id={ "pool:" (pool.name) } {
            header {
                h3 { (pool.name) }
                p.tally {
                    strong { (mine.len() + unlisted) } " waiting"
                    @if claimed > 0 { " · " strong { (claimed) } " with a sled" }
                }
            }
            p.facts {
                (words::count(pool.sleds, "sled")) " for " (pool.scope) ", image " (pool.image)
            }
            p.labels role="group" aria-label="Labels" {
                @for label in &pool.labels { code { (label) } " " }
            }
            @if mine.is_empty() && unlisted == 0 {
                p.quiet { "Nothing waits here." }
            } @else {
                (list(view, &mine, unlisted))
            }
        }
    }
}

fn list(view: &StatusView, jobs: &[&JobView], unlisted: usize) -> Markup {
    // The view is newest first; who waits longest comes first here.
    let oldest: Vec<&JobView> = jobs.iter().rev().copied().take(MOST).collect();
    let (first, rest) = oldest.split_at(oldest.len().min(OPEN));
    let reason = common_reason(&oldest);
    let hidden = jobs.len().saturating_sub(MOST) + unlisted;
    html! {
        @if let Some(reason) = reason { p.why { "Waiting because " (reason) "." } }
        ol.waiting { @for job in first { (item(view, job, reason)) } }
        @if !rest.is_empty() {
            details.rest {
                summary { (rest.len()) " more" }
                ol.waiting { @for job in rest { (item(view, job, reason)) } }
            }
        }
        @if hidden > 0 {
            p.more { "and " (words::count(hidden, "job")) " not listed here" }
        }
    }
}

fn item(view: &StatusView, job: &JobView, said: Option<&str>) -> Markup {
    html! {
        li id={ "waiting-" (job.github) "-" (job.id) } {
            (icon::state("queued"))
            div {
                p.who { span.name { (job.name) } " " span.repository { (job.repository) } }
                @if let Some(reason) = job.reason.as_deref().filter(|reason| Some(*reason) != said) {
                    p.reason { (reason) }
                }
            }
            p.age { (words::since(job.delivered, view.now)) }
        }
    }
}

/// The reason that all of several jobs share: said once.
fn common_reason<'a>(jobs: &[&'a JobView]) -> Option<&'a str> {
    let reason = jobs.first()?.reason.as_deref()?;
    let shared = jobs.iter().all(|job| job.reason.as_deref() == Some(reason));
    shared.then_some(reason)
}
