use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn read(options: &[(&str, &str)]) -> ReadRequest {
    let packet = Packet::Request {
        write: false,
        name: "f",
        mode: "octet",
        options: options.to_vec(),
    };
    ReadRequest::of(&packet).unwrap()
}

fn start(bytes: usize, options: &[(&str, &str)]) -> (Transfer<Vec<u8>>, Vec<Vec<u8>>) {
    Transfer::start(content(bytes), read(options).negotiated, 0)
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect()
}

fn ack(block: u16) -> Vec<u8> {
    Packet::Ack { block }.encode()
}

#[test]
fn golden_packets() {
    #[track_caller]
    fn check(bytes: &[u8], expect: Packet<'_>) {
        assert_eq!(Packet::decode(bytes).as_ref(), Ok(&expect));
        assert_eq!(expect.encode(), bytes);
    }
    let options = vec![("tsize", "0"), ("blksize", "1468")];
    let request = |write| Packet::Request {
        write,
        name: "snponly.efi",
        mode: "octet",
        options: options.clone(),
    };
    check(
        b"\0\x01snponly.efi\0octet\0tsize\x000\0blksize\x001468\0",
        request(false),
    );
    check(
        b"\0\x02snponly.efi\0octet\0tsize\x000\0blksize\x001468\0",
        request(true),
    );
    check(
        b"\0\x03\x01\x02abc",
        Packet::Data {
            block: 258,
            data: b"abc",
        },
    );
    check(b"\0\x04\xff\xff", Packet::Ack { block: 65535 });
    check(
        b"\0\x05\0\x01no such file\0",
        Packet::Error {
            code: 1,
            text: "no such file",
        },
    );
    check(
        b"\0\x06tsize\x0099\0",
        Packet::OptionAck {
            options: vec![("tsize", "99")],
        },
    );
}

#[test]
fn malformed_packets_are_named() {
    #[track_caller]
    fn check(bytes: &[u8], expect: DecodeError) {
        assert_eq!(Packet::decode(bytes), Err(expect));
    }
    check(b"", DecodeError::Truncated);
    check(b"\0", DecodeError::Truncated);
    check(b"\0\x04\0", DecodeError::Truncated);
    check(b"\0\x09ab", DecodeError::Opcode(9));
    check(b"\0\x01file", DecodeError::Text);
    check(b"\0\x01file\0octet", DecodeError::Text);
    check(b"\0\x01\xff\xff\0octet\0", DecodeError::Text);
    check(b"\0\x01f\0octet\0blksize\0", DecodeError::Text);
    let mut long = b"\0\x01f\0octet\0".to_vec();
    long.resize(513, b'x');
    check(&long, DecodeError::RequestTooLong { bytes: 513 });
    let mut many = b"\0\x01f\0octet\0".to_vec();
    many.extend_from_slice(&b"a\0b\0".repeat(17));
    check(&many, DecodeError::TooManyOptions);
}

#[test]
fn requests_are_negotiated() {
    #[track_caller]
    fn check(options: &[(&str, &str)], block: u16, window: u16, timeout_ms: u64, oack: &str) {
        let negotiated = read(options).negotiated;
        let Negotiated {
            block_bytes,
            window_blocks,
            timeout_ms: timeout,
            ..
        } = negotiated;
        assert_eq!(
            (block_bytes, window_blocks, timeout),
            (block, window, timeout_ms)
        );
        let answer: Vec<_> = negotiated
            .answer(77)
            .into_iter()
            .map(|(name, value)| [name, &value].join("="))
            .collect();
        assert_eq!(answer.join(" "), oack);
    }
    check(&[], 512, 1, 1000, "");
    check(&[("BLKSIZE", "1024")], 1024, 1, 1000, "blksize=1024");
    check(&[("blksize", "65464")], 1468, 1, 1000, "blksize=1468");
    check(&[("blksize", "7")], 512, 1, 1000, "");
    check(&[("blksize", "65465")], 512, 1, 1000, "");
    check(
        &[("windowsize", "64"), ("tsize", "0")],
        512,
        32,
        1000,
        "windowsize=32 tsize=77",
    );
    check(&[("windowsize", "0"), ("timeout", "256")], 512, 1, 1000, "");
    check(
        &[("timeout", "3"), ("multicast", "")],
        512,
        1,
        3000,
        "timeout=3",
    );
    check(&[("tsize", "-1")], 512, 1, 1000, "");
}

#[test]
fn what_is_not_a_read_is_refused() {
    #[track_caller]
    fn check(bytes: &[u8], expect: RequestError) {
        assert_eq!(
            ReadRequest::of(&Packet::decode(bytes).unwrap()),
            Err(expect)
        );
    }
    check(b"\0\x02f\0octet\0", RequestError::Write);
    check(b"\0\x01f\0netascii\0", RequestError::Mode);
    check(b"\0\x04\0\0", RequestError::NotARequest);
    let packet = Packet::decode(b"\0\x01//dir/f\0OCTET\0\0\0").unwrap();
    assert_eq!(ReadRequest::of(&packet).unwrap().name, "dir/f".to_string());
}

#[test]
fn a_duplicate_acknowledgement_causes_no_data() {
    let (mut transfer, first) = start(2000, &[]);
    assert_eq!(first.len(), 1);
    assert_eq!(transfer.receive(&ack(1), 1).len(), 1);
    assert!(transfer.receive(&ack(1), 2).is_empty());
    assert!(transfer.receive(&ack(0), 3).is_empty());
    assert!(
        transfer.receive(&ack(9), 4).is_empty(),
        "a block that never went out"
    );
}

#[test]
fn a_window_is_repeated_once_for_a_gap() {
    let (mut transfer, _) = start(9000, &[("windowsize", "4")]);
    assert_eq!(transfer.receive(&ack(0), 1).len(), 4);
    // Block 1 was lost: the client repeats the acknowledgement of block 0.
    assert_eq!(transfer.receive(&ack(0), 2).len(), 4);
    assert!(transfer.receive(&ack(0), 3).is_empty());
    // Block 3 was lost: the next window starts there.
    let next = transfer.receive(&ack(2), 4);
    let expect = Packet::decode(&next[0]).unwrap();
    assert!(
        matches!(expect, Packet::Data { block: 3, .. }),
        "{expect:?}"
    );
}

#[test]
fn repetitions_are_bounded() {
    let (mut transfer, _) = start(10, &[("timeout", "2")]);
    assert!(transfer.timeout(1999).is_empty(), "early");
    for retry in 1..=u64::from(MAX_RETRIES) {
        assert_eq!(transfer.timeout(retry * 2000).len(), 1);
    }
    assert!(transfer.timeout(60_000).is_empty());
    assert_eq!(transfer.status(), Status::Failed(FailReason::TimedOut));
}

#[test]
fn a_size_probe_ends_the_transfer() {
    let (mut transfer, first) = start(1234, &[("tsize", "0")]);
    let answer = Packet::decode(&first[0]).unwrap();
    assert_eq!(
        answer,
        Packet::OptionAck {
            options: vec![("tsize", "1234")]
        }
    );
    transfer.receive(&Packet::Error { code: 8, text: "" }.encode(), 1);
    assert_eq!(
        transfer.status(),
        Status::Failed(FailReason::Aborted { code: 8 })
    );
    assert!(transfer.receive(&ack(0), 2).is_empty());
}

#[test]
fn files_that_fill_their_last_block_end_with_an_empty_one() {
    let (mut transfer, _) = start(1024, &[]);
    transfer.receive(&ack(1), 1);
    let last = transfer.receive(&ack(2), 2);
    assert_eq!(last, [vec![0, 3, 0, 3]]);
    transfer.receive(&ack(3), 3);
    assert_eq!(transfer.status(), Status::Done);
    assert_eq!(transfer.acknowledged_bytes(), 1024);
}

/// A plain client: takes blocks in order, acknowledges at the end of each
/// window and where it sees a gap (RFC 7440 section 4).
struct Client {
    block_bytes: usize,
    window: u64,
    received: Vec<u8>,
    blocks: u64,
    in_window: u64,
    done: bool,
}

impl Client {
    fn receive(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        match Packet::decode(datagram).unwrap() {
            Packet::OptionAck { .. } => return Some(ack(0)),
            Packet::Data { block, data } => {
                let expected = (self.blocks + 1) & 0xffff;
                if u64::from(block) == expected && !self.done {
                    self.received.extend_from_slice(data);
                    self.blocks += 1;
                    self.in_window += 1;
                    self.done = data.len() < self.block_bytes;
                    if !self.done && self.in_window < self.window {
                        return None;
                    }
                }
            }
            other => panic!("the server sent {other:?}"),
        }
        self.in_window = 0;
        Some(ack((self.blocks & 0xffff) as u16))
    }
}

/// What the network does to the next datagram.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    Doubled,
}

/// Runs both ends to the end; gives the number of DATA datagrams sent.
fn run(bytes: usize, block: u16, window: u16, fates: &[Fate]) -> usize {
    let (block_text, window_text) = (block.to_string(), window.to_string());
    let options = [
        ("blksize", block_text.as_str()),
        ("windowsize", window_text.as_str()),
    ];
    let mut fates = fates
        .iter()
        .copied()
        .chain(core::iter::repeat(Fate::Arrives));
    let mut carry = |datagrams: Vec<Vec<u8>>, wire: &mut VecDeque<Vec<u8>>| {
        for datagram in datagrams {
            match fates.next().unwrap_or(Fate::Arrives) {
                Fate::Arrives => wire.push_back(datagram),
                Fate::Lost => {}
                Fate::Doubled => wire.extend([datagram.clone(), datagram]),
            }
        }
    };
    let mut client = Client {
        block_bytes: usize::from(block),
        window: u64::from(window),
        received: Vec::new(),
        blocks: 0,
        in_window: 0,
        done: false,
    };
    let (mut down, mut up) = (VecDeque::new(), VecDeque::new());
    let (mut transfer, first) = start(bytes, &options);
    let mut sent = first.len();
    carry(first, &mut down);
    let mut now_ms = 0;
    while let Status::Waiting { deadline_ms } = transfer.status() {
        let answer = if let Some(datagram) = down.pop_front() {
            let answer = client.receive(&datagram);
            carry(answer.into_iter().collect(), &mut up);
            continue;
        } else if let Some(datagram) = up.pop_front() {
            transfer.receive(&datagram, now_ms)
        } else {
            now_ms = deadline_ms;
            transfer.timeout(now_ms)
        };
        sent += answer.len();
        carry(answer, &mut down);
    }
    assert_eq!(transfer.status(), Status::Done);
    assert!(
        client.received == content(bytes),
        "the file arrived changed"
    );
    sent
}

#[test]
fn block_numbers_roll_over() {
    // 8 octets per block: 70,001 blocks and the OACK.
    assert_eq!(run(560_000, 8, 1, &[]), 70_002);
    run(560_000, 8, 32, &[Fate::Lost; 3]);
}

#[test]
fn doubled_datagrams_do_not_double_the_transfer() {
    let sent = run(51_200, 512, 1, &[Fate::Doubled; 400]);
    assert_eq!(sent, 102, "one OACK and 101 blocks");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn files_arrive_over_a_bad_network(
        bytes in 0usize..6000,
        block in 8u16..600,
        window in 1u16..9,
        fates in proptest::collection::vec(
            prop_oneof![4 => Just(Fate::Arrives), 1 => Just(Fate::Lost), 1 => Just(Fate::Doubled)],
            0..60,
        ),
    ) {
        // Each repetition needs a loss: with no more losses than repetitions
        // the transfer always ends well.
        let mut losses = 0;
        let fates: Vec<Fate> = fates
            .into_iter()
            .filter(|fate| {
                losses += u8::from(matches!(fate, Fate::Lost));
                !matches!(fate, Fate::Lost) || losses <= MAX_RETRIES
            })
            .collect();
        run(bytes, block, window, &fates);
    }

    #[test]
    fn any_datagram_is_survived(
        datagrams in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                any::<u16>().prop_map(ack),
                (0u16..20).prop_map(ack),
            ],
            0..60,
        ),
        window in 1u16..40,
    ) {
        let window = window.to_string();
        let (mut transfer, _) = start(5000, &[("windowsize", &window)]);
        for (now_ms, datagram) in (0u64..).zip(&datagrams) {
            let answer = transfer.receive(datagram, now_ms);
            prop_assert!(answer.len() <= 32);
            let _ = transfer.timeout(now_ms * 300);
        }
    }
}
