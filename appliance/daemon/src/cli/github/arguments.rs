//! The words of `musher github …`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::manifest::Wish;
use crate::github::Scope;

/// Look at and act on what GitHub knows
#[derive(Subcommand)]
pub(in crate::cli) enum GithubCommand {
    /// Registered runners
    #[command(subcommand)]
    Runners(RunnersCommand),
    /// Labels of a runner
    #[command(subcommand)]
    Labels(LabelsCommand),
    /// Runner groups, and whether public repositories may use them
    Groups(Place),
    /// Releases of the runner that GitHub offers
    Downloads(Place),
    /// Tokens by which runners register or remove themselves, for an hour
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// The App's delivery log
    #[command(subcommand)]
    Deliveries(DeliveriesCommand),
    /// Find what keeps the Apps from serving the pools
    Doctor {
        #[command(flatten)]
        at: At,
        /// Inventory whose pools to look for
        #[arg(long)]
        inventory: Option<PathBuf>,
    },
    /// Make a GitHub App with everything set as it must be
    Manifest(Wish),
}

/// Which App asks.
#[derive(Args)]
pub(in crate::cli) struct At {
    /// Configuration
    #[arg(long, default_value = "/etc/musher/musher.toml")]
    pub(super) config: PathBuf,
    /// Name of the [[github]] entry; the first without
    #[arg(long)]
    pub(super) app: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Which App asks, and where.
#[derive(Args)]
pub(in crate::cli) struct Place {
    /// org:NAME, repo:OWNER/NAME or enterprise:NAME
    #[arg(long)]
    pub(super) scope: ScopeArgument,
    #[command(flatten)]
    pub(super) at: At,
}

#[derive(Clone)]
pub(in crate::cli) struct ScopeArgument(pub(super) Scope);

impl FromStr for ScopeArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scope = match text.split_once(':') {
            Some(("org", name)) => Scope::org(name),
            Some(("repo", name)) => Scope::repo(name),
            Some(("enterprise", name)) => Scope::enterprise(name),
            _ => return Err("expected org:NAME, repo:OWNER/NAME or enterprise:NAME".to_owned()),
        };
        scope.map(Self).map_err(|error| error.to_string())
    }
}

#[derive(Subcommand)]
pub(in crate::cli) enum RunnersCommand {
    /// List all runners
    List(Place),
    /// Show one runner
    Get {
        /// GitHub's id of it
        id: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Delete a runner; one that does not exist counts as deleted
    Delete {
        /// GitHub's id of it
        id: u64,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args)]
pub(in crate::cli) struct OfRunner {
    /// GitHub's id of the runner
    pub(super) id: u64,
    #[command(flatten)]
    pub(super) place: Place,
}

#[derive(Subcommand)]
pub(in crate::cli) enum LabelsCommand {
    /// List a runner's labels
    List(OfRunner),
    /// Give it further labels
    Add {
        #[command(flatten)]
        of: OfRunner,
        /// Labels
        #[arg(required = true)]
        labels: Vec<String>,
    },
    /// Replace its custom labels
    Set {
        #[command(flatten)]
        of: OfRunner,
        /// Labels
        #[arg(required = true)]
        labels: Vec<String>,
    },
    /// Take all its custom labels
    Clear(OfRunner),
    /// Take one custom label
    Remove {
        #[command(flatten)]
        of: OfRunner,
        /// The label
        label: String,
    },
}

#[derive(Subcommand)]
pub(in crate::cli) enum TokensCommand {
    /// Print a token by which runners register
    Registration(Place),
    /// Print a token by which runners remove themselves
    Remove(Place),
}

#[derive(Subcommand)]
pub(in crate::cli) enum DeliveriesCommand {
    /// List attempts, newest first
    List {
        /// How many at most
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        at: At,
    },
    /// Show one attempt with its payload
    Show {
        /// The attempt's number
        id: u64,
        #[command(flatten)]
        at: At,
    },
    /// Ask GitHub to deliver once more, under the same GUID
    Redeliver {
        /// The attempt's number
        id: u64,
        #[command(flatten)]
        at: At,
    },
}
