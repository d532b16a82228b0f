//! `musher github …`: GitHub's side of runners, labels, deliveries, and the
//! App itself. Asks GitHub directly; the daemon need not run.
//!
//! Never prints a secret but by `tokens`, and that to standard output alone.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::table::{cell, columns};
use crate::config::{Config, load_config, load_inventory};
use crate::github::{GithubClient, RunnerLabel};
use crate::releases::{self, Cache};
use crate::serve::client_config;

mod arguments;
mod doctor;
mod manifest;

pub(super) use arguments::GithubCommand;
use arguments::{At, DeliveriesCommand, LabelsCommand, Place, RunnersCommand, TokensCommand};

/// Longest list of deliveries that is shown.
const MOST_DELIVERIES: usize = 10_000;

/// A client, and a runtime to wait on it.
struct Session {
    client: GithubClient,
    runtime: tokio::runtime::Runtime,
    json: bool,
}

impl Session {
    fn open(at: &At) -> anyhow::Result<Self> {
        let config = load_config(&at.config)?;
        let github = chosen(&config, at.app.as_deref())?;
        Ok(Self {
            client: GithubClient::start(client_config(&config, github)?)?,
            runtime: runtime()?,
            json: at.json,
        })
    }

    /// Prints a value as JSON, or as `words` of it for people.
    fn show(&self, value: &impl Serialize, words: fn(&Value) -> String) -> anyhow::Result<()> {
        let value = serde_json::to_value(value)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&value)?);
        } else {
            print!("{}", words(&value));
        }
        Ok(())
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

fn chosen<'a>(config: &'a Config, name: Option<&str>) -> anyhow::Result<&'a crate::config::Github> {
    let found = match name {
        None => config.github.first(),
        Some(name) => config.github.iter().find(|github| github.name == name),
    };
    found.with_context(|| {
        let names: Vec<&str> = config.github.iter().map(|it| it.name.as_str()).collect();
        format!(
            "--app: no such [[github]] entry; there are {}",
            names.join(", ")
        )
    })
}

/// Runs a command.
pub(super) fn run(command: GithubCommand) -> anyhow::Result<()> {
    match command {
        GithubCommand::Runners(command) => runners(command),
        GithubCommand::Labels(command) => labels(command),
        GithubCommand::Groups(place) => {
            let session = Session::open(&place.at)?;
            let found = session
                .runtime
                .block_on(session.client.runner_groups(place.scope.0))?;
            session.show(&found, |value| {
                rows(
                    value,
                    &["id", "name", "visibility", "allows_public_repositories"],
                )
            })
        }
        GithubCommand::Downloads(place) => downloads(place),
        GithubCommand::Tokens(command) => tokens(command),
        GithubCommand::Deliveries(command) => deliveries(command),
        GithubCommand::Doctor { at, inventory } => {
            let config = load_config(&at.config)?;
            let inventory = inventory.map(|file| load_inventory(&config, &file));
            let inventory = inventory.transpose()?;
            doctor::run(&config, at.app.as_deref(), inventory.as_ref(), at.json)
        }
        GithubCommand::Manifest(wish) => manifest::run(&wish),
    }
}

/// What GitHub offers, and which of it this appliance has fetched and verified.
fn downloads(place: Place) -> anyhow::Result<()> {
    let session = Session::open(&place.at)?;
    let found = session
        .runtime
        .block_on(session.client.runner_downloads(place.scope.0))?;
    let config = load_config(&place.at.config)?;
    let folder = releases::folder(&config.server.state_dir, session.client.name());
    let cached = Cache::of(&folder).archives();
    let found: Vec<Value> = found
        .iter()
        .map(|release| {
            let here = cached.iter().find(|it| it.ends_with(&release.filename));
            json!({
                "os": release.os, "architecture": release.architecture, "url": release.url,
                "filename": release.filename, "sha256": release.sha256, "cached": here,
            })
        })
        .collect();
    session.show(&found, |value| {
        let names = ["os", "architecture", "filename", "sha256", "cached"];
        rows(value, &names)
    })
}

/// A list of objects as a table of some of their fields.
fn rows(value: &Value, fields: &[&str]) -> String {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| fields.iter().map(|field| cell(&item[*field])).collect())
        .collect();
    let head: Vec<String> = fields
        .iter()
        .map(|field| field.replace('_', " ").to_uppercase())
        .collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    columns(&head, &rows)
}

/// An object, one field a line.
fn fields(value: &Value) -> String {
    let Some(map) = value.as_object() else {
        return String::new();
    };
    let rows: Vec<Vec<String>> = map
        .iter()
        .map(|(name, value)| vec![name.replace('_', " "), cell(value)])
        .collect();
    columns(&["FIELD", "VALUE"], &rows)
}

/// A runner with its labels as names.
fn runner_row(runner: &crate::github::Runner) -> Value {
    let labels: Vec<&str> = runner.labels.iter().map(|it| it.name.as_str()).collect();
    json!({
        "id": runner.id, "name": runner.name, "os": runner.os, "status": runner.status,
        "busy": runner.busy, "group": runner.runner_group_id, "labels": labels,
    })
}

fn runners(command: RunnersCommand) -> anyhow::Result<()> {
    match command {
        RunnersCommand::List(place) => {
            let session = Session::open(&place.at)?;
            let found = session
                .runtime
                .block_on(session.client.list_runners(place.scope.0))?;
            let found: Vec<Value> = found.iter().map(runner_row).collect();
            session.show(&found, |value| {
                rows(
                    value,
                    &["id", "name", "os", "status", "busy", "group", "labels"],
                )
            })
        }
        RunnersCommand::Get { id, place } => {
            let session = Session::open(&place.at)?;
            let scope = place.scope.0;
            let found = session
                .runtime
                .block_on(session.client.runner(scope.clone(), id))?;
            match found {
                Some(runner) => session.show(&runner_row(&runner), fields),
                None => bail!("{scope} has no runner {id}"),
            }
        }
        RunnersCommand::Delete { id, place } => {
            let session = Session::open(&place.at)?;
            session
                .runtime
                .block_on(session.client.delete_runner(place.scope.0, id))?;
            session.show(&json!({ "deleted": id }), |_| "deleted\n".to_owned())
        }
    }
}

fn labels(command: LabelsCommand) -> anyhow::Result<()> {
    let of = match &command {
        LabelsCommand::List(of) | LabelsCommand::Clear(of) => of,
        LabelsCommand::Add { of, .. }
        | LabelsCommand::Set { of, .. }
        | LabelsCommand::Remove { of, .. } => of,
    };
    let session = Session::open(&of.place.at)?;
    let (client, scope, id) = (&session.client, of.place.scope.0.clone(), of.id);
    let found: Vec<RunnerLabel> = session.runtime.block_on(async {
        match command {
            LabelsCommand::List(_) => client.labels(scope, id).await,
            LabelsCommand::Add { labels, .. } => client.add_labels(scope, id, labels).await,
            LabelsCommand::Set { labels, .. } => client.set_labels(scope, id, labels).await,
            LabelsCommand::Clear(_) => client.clear_labels(scope, id).await,
            LabelsCommand::Remove { label, .. } => client.remove_label(scope, id, label).await,
        }
    })?;
    session.show(&found, |value| rows(value, &["name", "type"]))
}

fn tokens(command: TokensCommand) -> anyhow::Result<()> {
    let (place, registers) = match command {
        TokensCommand::Registration(place) => (place, true),
        TokensCommand::Remove(place) => (place, false),
    };
    let session = Session::open(&place.at)?;
    let (client, scope) = (&session.client, place.scope.0);
    let token = session.runtime.block_on(async {
        match registers {
            true => client.registration_token(scope).await,
            false => client.remove_token(scope).await,
        }
    })?;
    if std::io::stdout().is_terminal() {
        eprintln!(
            "musher: whoever has this token can act for an hour: clear it from your screen, and \
             from no log"
        );
    }
    if session.json {
        let body = json!({
            "token": token.token.expose(), "expires_at_ms": token.expires_at_ms,
        });
        println!("{body}");
    } else {
        println!("{}", token.token.expose());
    }
    Ok(())
}

fn deliveries(command: DeliveriesCommand) -> anyhow::Result<()> {
    match command {
        DeliveriesCommand::List { limit, at } => {
            let session = Session::open(&at)?;
            let limit = limit.min(MOST_DELIVERIES);
            let found = session.runtime.block_on(async {
                let (mut all, mut cursor) = (Vec::new(), None);
                loop {
                    let page = session.client.deliveries(cursor).await?;
                    all.extend(page.entries);
                    cursor = page.next;
                    if all.len() >= limit || cursor.is_none() {
                        all.truncate(limit);
                        return anyhow::Ok(all);
                    }
                }
            })?;
            let found: Vec<Value> = found.iter().map(entry_row).collect();
            session.show(&found, |value| {
                let names = [
                    "id",
                    "delivered_at",
                    "event",
                    "action",
                    "code",
                    "status",
                    "guid",
                ];
                rows(value, &names)
            })
        }
        DeliveriesCommand::Show { id, at } => {
            let session = Session::open(&at)?;
            let found = session.runtime.block_on(session.client.find_delivery(id))?;
            let Some(found) = found else {
                bail!("the delivery log does not hold {id} (any more)");
            };
            let mut value = entry_row(&found.entry);
            let payload = found.payload.as_deref().map(serde_json::from_str::<Value>);
            value["payload"] = payload.transpose()?.unwrap_or_default();
            session.show(&value, |value| {
                let mut entry = value.clone();
                let payload = entry.as_object_mut().and_then(|map| map.remove("payload"));
                let payload = payload.unwrap_or_default();
                // JSON escapes what could steer a terminal.
                let payload = serde_json::to_string_pretty(&payload).unwrap_or_default();
                format!("{}\n{payload}\n", fields(&entry))
            })
        }
        DeliveriesCommand::Redeliver { id, at } => {
            let session = Session::open(&at)?;
            session.runtime.block_on(session.client.redeliver(id))?;
            session.show(&json!({ "redelivered": id }), |_| "asked for\n".to_owned())
        }
    }
}

fn entry_row(entry: &crate::github::LogEntry) -> Value {
    let time = i64::try_from(entry.delivered_at_ms)
        .ok()
        .and_then(|time_ms| jiff::Timestamp::from_millisecond(time_ms).ok());
    json!({
        "id": entry.id, "guid": entry.guid, "delivered_at": time.map(|time| time.to_string()),
        "redelivery": entry.redelivery, "code": entry.status_code, "status": entry.status,
        "event": entry.event, "action": entry.action,
    })
}
