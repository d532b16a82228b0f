//! A webhook receiver that keeps what arrives. It answers 200 to everything.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// One delivery as it came over the wire.
pub(crate) struct Received {
    /// Header names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Raw body.
    pub(crate) body: Vec<u8>,
}

/// A receiver on a free port.
pub(crate) struct Receiver {
    /// Where deliveries go.
    pub(crate) url: String,
    queue: mpsc::Receiver<Received>,
}

impl Receiver {
    /// Listens in the background.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!(
            "http://{}/api/webhook",
            listener.local_addr().expect("an address")
        );
        let (sender, queue) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Some(received) = read(stream).await {
                        // The test may be over already.
                        let _ = sender.send(received).await;
                    }
                });
            }
        });
        Self { url, queue }
    }

    /// The next delivery.
    pub(crate) async fn next(&mut self) -> Received {
        tokio::time::timeout(Duration::from_secs(20), self.queue.recv())
            .await
            .expect("a delivery within 20 s")
            .expect("the receiver lives")
    }
}

async fn read(mut stream: TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream
            .read(&mut piece)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        bytes.extend_from_slice(piece.get(..count)?);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
        let headers: BTreeMap<String, String> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length: usize = headers.get("content-length")?.parse().ok()?;
        let body = bytes.get(end + 4..)?.to_vec();
        if body.len() >= length {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"result\":\"queued\"}";
            stream.write_all(answer).await.ok()?;
            return Some(Received { headers, body });
        }
    }
}
