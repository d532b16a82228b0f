use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

mod answers;
mod pool;

pub(super) const MAC: MacAddress = MacAddress::new([0x52, 0x54, 0, 0x77, 0, 1]);
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);

pub(super) fn request(message: MessageType, set: &[(u8, &[u8])]) -> Packet {
    let mut options = Options::default();
    options.set(code::MESSAGE_TYPE, [message as u8]);
    for (code, value) in set {
        options.set(*code, *value);
    }
    Packet {
        op: Op::Request,
        hops: 0,
        xid: 0x0102_0304,
        seconds: 4,
        broadcast: true,
        client_address: Ipv4Addr::UNSPECIFIED,
        your_address: Ipv4Addr::UNSPECIFIED,
        next_server: Ipv4Addr::UNSPECIFIED,
        relay: Ipv4Addr::UNSPECIFIED,
        mac: MAC,
        server_name: Vec::new(),
        boot_file: Vec::new(),
        options,
    }
}

/// A BOOTREQUEST header of 236 octets and the cookie, ready for options.
fn header() -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0, 1, 2, 3, 4, 0, 4, 0x80, 0];
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&MAC.octets());
    bytes.resize(236, 0);
    bytes.extend_from_slice(&[99, 130, 83, 99]);
    bytes
}

#[test]
fn mac_addresses_are_read_and_printed() {
    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        let parsed = text.parse::<MacAddress>().ok().map(|mac| format!("{mac}"));
        assert_eq!(parsed.as_deref(), expect);
    }
    check("52:54:00:77:00:01", Some("52:54:00:77:00:01"));
    check("52-54-00-77-00-AB", Some("52:54:00:77:00:ab"));
    check("52:54:00:77:00", None);
    check("52:54:00:77:00:01:02", None);
    check("52:54:00:77:00:+1", None);
    check("5254.0077.0001", None);
    check("", None);
}

#[test]
fn a_golden_discover_is_read() {
    let mut bytes = header();
    bytes.extend_from_slice(&[53, 1, 1, 0, 0, 57, 2, 5, 0xc0, 93, 2, 0, 7, 60, 9]);
    bytes.extend_from_slice(b"PXEClient");
    bytes.push(255);
    let packet = Packet::decode(&bytes).unwrap();
    let expect = request(
        MessageType::Discover,
        &[(57, &[5, 0xc0]), (93, &[0, 7]), (60, b"PXEClient")],
    );
    assert_eq!(packet, expect);
}

#[test]
fn malformed_packets_are_named() {
    #[track_caller]
    fn check(change: impl Fn(&mut Vec<u8>), expect: DecodeError) {
        let mut bytes = header();
        bytes.extend_from_slice(&[53, 1, 1, 255]);
        change(&mut bytes);
        assert_eq!(Packet::decode(&bytes), Err(expect));
    }
    check(
        |b| b.truncate(239),
        DecodeError::HeaderTruncated { bytes: 239 },
    );
    check(|b| b.clear(), DecodeError::HeaderTruncated { bytes: 0 });
    check(|b| b.resize(1501, 0), DecodeError::TooLong { bytes: 1501 });
    check(|b| b[0] = 3, DecodeError::Operation(3));
    check(
        |b| b[1] = 32,
        DecodeError::Hardware {
            kind: 32,
            length: 6,
        },
    );
    check(
        |b| b[2] = 16,
        DecodeError::Hardware {
            kind: 1,
            length: 16,
        },
    );
    check(|b| b[236] = 0, DecodeError::Cookie);
    check(|b| b[241] = 9, DecodeError::OptionTruncated { code: 53 });
    check(
        |b| b.truncate(241),
        DecodeError::OptionTruncated { code: 53 },
    );
    check(
        |b| b[240..243].copy_from_slice(&[52, 1, 4]),
        DecodeError::Overload,
    );
}

#[test]
fn options_in_pieces_are_joined_over_overloaded_fields() {
    let mut bytes = header();
    // sname holds the third piece, file the second (RFC 3396 section 5).
    bytes[44..48].copy_from_slice(&[12, 1, b'c', 255]);
    bytes[108..112].copy_from_slice(&[12, 1, b'b', 255]);
    bytes.extend_from_slice(&[53, 1, 1, 12, 1, b'a', 52, 1, 3, 255]);
    let packet = Packet::decode(&bytes).unwrap();
    assert_eq!(packet.options.get(code::HOST_NAME), Some(&b"abc"[..]));
    assert_eq!(packet.options.get(code::OVERLOAD), None);
    assert!(packet.boot_file.is_empty() && packet.server_name.is_empty());
}

#[test]
fn long_options_are_split_and_relay_information_is_last() {
    let mut packet = request(MessageType::Discover, &[(82, b"relay"), (97, &[7; 300])]);
    packet.boot_file = b"file".to_vec();
    let bytes = packet.encode(1400).unwrap();
    assert_eq!(bytes[240..243], [53, 1, 1]);
    assert_eq!(bytes[243..245], [97, 255]);
    assert_eq!(bytes[bytes.len() - 8..], *b"\x52\x05relay\xff");
    assert_eq!(Packet::decode(&bytes), Ok(packet.clone()));
    let error = EncodeError::TooLong {
        bytes: bytes.len(),
        limit: 548,
    };
    assert_eq!(packet.encode(548), Err(error));
    packet.boot_file = vec![b'x'; 128];
    assert_eq!(
        packet.encode(1400),
        Err(EncodeError::FieldTooLong { field: "file" })
    );
}

#[test]
fn clients_are_told_apart() {
    #[track_caller]
    fn check(set: &[(u8, &[u8])], stage: Stage, firmware: FirmwareBoot) {
        let client = Client::of(&request(MessageType::Discover, set)).unwrap();
        assert_eq!((client.stage, client.firmware), (stage, firmware));
    }
    use FirmwareBoot::{BiosTftp, UefiX64Http, UefiX64Tftp, Unsupported};
    let pxe: (u8, &[u8]) = (60, b"PXEClient:Arch:00000:UNDI:002001");
    let http: (u8, &[u8]) = (60, b"HTTPClient:Arch:00016:UNDI:003001");
    let ipxe: (u8, &[u8]) = (77, b"iPXE");
    check(&[pxe, (93, &[0, 0])], Stage::Firmware, BiosTftp);
    check(&[pxe, (93, &[0, 7])], Stage::Firmware, UefiX64Tftp);
    check(&[pxe, (93, &[0, 9])], Stage::Firmware, UefiX64Tftp);
    check(&[pxe, (93, &[0, 6, 0, 7])], Stage::Firmware, UefiX64Tftp);
    check(&[pxe, (93, &[0, 11])], Stage::Firmware, Unsupported);
    check(&[pxe], Stage::Firmware, Unsupported);
    check(&[http, (93, &[0, 16])], Stage::Firmware, UefiX64Http);
    check(&[pxe, (93, &[0, 16])], Stage::Firmware, Unsupported);
    check(&[pxe, (93, &[0, 0]), ipxe], Stage::Ipxe, BiosTftp);
    check(
        &[pxe, (93, &[0, 0]), (77, b"\x04iPXE")],
        Stage::Ipxe,
        BiosTftp,
    );
    check(
        &[pxe, (93, &[0, 0]), (77, b"\x03foo\x04iPXE")],
        Stage::Ipxe,
        BiosTftp,
    );
    check(
        &[pxe, (93, &[0, 0]), (77, b"\x09iPXE")],
        Stage::Firmware,
        BiosTftp,
    );
    check(
        &[pxe, (93, &[0, 0]), ipxe, (175, &[19, 1, 1])],
        Stage::Ipxe,
        BiosTftp,
    );
    // A ROM built without HTTP loads our iPXE first.
    check(
        &[pxe, (93, &[0, 0]), ipxe, (175, &[24, 1, 1])],
        Stage::Firmware,
        BiosTftp,
    );
    check(&[(60, b"udhcp 1.35.0")], Stage::System, Unsupported);
    check(&[], Stage::System, Unsupported);
}

#[test]
fn what_no_client_sends_is_no_client() {
    #[track_caller]
    fn check(change: impl Fn(&mut Packet)) {
        let mut packet = request(MessageType::Discover, &[]);
        change(&mut packet);
        assert_eq!(Client::of(&packet), None);
    }
    check(|p| p.op = Op::Reply);
    check(|p| p.mac = MacAddress::new([0xff; 6]));
    check(|p| p.mac = MacAddress::new([0; 6]));
    check(|p| p.options.set(code::MESSAGE_TYPE, [2]));
    check(|p| p.options.set(code::MESSAGE_TYPE, [9]));
    check(|p| p.options.set(code::MESSAGE_TYPE, [1, 1]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut framed = header();
        framed.extend_from_slice(&bytes);
        for datagram in [&bytes, &framed] {
            if let Ok(packet) = Packet::decode(datagram) {
                let _ = Client::of(&packet);
            }
        }
    }

    #[test]
    fn mutated_packets_are_answered_or_dropped(
        changes in proptest::collection::vec((0usize..330, any::<u8>()), 0..8),
    ) {
        let set: &[(u8, &[u8])] = &[(60, b"PXEClient"), (93, &[0, 7]), (50, &[10, 77, 0, 50])];
        let mut bytes = request(MessageType::Request, set).encode(1400).unwrap();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if let Ok(packet) = Packet::decode(&bytes) {
            let boot = answers::boot();
            let mut pool = pool::pool(20);
            let reply = serve(&mut pool, &answers::network(), &packet, Some(&boot), 0);
            if let Ok(Some(reply)) = reply {
                let _ = reply.encode();
            }
        }
    }

    #[test]
    fn packets_survive_the_wire(
        values in proptest::collection::btree_map(1u8..255, proptest::collection::vec(any::<u8>(), 0..300), 0..4),
        xid in any::<u32>(),
    ) {
        let mut packet = request(MessageType::Discover, &[]);
        packet.xid = xid;
        for (code, value) in values {
            packet.options.set(code, value);
        }
        let bytes = packet.encode(1500).unwrap();
        prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
    }
}
