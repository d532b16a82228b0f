//! `musher github doctor`: prints what the doctor saw.

use anyhow::bail;

use super::{chosen, runtime};
use crate::config::{Config, ConfigError, LoadedInventory};
use crate::doctor::{Report, examine};
use crate::github::{GithubClient, one_line};
use crate::serve::client_config;

/// Looks at one App, or at all.
///
/// # Errors
/// A configuration that cannot work, or findings: then they are printed.
pub(super) fn run(
    config: &Config,
    app: Option<&str>,
    inventory: Option<&LoadedInventory>,
    json: bool,
) -> anyhow::Result<()> {
    let apps = match app {
        Some(_) => vec![chosen(config, app)?],
        None => config.github.iter().collect(),
    };
    let runtime = runtime()?;
    let mut reports = Vec::new();
    for github in apps {
        let client = GithubClient::start(client_config(config, github)?)
            .map_err(|error| ConfigError::value(&config.file, "github", error.to_string()))?;
        reports.push(runtime.block_on(examine(config, github, &client, inventory)));
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        reports.iter().for_each(print);
    }
    match reports.iter().map(|report| report.findings.len()).sum() {
        0 => Ok(()),
        1 => bail!("1 finding"),
        count => bail!("{count} findings"),
    }
}

fn print(report: &Report) {
    println!("{}", report.app);
    for words in &report.well {
        println!("  ok    {}", one_line(words));
    }
    for words in &report.unknown {
        println!("  ?     {}", one_line(words));
    }
    for finding in &report.findings {
        println!("  WRONG {}: {}", finding.about, one_line(&finding.found));
        println!("        {}", one_line(&finding.mend));
    }
}
