//! Whether the images' runners are young enough for GitHub to give them jobs.
//!
//! When a release was first seen is known to the daemon, which keeps it in the
//! state directory; the doctor only reads that, and adds what is new by now.

use super::Report;
use crate::config::Config;
use crate::engine::Clock;
use crate::github::{GithubClient, Scope};
use crate::releases::{self, Cache, Carried, Ledger};

pub(super) async fn look(
    report: &mut Report,
    config: &Config,
    client: &GithubClient,
    scope: &Scope,
    images: &[Carried],
) {
    let now = Clock::start().now();
    let folder = releases::folder(&config.server.state_dir, client.name());
    let mut ledger = match Ledger::load(&folder) {
        Ok(ledger) => ledger,
        Err(error) => return report.unknown.push(format!("runner: {error}")),
    };
    match client.runner_downloads(scope.clone()).await {
        Ok(offered) => match releases::newest(offered) {
            Some((version, _)) => drop(ledger.saw(version, now)),
            None => {
                let words = "runner: github offers none for linux-x64";
                return report.unknown.push(words.to_owned());
            }
        },
        // Said better by what was looked at before.
        Err(error) => report.unknown.push(format!("runner: {error}")),
    }
    for image in releases::views(images, &ledger, &Cache::of(&folder), now) {
        let name = &image.image;
        match (image.warning, image.runner_version, image.outdated_by) {
            (Some(warning), _, _) => {
                report.finding("runner", warning, image.mend.unwrap_or_default());
            }
            (None, None, _) => report.unknown.push(format!(
                "runner: image {name} does not say which runner it carries: build it by this \
                 release's musher-image, or set its runner_version in the inventory"
            )),
            (None, Some(version), None) => {
                report.well(format!(
                    "runner: image {name} carries {version}, the newest known"
                ));
            }
            (None, Some(version), Some(by)) => report.well(format!(
                "runner: image {name} carries {version}; {by} is out, and {} days are left",
                image.days_left.unwrap_or_default()
            )),
        }
    }
}
