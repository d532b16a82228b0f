//! `musher github manifest`: makes a GitHub App by GitHub's manifest flow.
//!
//! A page on this machine posts the manifest to GitHub, which sends the
//! browser back with a code; the code buys the App's id, key and secret. They
//! go into files that only their owner can read, and nowhere else.
//!
//! Source: GitHub Docs, "Registering a GitHub App from a manifest".

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use maud::{DOCTYPE, Markup, html};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::github::{MadeApp, Secret, convert_manifest, web_url};

/// GitHub's codes are good for an hour; so is the page.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// A browser that says nothing for this long is left.
const CONNECTION: Duration = Duration::from_secs(60);
/// GitHub's limit for names of Apps.
const NAME: usize = 34;

/// What the App is to be.
#[derive(Args)]
pub(in crate::cli) struct Wish {
    /// Name of the App, unlike any other at GitHub
    #[arg(long)]
    name: String,
    /// Address at which GitHub reaches this appliance, such as https://ci.example.org
    #[arg(long)]
    public_url: String,
    /// Organization that is to own it; yourself without
    #[arg(long)]
    org: Option<String>,
    /// Runners of single repositories instead of a whole organization
    #[arg(long)]
    repositories: bool,
    /// Also may run failed jobs again and start acceptance runs (pools with
    /// max_reruns or acceptance)
    #[arg(long)]
    reruns: bool,
    /// Base of GitHub's REST API
    #[arg(long, default_value = "https://api.github.com")]
    api_url: String,
    /// Further certificate authority, in PEM form
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// Folder for the key and the secret
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Name of the [[github]] entry, and of the files
    #[arg(long, default_value = "main")]
    app: String,
    /// Port of the page on this machine; any without
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Files made beforehand, so that what GitHub shows once finds its place.
struct Files {
    key: (PathBuf, File),
    secret: (PathBuf, File),
    kept: bool,
}

impl Files {
    fn reserve(wish: &Wish) -> anyhow::Result<Self> {
        let open = |name: String| {
            let path = wish.out.join(name);
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .with_context(|| format!("create {}: choose another --out", path.display()))?;
            anyhow::Ok((path, file))
        };
        let key = open(format!("{}.pem", wish.app))?;
        let secret = match open(format!("{}-webhook-secret", wish.app)) {
            Ok(secret) => secret,
            Err(error) => {
                // Ours, and empty.
                let _ = std::fs::remove_file(&key.0);
                return Err(error);
            }
        };
        Ok(Self {
            key,
            secret,
            kept: false,
        })
    }

    fn keep(&mut self, made: &MadeApp) -> anyhow::Result<()> {
        // Whatever happens now, a key that is half written is better kept.
        self.kept = true;
        let secret = made
            .webhook_secret
            .as_ref()
            .context("github made the app without a webhook secret")?;
        for ((path, file), text) in [
            (&mut self.key, &made.private_key_pem),
            (&mut self.secret, secret),
        ] {
            file.write_all(text.expose().as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(|| {
                    format!(
                        "write {}: app {} was made all the same; generate a key and set a secret \
                         on its settings page",
                        path.display(),
                        made.id
                    )
                })?;
        }
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.kept {
            for (path, _) in [&self.key, &self.secret] {
                // Ours, and empty; an error leaves an empty file behind.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

pub(super) fn run(wish: &Wish) -> anyhow::Result<()> {
    check(wish)?;
    let mut files = Files::reserve(wish)?;
    let made = super::runtime()?.block_on(async {
        tokio::time::timeout(PATIENCE, converse(wish))
            .await
            .context("nobody made the app within the hour")?
    })?;
    files.keep(&made)?;
    println!(
        "app {} is made; now install it: {}/installations/new",
        made.id, made.html_url
    );
    println!();
    println!("[[github]]");
    println!("name = \"{}\"", wish.app);
    if wish.api_url != "https://api.github.com" {
        println!("api_url = \"{}\"", wish.api_url);
    }
    println!("app_id = {}", made.id);
    println!("private_key_path = \"{}\"", shown(&files.key.0));
    println!("webhook_secret_path = \"{}\"", shown(&files.secret.0));
    Ok(())
}

fn shown(path: &Path) -> String {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_path_buf())
        .display()
        .to_string()
}

fn check(wish: &Wish) -> anyhow::Result<()> {
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    ensure!(
        (1..=NAME).contains(&wish.name.len()),
        "--name: github takes 1 to {NAME} characters"
    );
    ensure!(
        plain(&wish.app),
        "--app must be of letters, digits, - and _"
    );
    if let Some(org) = &wish.org {
        ensure!(plain(org), "--org must be an organization's login");
    }
    ensure!(
        wish.public_url.starts_with("https://") && !wish.public_url.contains(['"', ' ']),
        "--public-url must start with https://: github sends deliveries there"
    );
    web(&wish.api_url)?;
    Ok(())
}

/// Where GitHub's pages are.
fn web(api_url: &str) -> anyhow::Result<String> {
    web_url(api_url).context("--api-url: expected https://api.github.com or https://HOST/api/v3")
}

fn manifest(wish: &Wish, redirect_url: &str) -> Value {
    let public = wish.public_url.trim_end_matches('/');
    let actions = if wish.reruns { "write" } else { "read" };
    // How a run ended that never came to its job, where runs are dispatched.
    let events: &[&str] = match wish.reruns {
        true => &["workflow_job", "workflow_run"],
        false => &["workflow_job"],
    };
    let mut permissions = json!({ "metadata": "read", "actions": actions });
    let scope = match wish.repositories {
        true => "administration",
        false => "organization_self_hosted_runners",
    };
    permissions[scope] = json!("write");
    json!({
        "name": wish.name,
        "url": public,
        "hook_attributes": { "url": format!("{public}/api/webhook/{}", wish.app), "active": true },
        "redirect_url": redirect_url,
        "public": false,
        "default_permissions": permissions,
        "default_events": events,
    })
}

/// Serves the page until the browser has brought a code that was converted.
async fn converse(wish: &Wish) -> anyhow::Result<MadeApp> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], wish.port)))
        .await
        .context("listen on this machine: choose another --port")?;
    let address = listener.local_addr()?;
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    let state: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let form = form(wish, &format!("http://{address}/created"), &state)?;
    println!("open http://{address}/ in a browser on this machine");
    println!(
        "(from elsewhere: ssh -L {0}:127.0.0.1:{0} … first)",
        address.port()
    );
    std::io::stdout().flush()?;
    let (found, mut codes) = tokio::sync::mpsc::channel::<Secret>(1);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
            let answer = answer(&request, &form, &state, &found);
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // A browser that goes away may come again.
        let _ = tokio::time::timeout(CONNECTION, connection).await;
        if let Ok(code) = codes.try_recv() {
            let (api_url, ca_file) = (wish.api_url.clone(), wish.ca_file.clone());
            let convert = move || convert_manifest(&api_url, ca_file.as_deref(), code.expose());
            return Ok(tokio::task::spawn_blocking(convert).await??);
        }
    }
}

fn form(wish: &Wish, redirect_url: &str, state: &str) -> anyhow::Result<String> {
    let web = web(&wish.api_url)?;
    let action = match &wish.org {
        Some(org) => format!("{web}/organizations/{org}/settings/apps/new?state={state}"),
        None => format!("{web}/settings/apps/new?state={state}"),
    };
    let manifest = manifest(wish, redirect_url).to_string();
    Ok(page(html! {
        p { "This makes the GitHub App " strong { (wish.name) } ", with the permissions that \
             Musher needs and no other. GitHub asks you to confirm." }
        form action=(action) method="post" {
            input type="hidden" name="manifest" value=(manifest);
            button type="submit" { "Go to GitHub" }
        }
    }))
}

fn page(content: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Musher: make a GitHub App" } }
            body { h1 { "Musher" } (content) }
        }
    };
    page.into_string()
}

fn answer<B>(
    request: &Request<B>,
    form: &str,
    state: &str,
    found: &tokio::sync::mpsc::Sender<Secret>,
) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => (200, form.to_owned()),
        (&Method::GET, "/created") => match code(request.uri().query(), state) {
            Some(code) => {
                // A second code before the first is converted is of no use.
                let _ = found.try_send(code);
                let words = html! { p { "The App is being made: see the terminal." } };
                (200, page(words))
            }
            None => {
                let words = html! { p { "This did not come from the page here. Begin again." } };
                (400, page(words))
            }
        },
        _ => (404, page(html! { p { "Nothing is here." } })),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    let fixed = hyper::header::HeaderValue::from_static;
    headers.insert(CONTENT_TYPE, fixed("text/html; charset=utf-8"));
    // No script, nothing from elsewhere; the form may go to GitHub.
    headers.insert(
        CONTENT_SECURITY_POLICY,
        fixed("default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    );
    response
}

/// The code of an answer to our own form. Codes and states are plain.
fn code(query: Option<&str>, state: &str) -> Option<Secret> {
    let field = |name: &str| {
        query?
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    // Digests, so that the time taken tells nothing of the state.
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    let ours = digest(field("state")?) == digest(state);
    ours.then_some(())?;
    Some(Secret::new(field("code")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_our_own_form_counts() {
        #[track_caller]
        fn check(query: Option<&str>, expect: Option<&str>) {
            let found = code(query, "s1");
            assert_eq!(found.as_ref().map(Secret::expose), expect);
        }
        check(Some("code=abc&state=s1"), Some("abc"));
        check(Some("state=s1&code=abc"), Some("abc"));
        check(Some("code=abc&state=s2"), None);
        check(Some("code=abc"), None);
        check(Some("state=s1"), None);
        check(None, None);
    }
}
