//! A channel behind TLS by a private authority, through the site's proxy.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::stage::Stage;

/// A name that nobody resolves: only the proxy knows where it is.
const HOST: &str = "channel.example.test";
const LIMIT: Duration = Duration::from_secs(60);

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn tls(authority: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// A proxy with the channel behind it. Whatever it is asked is told; on the
/// channel comes `event`.
async fn site(tls: TlsAcceptor, event: String) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (tls, tell, event) = (tls.clone(), tell.clone(), event.clone());
            tokio::spawn(async move {
                drop(tell.send(head(&mut stream).await));
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                channel(stream, &tls, &tell, &event).await;
            });
        }
    });
    (proxy, told)
}

async fn channel(
    stream: TcpStream,
    tls: &TlsAcceptor,
    tell: &mpsc::UnboundedSender<String>,
    event: &str,
) {
    // A client that does not trust the authority ends it here.
    let Ok(mut stream) = tls.accept(stream).await else {
        return;
    };
    drop(tell.send(head(&mut stream).await));
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: ready\ndata: {{}}\n\n\
         data: {event}\n\n"
    );
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.flush().await);
    // Open until the client goes.
    drop(stream.read_u8().await);
}

/// The appliance, which ends with the value.
struct Serve(Child);

impl Drop for Serve {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn serve(stage: &Stage, proxy: &str) -> Serve {
    let text = std::fs::read_to_string(stage.path("musher.toml")).unwrap();
    let text = text
        .replace(":8400", &format!(":{}", free_port()))
        .replace(":8443", &format!(":{}", free_port()));
    let tunnel = format!("[tunnel]\nkind = \"smee\"\nurl = \"https://{HOST}/ours\"\n");
    std::fs::write(stage.path("musher.toml"), format!("{text}\n{tunnel}")).unwrap();
    let log = std::fs::File::create(stage.path("musher.log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_musher"))
        .args(["serve", "--config", "musher.toml"])
        .current_dir(stage.path(""))
        .env("SSL_CERT_FILE", stage.path("ca.pem"))
        .env("HTTPS_PROXY", proxy)
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    Serve(child.unwrap())
}

/// The first line of the appliance's log for which `fits`.
async fn line(stage: &Stage, fits: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let log = std::fs::read_to_string(stage.path("musher.log")).unwrap();
            let mut lines = log.lines().filter_map(|it| serde_json::from_str(it).ok());
            match lines.find(|it| fits(it)) {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let found = tokio::time::timeout(LIMIT, look).await;
    found.unwrap_or_else(|_| panic!("{:?}", std::fs::read_to_string(stage.path("musher.log"))))
}

/// A signed delivery as a channel sends it, of a job of `octo-org/demo`.
async fn event(stage: &Stage) -> String {
    let mode = json!({ "mode": "unreachable" });
    stage.own("POST", "/_fakehub/deliveries/mode", mode).await;
    stage.job(json!(["self-hosted", "linux"])).await;
    let logged = stage.own("GET", "/_fakehub/deliveries", Value::Null).await;
    let body = logged["deliveries"][0]["request"]["payload"].to_string();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"It's a Secret to Everybody");
    let tag = ring::hmac::sign(&key, body.as_bytes());
    let hex: String = tag.as_ref().iter().map(|it| format!("{it:02x}")).collect();
    format!(
        r#"{{"x-github-delivery":"by-tls","x-github-event":"workflow_job","x-hub-signature-256":"sha256={hex}","body":{body}}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_the_proxy_with_a_private_authority() {
    let stage = Stage::start().await;
    let authority = authority();
    std::fs::write(stage.path("ca.pem"), authority.pem()).unwrap();
    let (proxy, mut told) = site(tls(&authority), event(&stage).await).await;
    let _serve = serve(&stage, &proxy);
    let line = line(&stage, |line| line["delivery"] == "by-tls").await;
    assert_eq!(line["source"], "Tunnel", "{line}");
    let connect = told.recv().await.unwrap();
    assert!(
        connect.starts_with("CONNECT channel.example.test:443 HTTP/1.1\r\n"),
        "{connect}"
    );
    let asked = told.recv().await.unwrap();
    assert!(asked.starts_with("GET /ours HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("accept: text/event-stream\r\n"), "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_not_known_is_not_trusted() {
    let stage = Stage::start().await;
    std::fs::write(stage.path("ca.pem"), authority().pem()).unwrap();
    let (proxy, mut told) = site(tls(&authority()), "{}".to_owned()).await;
    let _serve = serve(&stage, &proxy);
    let line = line(&stage, |line| !line["wait_s"].is_null()).await;
    let error = line["error"].as_str().unwrap();
    assert!(error.starts_with("TLS with the channel: "), "{line}");
    assert!(told.recv().await.unwrap().starts_with("CONNECT "));
}
