//! What a person must look at, with the reason and the way out.

use control::{PoolView, StatusView};
use maud::{Markup, html};
use messages::Millis;

use super::{icon, words};
use crate::releases::ReleasesView;

/// Most problems told one by one.
const MOST: usize = 12;

/// Something that does not mend itself, or that keeps jobs from running.
pub(super) struct Problem<'a> {
    id: String,
    title: String,
    reason: &'a str,
    since: Option<Millis>,
    advice: String,
}

/// Everything wrong, quarantined sleds first.
pub(super) fn of<'a>(view: &'a StatusView, releases: &'a [ReleasesView]) -> Vec<Problem<'a>> {
    let mut found = Vec::new();
    for (state, title) in [
        ("Quarantined", "is quarantined"),
        ("Unknown", "has unknown power"),
    ] {
        found.extend(
            view.sleds
                .iter()
                .filter(|sled| sled.state == state)
                .map(|sled| Problem {
                    id: format!("problem-sled-{}", sled.name),
                    title: format!("{} {title}", sled.name),
                    reason: sled.reason.as_deref().unwrap_or("no reason was recorded"),
                    since: sled.since,
                    advice: advice(state, &sled.name),
                }),
        );
    }
    found.extend(view.pools.iter().filter_map(pool));
    found.extend(
        view.pools
            .iter()
            .filter(|pool| pool.queued > 0 && pool.sleds == 0)
            .map(|pool| Problem {
                id: format!("problem-empty-{}", pool.name),
                title: format!(
                    "{} for pool {}, which has no sleds",
                    match pool.queued {
                        1 => String::from("1 job waits"),
                        number => format!("{number} jobs wait"),
                    },
                    pool.name
                ),
                reason: "Nothing can run them.",
                since: None,
                advice: format!(
                    "Name the pool in the `pools` of a sled in the inventory, or take the label set {} out of the workflow.",
                    pool.labels.join(", ")
                ),
            }),
    );
    found.extend(
        view.sleds
            .iter()
            // Their own entry above says it already.
            .filter(|sled| !matches!(sled.state, "Quarantined" | "Unknown"))
            .filter_map(|sled| {
                Some(Problem {
                    id: format!("problem-power-{}", sled.name),
                    title: format!("The power driver of {} complains", sled.name),
                    reason: sled.power_problem.as_deref()?,
                    since: None,
                    advice: String::from(
                        "Check the management controller's cable, address and password. Musher keeps trying.",
                    ),
                })
            }),
    );
    found.extend(releases.iter().flat_map(old_images));
    found
}

/// Why a pool starts nothing.
fn pool(pool: &PoolView) -> Option<Problem<'_>> {
    let PoolView { name, scope, .. } = pool;
    let reason = pool.problem.as_deref()?;
    // What GitHub answered comes with the mend for that answer, where it is known.
    let (title, advice) = match pool.paused {
        true => (
            format!("Pool {name} is paused"),
            format!("It starts nothing until a person runs `musher pool resume {name}`."),
        ),
        false => (
            format!("GitHub refuses runners for pool {name}"),
            format!(
                "Do what the reason says. `musher github doctor --inventory FILE` looks at everything that the pool needs at {scope} and names each setting to change. Musher tries again by itself."
            ),
        ),
    };
    Some(Problem {
        id: format!("problem-pool-{name}"),
        title,
        reason,
        since: None,
        advice,
    })
}

/// Images whose runner GitHub soon gives no jobs to.
fn old_images(releases: &ReleasesView) -> impl Iterator<Item = Problem<'_>> {
    releases.images.iter().filter_map(|image| {
        Some(Problem {
            id: format!("problem-image-{}-{}", releases.github, image.image),
            title: format!("The runner in image {} is old", image.image),
            reason: image.warning.as_deref()?,
            since: image.outdated_since.map(Millis),
            advice: image.mend.clone().unwrap_or_default(),
        })
    })
}

fn advice(state: &str, sled: &str) -> String {
    if state == "Quarantined" {
        format!("It gets no job until a person mends it and runs `musher sled release {sled}`.")
    } else {
        String::from(
            "It gets no job until its power can be read: check the management controller's cable, address and password. Musher keeps asking.",
        )
    }
}

/// The strip on top of the page; empty when all is well.
pub(super) fn strip(view: &StatusView, releases: &[ReleasesView]) -> Markup {
    let problems = of(view, releases);
    html! {
        // Always there, so that a reader hears what is put into it.
        section #problems .problems aria-live="polite" aria-label="Problems" {
            @if !problems.is_empty() {
                h2 { (icon::state("problem")) (words::count(problems.len(), "problem")) }
                ul {
                    @for problem in problems.iter().take(MOST) {
                        li id=(problem.id) {
                            h3 {
                                (problem.title)
                                @if let Some(since) = problem.since {
                                    small { " for " (words::since(since, view.now)) }
                                }
                            }
                            p.reason { (problem.reason) }
                            p.advice { (with_code(&problem.advice)) }
                        }
                    }
                }
                @if problems.len() > MOST {
                    p.more { "and " (problems.len() - MOST) " more, not shown here; see the sleds below." }
                }
            }
        }
    }
}

/// Text in which what stands between backticks is code.
fn with_code(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}
