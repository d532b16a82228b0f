//! One shape per state, so that nothing is told by colour alone.

use maud::{Markup, html};

/// How a state is coloured. The names are classes of the style sheet.
pub(super) const fn tone(state: &str) -> &'static str {
    match state.as_bytes() {
        b"Running" | b"running" => "t-run",
        b"PoweringOn" | b"Netbooting" | b"claimed" | b"starting" => "t-boot",
        b"Wiping" => "t-wipe",
        b"Ready" => "t-ready",
        b"PoweringOff" | b"Held" | b"queued" => "t-wait",
        b"completed" => "t-good",
        b"Quarantined" | b"Unknown" | b"failed" => "t-bad",
        _ => "t-idle",
    }
}

/// The shape of a sled's or a job's state, hidden from readers of the text
/// beside it.
pub(super) fn state(name: &str) -> Markup {
    let path = match name {
        // An empty ring: nothing is on.
        "Off" => "M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 1 1 0-11z",
        // A bolt.
        "PoweringOn" => "M9 1.5 3.5 9H8l-1 5.5L12.5 7H8z",
        // An arrow into a tray.
        "Netbooting" | "starting" => "M8 2v7.5M4.5 6.5 8 10l3.5-3.5M2.5 11v2.5h11V11",
        // A broom's strokes.
        "Wiping" => "M13.5 2 8.5 7M5.5 6.5l4 4M6 6.5 2.5 9.5l4 4 3-3.5M4.5 11.5l1.5-1.5",
        // A tick in a ring.
        "Ready" | "completed" => "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12zM5 8.2l2.2 2.2L11.2 6",
        // A triangle to the right.
        "Running" | "running" => "M4.5 2.5v11l9-5.5z",
        // The power sign.
        "PoweringOff" => "M8 1.5v6M4.8 3.8a5.5 5.5 0 1 0 6.4 0",
        "Held" => "M5.5 3v10M10.5 3v10",
        // An octagon with a bar: stop.
        "Quarantined" | "problem" => {
            "M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3l-3.8-3.8V5.3zM8 4.5v4.2M8 11.2v.3"
        }
        "Unknown" => "M5 5.5a3 3 0 1 1 4.3 2.7c-.9.5-1.3 1-1.3 2M8 12.8v.3",
        "failed" => "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12zM5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4",
        "cancelled" => "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12zM3.9 12.1l8.2-8.2",
        // A clock.
        "queued" => "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12zM8 4.8V8l2.2 1.6",
        // A link of a chain.
        "claimed" => {
            "M6.5 9.5l3-3M7 4.5l1.3-1.3a3.2 3.2 0 0 1 4.5 4.5L11.5 9M9 11.5l-1.3 1.3a3.2 3.2 0 0 1-4.5-4.5L4.5 7"
        }
        "Maintenance" => "M2.5 2.5h11v11h-11zM5 8h6",
        _ => "M8 2.5v11M2.5 8h11",
    };
    let solid = matches!(name, "Running" | "running" | "PoweringOn");
    html! {
        svg.icon.solid[solid] viewBox="0 0 16 16" aria-hidden="true" focusable="false" { path d=(path) {} }
    }
}

/// A sled seen from its side.
pub(super) fn brand() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" aria-hidden="true" focusable="false" {
            path d="M3 24h20c4 0 6-2.5 6-6.5" {}
            path d="M7 24v-7M14 24v-7M21 24v-7M4 17h20V9" {}
            path d="M8 13h9" {}
        }
    }
}
