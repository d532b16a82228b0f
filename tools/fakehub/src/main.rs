//! `fakehub`: runs the stand-in, and makes what it needs.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// A GitHub stand-in as strict as GitHub.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Configuration file (see the crate documentation).
    #[arg(long, default_value = "fakehub.toml")]
    config: PathBuf,
    /// Overrides [api] listen.
    #[arg(long)]
    api_listen: Option<SocketAddr>,
    /// Overrides [sled] listen.
    #[arg(long)]
    sled_listen: Option<SocketAddr>,
    /// Overrides the webhook_url of every app.
    #[arg(long)]
    webhook_url: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Makes an App's RSA key pair with openssl.
    AppKey {
        /// Private key to write, mode 0600.
        #[arg(long)]
        private: PathBuf,
        /// Public key to write.
        #[arg(long)]
        public: PathBuf,
    },
    /// Prints an App token that is good for nine minutes, for use with curl.
    AppToken {
        /// Private key of the App.
        #[arg(long)]
        private: PathBuf,
        /// Number of the App.
        #[arg(long)]
        app_id: u64,
    },
    /// Packs a listener program as a runner release.
    RunnerTarball {
        /// The program, statically linked.
        #[arg(long)]
        runner: PathBuf,
        /// Tarball to write.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::AppKey { private, public }) => Ok(fakehub::keys::generate(private, public)?),
        Some(Command::AppToken { private, app_id }) => {
            let pem = std::fs::read(private)
                .with_context(|| format!("cannot read {}", private.display()))?;
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            let now_s = since.as_secs();
            let claims =
                serde_json::json!({ "iss": app_id, "iat": now_s - 60, "exp": now_s + 540 });
            println!("{}", fakehub::keys::sign(&pem, &claims)?);
            Ok(())
        }
        Some(Command::RunnerTarball { runner, out }) => {
            let program = std::fs::read(runner)
                .with_context(|| format!("cannot read {}", runner.display()))?;
            std::fs::write(out, fakehub::tarball::pack(&program)?)
                .with_context(|| format!("cannot write {}", out.display()))
        }
        None => serve(&arguments),
    }
}

#[tokio::main]
async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let mut config = fakehub::Config::load(&arguments.config)?;
    if let Some(listen) = arguments.api_listen {
        config.api.listen = listen;
    }
    if let Some(listen) = arguments.sled_listen {
        config
            .sled
            .get_or_insert_with(|| fakehub::config::Listener::plain(listen))
            .listen = listen;
    }
    if let Some(url) = &arguments.webhook_url {
        for app in &mut config.apps {
            app.webhook_url = Some(url.clone());
        }
    }
    config.check()?;
    let running = fakehub::start(config).await?;
    println!("fakehub: api {}", running.hub.urls.api);
    println!("fakehub: sleds {}", running.hub.urls.sled);
    if let Some(channel) = running.channel {
        println!("fakehub: channels http://{channel}");
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended?,
        _ = terminate.recv() => {}
    }
    println!("fakehub: stopped");
    Ok(())
}
