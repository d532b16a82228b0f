//! An HTTP/1.1 server of a test: one thread per connection, one closure that
//! answers, every request kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Method, a space, path and query.
    pub(super) line: String,
    /// Header lines with lower-case names.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(value)
    }
}

/// What the server answers.
pub(super) struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// Close without answering.
    hang_up: bool,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: String::new(),
            body: body.into(),
            hang_up: false,
        }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(super) fn hang_up() -> Self {
        Self {
            hang_up: true,
            ..Self::new(0, "")
        }
    }
}

type Handler = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

pub(super) struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(super) fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve("http://127.0.0.1", None, Arc::new(handler))
    }

    pub(super) fn start_tls(
        host: &str,
        tls: ServerConfig,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(
            &format!("https://{host}"),
            Some(Arc::new(tls)),
            Arc::new(handler),
        )
    }

    fn serve(origin: &str, tls: Option<Arc<ServerConfig>>, handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{origin}:{}", listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), tls) = (stream, tls.clone()) else {
                    return;
                };
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                thread::spawn(move || serve_connection(stream, tls, &handler, &log));
            }
        });
        Self { url, seen }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Every request so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests had a first line that starts so.
    pub(super) fn count(&self, line: &str) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.line.starts_with(line))
            .count()
    }
}

fn serve_connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    handler: &Handler,
    log: &Mutex<Vec<Seen>>,
) {
    match tls {
        Some(tls) => {
            let connection = ServerConnection::new(tls).unwrap();
            exchange(StreamOwned::new(connection, stream), handler, log);
        }
        None => exchange(stream, handler, log),
    }
}

fn exchange(stream: impl Read + Write, handler: &Handler, log: &Mutex<Vec<Seen>>) {
    let mut stream = BufReader::new(stream);
    while let Some(seen) = read_request(&mut stream) {
        log.lock().unwrap().push(seen.clone());
        let reply = handler(&seen);
        if reply.hang_up {
            return;
        }
        let Reply {
            status,
            headers,
            body,
            ..
        } = reply;
        // RFC 9110 section 8.6: a 204 has no length.
        let length = match status {
            204 => String::new(),
            _ => format!("content-length: {}\r\n", body.len()),
        };
        let head = format!("HTTP/1.1 {status} Answer\r\n{headers}{length}\r\n");
        let out = stream.get_mut();
        if out
            .write_all(head.as_bytes())
            .and_then(|()| out.write_all(&body))
            .is_err()
        {
            return;
        }
        let _ = out.flush();
    }
}

fn read_request(stream: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream
            .read_line(&mut header)
            .ok()
            .filter(|read| *read > 0)?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut seen = Seen {
        line,
        headers,
        body: String::new(),
    };
    let length = seen
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}
