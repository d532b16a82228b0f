//! A server that says nothing, or never ends, holds nobody up for long.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::super::http::Waits;
use super::super::{ErrorKind, GithubClient};
use super::{FakeClock, config};

/// Far beyond what the test waits for: whoever meets it has not met another.
const NEVER: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_millis(200);

/// Asks for the App, and says what came of it. It is asked once.
async fn ask(address: SocketAddr, waits: Waits) -> String {
    let config = config(&format!("http://{address}"));
    let client = GithubClient::start_with(config, FakeClock::new().clock(), waits).unwrap();
    let begun = Instant::now();
    let error = client.app().await.unwrap_err();
    assert!(begun.elapsed() < NEVER, "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    error.to_string()
}

fn waits() -> Waits {
    Waits {
        pause: Arc::new(|_| panic!("a deadline that was met is no reason to try again")),
        connect: NEVER,
        read: NEVER,
        call: NEVER,
    }
}

/// A server whose one connection gets `answer`, and then a byte every now and
/// then for as long as `trickles`.
fn server(answer: &'static str, trickles: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        while trickles && stream.write_all(b"x").is_ok() {
            thread::sleep(SOON / 8);
        }
        // Until the client has enough.
        drop(stream.read_to_end(&mut Vec::new()));
    });
    address
}

const ENDLESS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";

#[tokio::test]
async fn a_server_that_is_silent() {
    for answer in ["", ENDLESS] {
        let said = ask(
            server(answer, false),
            Waits {
                read: SOON,
                ..waits()
            },
        )
        .await;
        assert!(
            said.contains("GET /app: no complete answer from 127.0.0.1 in time"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_never_ends() {
    // Each byte comes in time.
    let patient = Waits {
        call: 2 * SOON,
        ..waits()
    };
    let said = ask(server(ENDLESS, true), patient).await;
    assert!(
        said.contains("no complete answer from 127.0.0.1 in time"),
        "{said}"
    );
}

#[tokio::test]
async fn a_server_that_takes_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Linux lets as many wait as the backlog says, and answers nobody after that.
    let connect = || TcpStream::connect_timeout(&address, SOON).ok();
    let waiting: Vec<TcpStream> = (0..5_000)
        .map_while(|_| connect().or_else(connect))
        .collect();
    assert!(!waiting.is_empty() && waiting.len() < 5_000);
    let said = ask(
        address,
        Waits {
            connect: SOON,
            ..waits()
        },
    )
    .await;
    assert!(
        said.contains("no complete answer from 127.0.0.1 in time (step: connect)"),
        "{said}"
    );
}
