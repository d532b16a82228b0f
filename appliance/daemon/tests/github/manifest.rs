//! The manifest flow with this test as the browser.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::stage::Stage;

/// The value of an attribute in a page, without its HTML escapes.
fn attribute(page: &str, before: &str) -> String {
    let (_, rest) = page.split_once(before).unwrap();
    let (value, _) = rest.split_once('"').unwrap();
    value
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn browser() -> ureq::Agent {
    ureq::Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .new_agent()
}

/// Plays person and browser; returns what the command printed.
fn make(dir: &std::path::Path, api: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_musher"))
        .args([
            "github",
            "manifest",
            "--name",
            "Sleds & <co>",
            "--org",
            "octo-org",
        ])
        .args(["--public-url", "https://ci.example.org/", "--api-url", api])
        .args(["--out", "."])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let page = line.split_whitespace().nth(1).unwrap().to_owned();

    let browser = browser();
    let forged = browser
        .get(format!("{page}created?code=abc&state=0"))
        .call();
    assert_eq!(forged.unwrap().status(), 400);
    let form = browser
        .get(&page)
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    let action = attribute(&form, "action=\"");
    assert!(action.starts_with(&format!(
        "{api}/organizations/octo-org/settings/apps/new?state="
    )));
    let manifest = attribute(&form, "value=\"");
    let sent = browser
        .post(&action)
        .content_type("application/x-www-form-urlencoded")
        .send(format!("manifest={}", encoded(&manifest)))
        .unwrap();
    assert_eq!(sent.status(), 302);
    let back = sent.headers()["location"].to_str().unwrap().to_owned();
    assert!(back.starts_with(&format!("{page}created?code=")), "{back}");
    assert_eq!(browser.get(&back).call().unwrap().status(), 200);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    rest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_is_made_and_its_secrets_are_kept() {
    let stage = Stage::start().await;
    let folder = stage.path("made");
    std::fs::create_dir(&folder).unwrap();
    let (dir, api) = (folder.clone(), stage.hub().urls.api.clone());
    let printed = tokio::task::spawn_blocking(move || make(&dir, &api))
        .await
        .unwrap();
    assert!(printed.contains("/installations/new"), "{printed}");
    assert!(printed.contains("app_id = "), "{printed}");
    for (name, start) in [
        ("main.pem", "-----BEGIN RSA PRIVATE KEY-----"),
        ("main-webhook-secret", ""),
    ] {
        let path = folder.join(name);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{name}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() >= 40 && text.starts_with(start), "{name}");
        assert!(!printed.contains(text.trim_end()), "{name} was printed");
    }
    assert_eq!(stage.asked("POST", "/app-manifests/{code}/conversions"), 1);

    // What is there is never overwritten.
    let line = [
        "github",
        "manifest",
        "--name",
        "x",
        "--public-url",
        "https://ci.example.org",
        "--out",
        "made",
    ];
    let again = stage.musher(&line).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("choose another --out"));
}
