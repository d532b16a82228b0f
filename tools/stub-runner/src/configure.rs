//! What GitHub's `config.sh` does: registers the runner with a token and leaves
//! its settings in files beside it, from which a later `run` takes them.
//!
//! Everything but flags comes by the environment (`ACTIONS_RUNNER_INPUT_URL`,
//! `_TOKEN`, `_NAME`, `_LABELS`, `_RUNNERGROUP`), as GitHub's runner takes it too;
//! a token on the command line is refused, because anyone could read it there.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Client;

/// Flags that a registration without questions and for one job needs.
const NEEDED: [&str; 2] = ["--unattended", "--ephemeral"];
/// Flags that are known besides.
const KNOWN: [&str; 2] = ["--disableupdate", "--no-default-labels"];
/// Labels that GitHub's runner adds by itself.
const DEFAULT_LABELS: [&str; 3] = ["self-hosted", "Linux", "X64"];
/// Files that hold the settings.
pub(crate) const FILES: [&str; 2] = [".runner", ".credentials_rsaparams"];

/// Registers the runner whose files lie in `home`.
///
/// # Errors
/// What to print before exiting with 1.
pub(crate) fn run(
    home: &Path,
    flags: &[String],
    input: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let known = |flag: &&String| NEEDED.contains(&flag.as_str()) || KNOWN.contains(&flag.as_str());
    if let Some(other) = flags.iter().find(|flag| !known(flag)) {
        return Err(format!(
            "unrecognized command-line input argument: '{other}'"
        ));
    }
    if let Some(flag) = NEEDED
        .iter()
        .find(|flag| !flags.iter().any(|given| given == *flag))
    {
        return Err(format!("this stand-in is configured with {flag} only"));
    }
    if FILES.iter().any(|file| home.join(file).exists()) {
        return Err("Cannot configure the runner because it is already configured.".into());
    }
    let needed = |name: &'static str| {
        input(name)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| format!("ACTIONS_RUNNER_INPUT_{name} is not set"))
    };
    let (url, token, name) = (needed("URL")?, needed("TOKEN")?, needed("NAME")?);
    let (base, place) = split(&url).ok_or_else(|| format!("{url} is no page of a scope"))?;
    let given = input("LABELS").unwrap_or_default();
    let mut labels: Vec<&str> = given.split(',').filter(|label| !label.is_empty()).collect();
    if !flags.iter().any(|flag| flag == "--no-default-labels") {
        labels.extend(DEFAULT_LABELS);
    }
    let body = json!({
        "name": name, "labels": labels, "place": place, "group": input("RUNNERGROUP"),
    });
    let client = Client::new(base, &token).map_err(|error| error.to_string())?;
    let answer = client
        .send("POST", "/_runner/register", Some(&body), Duration::ZERO)
        .map_err(|error| error.to_string())?;
    if answer.status != 201 {
        let said = answer.body.get("message").and_then(Value::as_str);
        return Err(format!(
            "Http response code: {} from 'POST /_runner/register': {}",
            answer.status,
            said.unwrap_or_default()
        ));
    }
    let settings = json!({
        "AgentId": answer.body.get("id"), "AgentName": name, "Ephemeral": true,
        "ServerUrlV2": answer.body.get("server"), "WorkFolder": "_work",
    });
    let keys = json!({ "secret": answer.body.get("secret") });
    for (file, value) in FILES.iter().zip([settings, keys]) {
        write(&home.join(file), &value).map_err(|error| format!("cannot write {file}: {error}"))?;
    }
    println!("√ Runner successfully added");
    Ok(())
}

/// `http://host:port` and what follows it.
fn split(url: &str) -> Option<(&str, &str)> {
    let host = url.find("://")? + 3;
    let slash = host + url.get(host..)?.find('/')?;
    let (base, place) = url.split_at_checked(slash)?;
    let place = place.trim_matches('/');
    (!place.is_empty()).then_some((base, place))
}

fn write(file: &Path, value: &Value) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_split_at_the_host() {
        assert_eq!(
            split("http://h:1/octo/app/"),
            Some(("http://h:1", "octo/app"))
        );
        assert_eq!(split("http://h:1"), None);
        assert_eq!(split("http://h:1/"), None);
        assert_eq!(split("h/octo"), None);
    }

    #[test]
    fn what_is_missing_or_unknown_is_told() {
        let home = std::env::temp_dir();
        let check = |flags: &[&str], part: &str| {
            let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            let said = run(&home, &flags, |_| None).expect_err("refused");
            assert!(said.contains(part), "{said:?} lacks {part:?}");
        };
        check(&["--unattended"], "--ephemeral");
        check(&["--unattended", "--ephemeral", "--token"], "'--token'");
        check(&["--unattended", "--ephemeral"], "INPUT_URL");
    }
}
