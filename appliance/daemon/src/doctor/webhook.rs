//! Where the webhook points, and what GitHub's delivery log says of it.

use super::Report;
use crate::config::{self, Config, Way};
use crate::github::{GithubClient, LogEntry};

/// Entries of the delivery log that are judged: the newest ones.
const RECENT: usize = 20;

/// Where the webhook points, and how GitHub fared there.
pub(super) async fn look(
    report: &mut Report,
    config: &Config,
    github: &config::Github,
    client: &GithubClient,
) {
    let hook = match client.hook_config().await {
        Ok(hook) => hook,
        Err(error) => return report.failure(&error),
    };
    let settings = "in the app's settings under Webhook";
    if hook.url.is_empty() {
        report.finding(
            "webhook",
            "the app has no webhook url",
            format!("set one {settings}; with [tunnel] kind = \"pull\" any name you own will do"),
        );
        return;
    }
    if hook.content_type != "json" {
        report.finding(
            "webhook",
            format!("deliveries come as {:?}", hook.content_type),
            format!("set Content type to application/json {settings}"),
        );
    }
    if config.tunnel.way == Way::Pull {
        report.well("webhook: not needed, deliveries are read from the log");
        return;
    }
    if let Some(public) = &config.server.public_url
        && !hook.url.starts_with(public.trim_end_matches('/'))
    {
        report.finding(
            "webhook",
            format!("the webhook points to {}, not to {public}", hook.url),
            format!(
                "set the URL to {}/api/webhook {settings}, or mend server.public_url",
                public.trim_end_matches('/')
            ),
        );
    }
    match client.deliveries(None).await {
        Ok(log) => deliveries(report, github, &hook.url, &log.entries),
        Err(error) => report.failure(&error),
    }
}

/// Judges the newest entries of the delivery log, newest first.
fn deliveries(report: &mut Report, github: &config::Github, url: &str, entries: &[LogEntry]) {
    let Some(newest) = entries.first() else {
        report.unknown.push(
            "webhook: the delivery log is empty, so nobody knows whether github reaches it"
                .to_owned(),
        );
        return;
    };
    let recent = &entries[..entries.len().min(RECENT)];
    let refused = recent
        .iter()
        .take_while(|entry| !entry.is_answered())
        .count();
    let so = format!(
        "the last {refused} of the newest {} deliveries",
        recent.len()
    );
    match newest.status_code {
        200..=299 => report.well(format!("webhook: github reached {url}")),
        401 => report.finding(
            "secret",
            format!("{so} were refused with 401: their signature is by another secret"),
            format!(
                "put one and the same secret into the app's settings under Webhook and into the \
                 file that webhook_secret_path of [[github]] \"{}\" names, then restart",
                github.name
            ),
        ),
        0 => report.finding(
            "webhook",
            format!(
                "github did not reach {url} ({}): {so} failed",
                newest.status
            ),
            "see that the tunnel runs and forwards to server.webhook_listen, and that the URL in \
             the app's settings under Webhook is its address",
        ),
        // What stands before Musher answers so when Musher is not behind it.
        404 | 502..=504 => report.finding(
            "webhook",
            format!("{url} answered {}: {so} failed", newest.status_code),
            "see that `musher serve` runs, that the tunnel forwards to server.webhook_listen, \
             and that the URL ends in /api/webhook",
        ),
        status => report.finding(
            "webhook",
            format!("{url} answered {status} ({}): {so} failed", newest.status),
            "see the log of `musher serve` of that time",
        ),
    }
}
