//! Sends prepared requests over connections that stay open, one request at a
//! time on each, and checks every answer. One thread, so that the receiver
//! keeps the rest of the machine.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::deliveries::Request;

/// GitHub gives up after this time; a receiver that takes longer has failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
pub(crate) const MAX_ANSWER: usize = 16 * 1024;

/// Sends each sender's requests on a connection of its own, all at the same
/// time; the time from the first byte to the last answer.
///
/// # Errors
/// Any answer that is not 200 with the expected body.
pub(crate) fn send(address: SocketAddr, senders: Vec<Vec<Request>>) -> Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the senders")?;
    runtime.block_on(async {
        let mut connections = Vec::with_capacity(senders.len());
        for _ in &senders {
            let stream = TcpStream::connect(address).await;
            let stream = stream.with_context(|| format!("connect to {address}"))?;
            stream.set_nodelay(true).context("set TCP_NODELAY")?;
            connections.push(stream);
        }
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for (stream, requests) in connections.into_iter().zip(senders) {
            tasks.spawn(sender(stream, requests));
        }
        while let Some(done) = tasks.join_next().await {
            done.context("a sender panicked")??;
        }
        Ok(start.elapsed())
    })
}

async fn sender(mut stream: TcpStream, requests: Vec<Request>) -> Result<()> {
    let mut buffer = vec![0; MAX_ANSWER];
    for request in &requests {
        let exchange = exchange(&mut stream, request, &mut buffer);
        tokio::time::timeout(ANSWER_LIMIT, exchange)
            .await
            .context("no answer within 10 s, when GitHub would have given up")??;
    }
    Ok(())
}

/// One request and its answer, on any stream.
pub(crate) async fn exchange<S>(stream: &mut S, request: &Request, buffer: &mut [u8]) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = raw_exchange(stream, &request.bytes, buffer).await?;
    ensure!(
        answer == request.expect,
        "a delivery was answered {:?}",
        String::from_utf8_lossy(answer)
    );
    Ok(())
}

/// Sends bytes and returns the body of the answer, which must be 200.
pub(crate) async fn raw_exchange<'a, S>(
    stream: &mut S,
    bytes: &[u8],
    buffer: &'a mut [u8],
) -> Result<&'a [u8]>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(bytes).await.context("send a request")?;
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        ensure!(
            !room.is_empty(),
            "an answer is longer than {MAX_ANSWER} bytes"
        );
        let read = stream.read(room).await.context("read an answer")?;
        ensure!(read > 0, "the receiver closed the connection");
        filled += read;
        let so_far = buffer.get(..filled).unwrap_or_default();
        if let Some(body) = complete(so_far)? {
            ensure!(
                so_far.starts_with(b"HTTP/1.1 200 "),
                "a request was answered {:?}",
                String::from_utf8_lossy(so_far)
            );
            let begin = filled - body.len();
            return Ok(buffer.get(begin..filled).unwrap_or_default());
        }
    }
}

/// The body of an answer, once all of it is there.
fn complete(answer: &[u8]) -> Result<Option<&[u8]>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, rest) = answer.split_at(end + 4);
    let head = String::from_utf8_lossy(head);
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let Some(length): Option<usize> = length else {
        bail!("an answer has no Content-Length: {head:?}");
    };
    ensure!(
        rest.len() <= length,
        "an answer goes on after its end: {head:?}"
    );
    Ok((rest.len() == length).then_some(rest))
}

#[cfg(test)]
mod tests {
    use super::complete;

    #[test]
    fn answers_end_where_they_say() {
        let check = |answer: &str, expect: Result<Option<&str>, ()>| {
            let got = complete(answer.as_bytes()).map_err(drop);
            assert_eq!(
                got,
                expect.map(|body| body.map(str::as_bytes)),
                "{answer:?}"
            );
        };
        check("HTTP/1.1 200 OK\r\nContent-Le", Ok(None));
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", Ok(None));
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            Ok(Some("ok")),
        );
        check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok(Some("")));
        check("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok", Err(()));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(()),
        );
    }
}
