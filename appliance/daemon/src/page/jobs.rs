//! Jobs that have a sled, had one, or ended without one.

use control::{JobView, StatusView};
use maud::{Markup, html};

use super::{
    icon, rack,
    timeline::{self, Axis, Bar},
    words,
};

/// The jobs, newest first. Those that only wait are in the queue.
pub(super) fn section(view: &StatusView) -> Markup {
    let jobs: Vec<(&JobView, Bar)> = view
        .jobs
        .iter()
        .take(super::MOST_JOBS)
        .filter(|job| job.state != "queued")
        .map(|job| (job, Bar::of_job(job, view.now)))
        .collect();
    let axis = Axis::of(jobs.iter().map(|(_, bar)| bar.length()));
    html! {
        section #jobs .jobs aria-labelledby="jobs-title" {
            h2 #jobs-title {
                "Jobs "
                @if view.receipts > 0 { small { (receipts(view.receipts)) } }
            }
            @if jobs.is_empty() {
                (empty(view))
            } @else {
                (timeline::legend())
                div.ruler aria-hidden="true" {
                    span.note { "from delivery to power off" }
                    (axis.draw())
                }
                @for (job, bar) in &jobs { (row(view, job, bar, &axis)) }
                @if view.jobs.len() >= super::MOST_JOBS {
                    p.more { "The newest " (super::MOST_JOBS) " jobs are shown, waiting ones among them." }
                }
            }
        }
    }
}

fn receipts(number: u64) -> String {
    words::count(
        usize::try_from(number).unwrap_or(usize::MAX),
        "wipe receipt",
    )
}

fn empty(view: &StatusView) -> Markup {
    html! {
        p.empty {
            @if view.queued > 0 {
                "No job has a sled yet — the queue says what each one waits for."
            } @else {
                "No jobs yet — a job appears here as soon as GitHub delivers one whose labels a pool has."
                @if let Some(pool) = view.pools.first() {
                    " For pool " (pool.name) " that is " code { "runs-on: [" (pool.labels.join(", ")) "]" } "."
                }
            }
        }
    }
}

fn row(view: &StatusView, job: &JobView, bar: &Bar, axis: &Axis) -> Markup {
    html! {
        details.job.(icon::tone(job.state)) id={ "job-" (job.github) "-" (job.id) } {
            summary {
                span.state { (icon::state(job.state)) (job.state) }
                span.what {
                    span.name { (job.name) }
                    span.repository { (job.repository) }
                }
                span.drawn { (bar.draw(axis)) }
                span.total {
                    @if bar.is_going() { (words::since(start(job), view.now)) } @else { (words::span(bar.length())) }
                    @if !axis.fits(bar) { small { "own scale" } }
                }
                span.proof { (proof(job)) }
            }
            div.inside {
                (facts(view, job))
                (bar.table())
            }
        }
    }
}

/// Where the job's bar begins.
fn start(job: &JobView) -> messages::Millis {
    job.boot.as_ref().map_or(job.delivered, |boot| {
        job.delivered.min(boot.timeline.claimed)
    })
}

/// Sled, grade and receipt in a few words; the reason when it went wrong.
fn proof(job: &JobView) -> Markup {
    html! {
        @match &job.boot {
            Some(boot) => {
                span.sled { (boot.sled) }
                @if boot.receipt.is_some() || boot.timeline.agent.is_some() {
                    span.grade.(boot.assurance) { (boot.assurance) }
                }
                @if let Some(receipt) = boot.receipt { span.receipt { "receipt " (receipt) } }
            },
            None => { span { "no sled of ours" } },
        }
        @if let Some(reason) = short_reason(job) { span.reason { (reason) } }
    }
}

fn short_reason(job: &JobView) -> Option<&str> {
    let boot = job.boot.as_ref().and_then(|boot| boot.reason.as_deref());
    let conclusion = job
        .conclusion
        .as_deref()
        .filter(|word| job.state == "failed" && *word != "failure");
    job.reason.as_deref().or(boot).or(conclusion)
}

fn facts(view: &StatusView, job: &JobView) -> Markup {
    html! {
        dl {
            @if let Some(reason) = &job.reason { dt { "Why" } dd { (reason) } }
            dt { "Workflow" } dd { (job.workflow) }
            dt { "At GitHub" } dd { code.path { (job.path) } }
            @if let Some(conclusion) = &job.conclusion { dt { "Conclusion" } dd { (conclusion) } }
            dt { "Labels" } dd { @for label in &job.labels { code { (label) } " " } }
            dt { "Pool" } dd { (job.pool.as_deref().unwrap_or("none")) }
            dt { "Delivered" } dd { (words::clock(job.delivered)) ", " (words::age(job.delivered, view.now)) }
            @if let Some(boot) = &job.boot {
                dt { "Boot" } dd { (boot.id) " of " (boot.sled) }
                (rack::about_boot(job.reason.as_deref(), boot))
            }
        }
    }
}
