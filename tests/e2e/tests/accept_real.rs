//! `just accept-real` as somebody with an App runs it, with the stand-in in
//! GitHub's place: the script's own options and output, TLS under a private
//! authority, the sleds' way out, a Debian root, a runner of one repository,
//! the permissions that `accept-real.md` names, and deliveries through the
//! tunnel that it names. What is GitHub's own stays for an App to prove.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use musher_demo::wait_for;
use musher_e2e::{free_port, good_summary, program, secret};
use serde_json::{Value, json};

/// Packing a Debian, on a slow and busy machine.
const PACK_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Everything after it.
const CHAIN_LIMIT: Duration = Duration::from_secs(15 * 60);
const SMEE: &str = "smee-client@5.0.0";

/// What makes an authority, and a certificate of it for the address `$1`.
const CERTIFICATES: &str = r#"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=site -days 2
openssl req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj /CN=github \
    -addext "subjectAltName=IP:$1"
openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
    -copy_extensions copy -out tls.pem
"#;

#[test]
#[ignore = "packs a Debian and boots it: part of test-full"]
fn the_chain_against_the_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path();
    let (hub, channel) = start_hub(files);
    let archive = target().join("images/runner.tar.gz");
    let sum = output(Command::new("sha256sum").arg(&archive));
    let dir = target().join("e2e/accept-real");
    let mut command = Command::new(program("musher-demo").unwrap());
    command
        .current_dir(target().join(".."))
        .args(["accept-real", "--api-url", &hub.api, "--ca-file"])
        .arg(files.join("ca.pem"))
        .args(["--app-id", "123456", "--private-key"])
        .arg(files.join("gh-app.pem"))
        .arg("--webhook-secret")
        .arg(files.join("webhook-secret"))
        .args(["--scope", "octo-org/app", "--runner-version", "2.335.0"])
        .args(["--runner-sha256", &sum[..64], "--runner-archive"])
        .arg(&archive)
        .args(["--minutes", "15", "--dir"])
        .arg(&dir);
    let mut accept = Program::start(&mut command);
    let webhook = accept.line("send the App's deliveries to ", PACK_LIMIT);

    let mut tunnel = Command::new("node");
    tunnel.arg(smee_client()).args(["--url", &channel]);
    let mut tunnel = Program::start(tunnel.args(["--target", &webhook]));
    tunnel.line("Connected", Duration::from_secs(60));
    let job = json!({
        "repo": "octo-org/app", "labels": ["self-hosted", "linux", "x64"],
        "script": "uname -a && id -un && sudo id && getent hosts deb.debian.org",
    });
    let job = hub.own("jobs", &["--json", &job.to_string()]);

    let ended = wait_for("accept-real to end", CHAIN_LIMIT, || {
        Ok(accept.child.try_wait()?)
    });
    let log = dir.join("musher.log");
    assert!(ended.unwrap().success(), "see {}", log.display());
    let jobs = good_summary(&dir).unwrap();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["id"], job["id"]);
    let said = hub.own(&format!("jobs/{}", job["id"]), &[])["log"].to_string();
    assert!(said.contains("\"runner\""), "{said}");
    assert!(said.contains("uid=0(root)"), "{said}");
    // The job found names by the machine's own resolver.
    assert!(said.contains("deb.debian.org\""), "{said}");
    assert_eq!(hub.own("runners", &[]), json!({ "runners": [] }));
    let asked = hub.own("requests", &[]);
    let minted = asked["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["route"] == "/repos/{owner}/{repo}/actions/runners/generate-jitconfig");
    let minted: Vec<&Value> = minted.map(|it| &it["count"]).collect();
    assert_eq!(minted, [1], "{asked}");
}

/// A program whose output is read. It ends with the value.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        // Read to its end, so that the program never waits for us.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                println!("{line}");
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// The rest of the line that begins so.
    fn line(&mut self, start: &str, limit: Duration) -> String {
        loop {
            let line = self.lines.recv_timeout(limit);
            let line = line.unwrap_or_else(|error| panic!("no line {start:?}: {error}"));
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A lab ends with the program that brought it up.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Hub {
    api: String,
    authority: PathBuf,
    _program: Program,
}

impl Hub {
    fn own(&self, path: &str, more: &[&str]) -> Value {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--cacert"]);
        curl.arg(&self.authority).args(more);
        let said = output(curl.arg(format!("{}/_fakehub/{path}", self.api)));
        serde_json::from_str(&said).unwrap()
    }
}

/// The stand-in where sleds reach it: at this machine's own address.
fn start_hub(files: &Path) -> (Hub, String) {
    let address = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: this asks which address would be used.
    let routed = address.connect("198.51.100.1:9");
    routed.expect("this test needs a network besides loopback");
    let address = address.local_addr().unwrap().ip();
    let mut make = Command::new("sh");
    make.args(["-ec", CERTIFICATES, "sh", &address.to_string()]);
    output(make.current_dir(files));
    let mut keys = Command::new(program("fakehub").unwrap());
    keys.args([
        "app-key",
        "--private",
        "gh-app.pem",
        "--public",
        "gh-app.pub.pem",
    ]);
    output(keys.current_dir(files));
    secret(&files.join("webhook-secret"), "a secret of this test").unwrap();
    let channel = free_port().unwrap();
    let runner = target().join("images/runner.tar.gz");
    let text = format!(
        r#"
[api]
listen = "{address}:0"
tls_cert = "tls.pem"
tls_key = "tls.key"

[sled]
listen = "{address}:0"

[channel]
listen = "{channel}"

[runner]
path = "{}"
version = "2.335.0"

[[app]]
app_id = 123456
public_key_path = "gh-app.pub.pem"
webhook_url = "http://{channel}/app"
webhook_secret_path = "webhook-secret"
permissions = {{ actions = "read", administration = "write", metadata = "read" }}

[[app.installation]]
id = 1001
account = "octo-org"
repositories = ["app"]
"#,
        runner.display()
    );
    std::fs::write(files.join("fakehub.toml"), text).unwrap();
    let mut command = Command::new(program("fakehub").unwrap());
    let mut program = Program::start(command.arg("--config").arg(files.join("fakehub.toml")));
    let hub = Hub {
        api: program.line("fakehub: api ", Duration::from_secs(30)),
        authority: files.join("ca.pem"),
        _program: program,
    };
    (hub, format!("http://{channel}/app"))
}

/// The tunnel of `accept-real.md`, from npm.
fn smee_client() -> PathBuf {
    let home = target().join("tools").join(SMEE);
    let program = home.join("node_modules/smee-client/bin/smee.js");
    if !program.is_file() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]);
        output(npm.arg("--prefix").arg(&home).arg(SMEE));
    }
    program
}

fn target() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    target.canonicalize().unwrap()
}

/// What a program prints, which must end well.
fn output(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output();
    let done = done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}
