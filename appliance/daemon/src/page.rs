//! The status page: what the appliance is doing, for people who look at it.
//!
//! It turns a [`StatusView`], a [`WaysView`] and [`ReleasesView`]s into HTML and nothing else: it reads no state,
//! keeps none, and offers nothing to press. The page works without its script
//! (it then reloads itself), loads nothing from anywhere else, and carries no
//! inline style or script, so [`CONTENT_SECURITY_POLICY`] can forbid both.
//! Text from outside is escaped by maud; no string is ever marked as HTML.
//!
//! | path | what | type |
//! | --- | --- | --- |
//! | `/` | [`document`] | `text/html; charset=utf-8` |
//! | `/live` | [`live`], fetched again at each event | `text/html; charset=utf-8` |
//! | `/style.css` | [`STYLE`] | `text/css; charset=utf-8` |
//! | `/page.js` | [`SCRIPT`] | `text/javascript; charset=utf-8` |
//! | `/icon.svg` | [`ICON`] | `image/svg+xml` |
//!
//! The script also opens `/events`, a server-sent event stream that says
//! `event: change` with any data line; only the fact of the event is used.

use control::StatusView;
use maud::{DOCTYPE, Markup, html};

use crate::{releases::ReleasesView, ways::WaysView};

#[cfg(test)]
pub(crate) mod fixture;
mod icon;
mod jobs;
mod problems;
mod queue;
mod rack;
mod sentence;
#[cfg(test)]
mod tests;
mod timeline;
mod ways;
mod words;

/// Style sheet, served at `/style.css`.
pub const STYLE: &str = include_str!("page/style.css");

/// Script, served at `/page.js`.
pub const SCRIPT: &str = include_str!("page/page.js");

/// Favicon, served at `/icon.svg`.
pub const ICON: &str = include_str!("page/icon.svg");

/// Value of the `Content-Security-Policy` header for every answer of the
/// page: everything comes from the appliance, nothing inline, no frames.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; \
     script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

/// Most jobs on the page, whatever the view holds.
pub const MOST_JOBS: usize = 100;

/// The whole page.
#[must_use]
pub fn document(view: &StatusView, ways: &WaysView, releases: &[ReleasesView]) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (sentence::title(view, releases)) }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
                script src="/page.js" defer {}
                noscript { meta http-equiv="refresh" content="10"; }
            }
            body {
                header.top {
                    div.brand {
                        (icon::brand())
                        strong { "Musher" }
                    }
                    p.appliance { "appliance " code { (view.appliance) } }
                    p #link .link role="status" {
                        span.dot {}
                        span #link-text { "as of " (words::clock(view.now)) }
                    }
                }
                (main(view, ways, releases))
                footer.foot {
                    p {
                        "A boot does exactly one job. A sled that ran one is proved off, netbooted and wiped before it gets the next."
                    }
                    p {
                        a href="/api/v1/status" { "This page as JSON" }
                        noscript { " · Without its script this page reloads every 10 seconds; times are UTC." }
                    }
                }
            }
        }
    }
    .into_string()
}

/// The part of the page that changes: one `<main id="live">` element.
#[must_use]
pub fn live(view: &StatusView, ways: &WaysView, releases: &[ReleasesView]) -> String {
    main(view, ways, releases).into_string()
}

fn main(view: &StatusView, ways: &WaysView, releases: &[ReleasesView]) -> Markup {
    html! {
        main #live .few[view.sleds.len() <= rack::FEW]
            data-now=(view.now) data-title=(sentence::title(view, releases)) data-active[sentence::is_active(view)]
        {
            (sentence::headline(view))
            (problems::strip(view, releases))
            (rack::section(view))
            (queue::section(view))
            (jobs::section(view))
            (ways::section(ways, view.now))
        }
    }
}
