//! What is going on, in one sentence.

use control::StatusView;
use maud::{Markup, html};

use super::words;
use crate::releases::ReleasesView;

/// What a number of sleds in a state are doing, in the order of the sentence.
const DOING: [(&[&str], &str); 11] = [
    (&["Running"], "running a job"),
    (&["PoweringOn", "Netbooting"], "booting"),
    (&["Wiping"], "wiping"),
    (&["Ready"], "wiped and ready"),
    (&["PoweringOff"], "powering off"),
    (&["Off"], "off"),
    (&["Held"], "held"),
    (&["Maintenance"], "in maintenance"),
    (&["New", "Discovering"], "new"),
    (&["Unknown"], "with unknown power"),
    (&["Quarantined"], "quarantined"),
];

/// `2 sleds, 1 running a job, 1 booting; 3 jobs waiting to run`.
pub(super) fn sentence(view: &StatusView) -> String {
    let mut text = if view.sleds.is_empty() {
        String::from("No sleds yet")
    } else {
        words::count(view.sleds.len(), "sled")
    };
    for (states, doing) in DOING {
        let number = view
            .sleds
            .iter()
            .filter(|sled| states.contains(&sled.state))
            .count();
        if number > 0 && number == view.sleds.len() {
            text.push_str(if number > 1 { ", all " } else { ", " });
            text.push_str(doing);
        } else if number > 0 {
            text.push_str(&format!(", {number} {doing}"));
        }
    }
    match view.queued {
        0 => text.push_str("; no job waiting"),
        number => text.push_str(&format!("; {} waiting to run", words::count(number, "job"))),
    }
    text
}

/// Title of the window.
pub(super) fn title(view: &StatusView, releases: &[ReleasesView]) -> String {
    let number = super::problems::of(view, releases).len();
    let running = view
        .sleds
        .iter()
        .filter(|sled| sled.state == "Running")
        .count();
    let what = match (number, running, view.queued) {
        (0, 0, 0) => String::from("idle"),
        (0, running, 0) => format!("{running} running"),
        (0, running, queued) => format!("{running} running, {queued} waiting"),
        (number, _, _) => words::count(number, "problem"),
    };
    format!("{what} · Musher {}", view.appliance)
}

/// Whether anything on the page grows by itself.
pub(super) fn is_active(view: &StatusView) -> bool {
    view.queued > 0
        || view.sleds.iter().any(|sled| sled.deadline.is_some())
        || view.sleds.iter().any(|sled| sled.state == "Running")
}

/// The sentence as the page's heading.
pub(super) fn headline(view: &StatusView) -> Markup {
    html! {
        h1 #now .headline { (sentence(view)) "." }
    }
}
