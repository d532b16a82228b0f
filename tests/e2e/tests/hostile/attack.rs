//! The attacks: each is bytes for one connection, made from a seed.

use serde_json::Value;

use crate::body;
use crate::random::Random;
use crate::wire::{Delivery, request};

/// GitHub's cap: 25 MB.
const CAP: usize = 25 * 1024 * 1024;

/// Places in [`Delivery::headers`].
const ID: usize = 2;
const EVENT: usize = 3;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Signature,
    Truncated,
    OtherType,
    DuplicateKey,
    Nested,
    Flipped,
    NotUtf8,
    Headers,
    Length,
    Chunks,
    Pipelined,
    Garbage,
    Oversized,
}

/// Bytes for one connection.
pub(crate) struct Attack {
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
    /// Whatever in it is signed correctly, in order: only these may be stored.
    pub(crate) signed: Vec<Delivery>,
}

impl Kind {
    /// Of each thousand: fields have many types, and flips go anywhere.
    const WEIGHTS: [(Self, usize); 13] = [
        (Self::Signature, 80),
        (Self::Truncated, 80),
        (Self::OtherType, 350),
        (Self::DuplicateKey, 80),
        (Self::Nested, 10),
        (Self::Flipped, 200),
        (Self::NotUtf8, 40),
        (Self::Headers, 60),
        (Self::Length, 40),
        (Self::Chunks, 25),
        (Self::Pipelined, 15),
        (Self::Garbage, 18),
        (Self::Oversized, 2),
    ];

    fn of(number: usize) -> Self {
        let mut place = number % 1_000;
        for (kind, weight) in Self::WEIGHTS {
            if place < weight {
                return kind;
            }
            place -= weight;
        }
        unreachable!("the weights add up to a thousand")
    }

    /// The only statuses that may be answered. Whoever is cut off may hear none.
    pub(crate) const fn statuses(self) -> &'static [u16] {
        match self {
            Self::Signature => &[401],
            Self::Truncated => &[400],
            Self::OtherType | Self::DuplicateKey | Self::Flipped | Self::NotUtf8 => &[200, 400],
            Self::Headers => &[200, 400, 401, 431],
            Self::Length => &[400, 401, 413, 431],
            Self::Chunks | Self::Pipelined => &[200, 400, 401],
            Self::Garbage => &[400, 404, 414, 431],
            // Bodies so large have no room of their own.
            Self::Nested => &[200, 400, 503],
            Self::Oversized => &[413, 503],
        }
    }

    /// Whether each request of it is answered, not just cut off.
    pub(crate) const fn is_answered(self) -> bool {
        match self {
            Self::Signature
            | Self::Truncated
            | Self::OtherType
            | Self::DuplicateKey
            | Self::Nested
            | Self::Flipped
            | Self::NotUtf8
            | Self::Pipelined => true,
            Self::Headers | Self::Length | Self::Chunks | Self::Garbage | Self::Oversized => false,
        }
    }
}

impl Attack {
    /// The attack of this number.
    pub(crate) fn make(real: &[Value], seed: u64, number: usize) -> Self {
        let kind = Kind::of(number);
        let random = &mut Random::of(seed, number);
        let body = body::any(real, random);
        let plain = || body.to_string().into_bytes();
        let id = |part: usize| format!("72d3162e-cc78-11e3-81ab-{:012x}", number * 100 + part);
        let signed = |body: Vec<u8>| Delivery { id: id(0), body };
        let whole = |body: Vec<u8>| {
            let delivery = signed(body);
            (delivery.request(), vec![delivery])
        };
        let (bytes, signed) = match kind {
            Kind::Signature => (badly_signed(&signed(plain()), random), Vec::new()),
            Kind::Truncated => {
                let mut bytes = plain();
                bytes.truncate(random.below(bytes.len()));
                whole(bytes)
            }
            Kind::OtherType => {
                // Those before it in each thousand do not count.
                let at = number / 1_000 * 350 + number % 1_000 - 160;
                whole(body::other_type(&body, at))
            }
            Kind::DuplicateKey => whole(body::duplicate_key(&body, random)),
            Kind::Nested => whole(body::nested(&body, random)),
            Kind::Flipped => whole(body::flipped(&body, random)),
            Kind::NotUtf8 => whole(body::not_utf8(&body, random)),
            Kind::Headers => {
                let delivery = signed(plain());
                (odd_headers(&delivery, random), vec![delivery])
            }
            Kind::Length => (wrong_length(&signed(plain()), random), Vec::new()),
            Kind::Chunks => {
                let delivery = signed(plain());
                (chunked(&delivery, random), vec![delivery])
            }
            Kind::Pipelined => {
                let many = (0..2 + random.below(20)).map(|part| Delivery {
                    id: id(part),
                    body: body::any(real, random).to_string().into_bytes(),
                });
                let many: Vec<Delivery> = many.collect();
                let (last, others) = many.split_last().expect("there are two or more");
                let mut bytes: Vec<u8> = others.iter().flat_map(Delivery::one_of_many).collect();
                bytes.extend_from_slice(&last.request());
                (bytes, many)
            }
            Kind::Garbage => (garbage(random), Vec::new()),
            Kind::Oversized => (oversized(&signed(Vec::new()), random), Vec::new()),
        };
        Self {
            kind,
            bytes,
            signed,
        }
    }
}

fn badly_signed(delivery: &Delivery, random: &mut Random) -> Vec<u8> {
    let mut headers = delivery.headers();
    let right = headers.pop().expect("the signature comes last").1;
    let wrong = match random.below(8) {
        0 => None,
        1 => Some(String::new()),
        2 => Some(right.replace("sha256", "sha1")),
        3 => Some(right[..right.len() - 1].to_owned()),
        4 => Some(format!("{right}0")),
        5 => Some(format!("sha256={}", "z".repeat(64))),
        6 => Some("x".repeat(20_000)),
        _ => {
            let at = 7 + random.below(64);
            let digit = if right.as_bytes()[at] == b'0' {
                "1"
            } else {
                "0"
            };
            Some(format!("{}{digit}{}", &right[..at], &right[at + 1..]))
        }
    };
    headers.extend(wrong.map(|wrong| ("X-Hub-Signature-256", wrong)));
    headers.push(("Content-Length", delivery.body.len().to_string()));
    request(&headers, &delivery.body)
}

fn odd_headers(delivery: &Delivery, random: &mut Random) -> Vec<u8> {
    let mut headers = delivery.headers();
    headers.push(("Content-Length", delivery.body.len().to_string()));
    match random.below(8) {
        // One is absent; without the length the body is another request.
        0 => drop(headers.remove(random.below(headers.len()))),
        1 => headers.extend((0..100 + random.below(2_000)).map(|_| ("X-More", "1".to_owned()))),
        2 => headers.push(("X-Long", "x".repeat(1 << (12 + random.below(8))))),
        3 => headers[ID].1 = "x".repeat(random.below(400)),
        4 => headers[EVENT].1 = "workflow_job, ping".to_owned(),
        5 => headers[ID].1 = "\u{e4}\u{f6}\u{fc}".to_owned(),
        6 => headers.push(("X GitHub:Event", "ping".to_owned())),
        // Twice, with another value.
        _ => {
            let (name, _) = headers[random.below(headers.len())];
            headers.insert(0, (name, "7".to_owned()));
        }
    }
    request(&headers, &delivery.body)
}

/// The length is not that of the body: no part of it is a delivery.
fn wrong_length(delivery: &Delivery, random: &mut Random) -> Vec<u8> {
    let length = delivery.body.len();
    let wrong = match random.below(8) {
        0 => random.below(length).to_string(),
        1 => (length + 1 + random.below(100_000)).to_string(),
        2 => (CAP + 1).to_string(),
        3 => u64::MAX.to_string(),
        4 => "18446744073709551616".to_owned(),
        5 => "-1".to_owned(),
        6 => format!("{length}, {}", length - 1),
        _ => format!("{length}x"),
    };
    let mut headers = delivery.headers();
    headers.push(("Content-Length", wrong));
    request(&headers, &delivery.body)
}

/// Transfer coding (RFC 9112, 7.1), mostly wrong.
fn chunked(delivery: &Delivery, random: &mut Random) -> Vec<u8> {
    let mut headers = delivery.headers();
    headers.push(("Transfer-Encoding", "chunked".to_owned()));
    let mut body = Vec::new();
    for chunk in delivery.body.chunks(1 + random.below(2_000)) {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    match random.below(6) {
        0 => body.extend_from_slice(b"0\r\n\r\n"),
        1 => body.extend_from_slice(b"ffffffffffffffffff\r\n"),
        2 => body.extend_from_slice(b"-1\r\n\r\n"),
        3 => body.extend_from_slice(format!("1;{}\r\nx\r\n", "x".repeat(100_000)).as_bytes()),
        // Both codings at once.
        4 => {
            headers.push(("Content-Length", delivery.body.len().to_string()));
            body.extend_from_slice(b"0\r\n\r\n");
        }
        // It never ends.
        _ => {}
    }
    request(&headers, &body)
}

fn garbage(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => {
            let count = 1 + random.below(5_000);
            random.bytes(count)
        }
        1 => vec![b'A'; 1 << (10 + random.below(9))],
        2 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        3 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        4 => format!("GET /{} HTTP/1.1\r\n\r\n", "../".repeat(10_000)).into_bytes(),
        _ => b"POST /api/webhook HTTP/1.1\r\nHost: musher\r\n".to_vec(),
    }
}

/// One byte more than GitHub sends, signed, with and without saying so.
fn oversized(delivery: &Delivery, random: &mut Random) -> Vec<u8> {
    let body = vec![b' '; CAP + 1];
    let delivery = Delivery {
        id: delivery.id.clone(),
        body,
    };
    if random.below(2) == 0 {
        return delivery.request();
    }
    let mut headers = delivery.headers();
    headers.push(("Transfer-Encoding", "chunked".to_owned()));
    let mut bytes = request(&headers, &[]);
    for chunk in delivery.body.chunks(1 << 20) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}
