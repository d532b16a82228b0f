use alloc::string::{String, ToString};

use super::*;

pub(super) fn network() -> Network {
    Network {
        server: SERVER,
        netmask: Ipv4Addr::new(255, 255, 255, 0),
        gateway: Some(SERVER),
        dns: vec![SERVER, Ipv4Addr::new(9, 9, 9, 9)],
        lease_seconds: 3600,
    }
}

pub(super) fn boot() -> BootSources {
    BootSources {
        script_url: "http://10.77.0.1:8480/boot/script?mac=52:54:00:77:00:01".to_string(),
        http_boot_url: None,
    }
}

fn answer(request: &Packet, boot: Option<&BootSources>) -> Option<Reply> {
    respond(
        request,
        &LeaseAnswer {
            network: &network(),
            address: ADDRESS,
            boot,
        },
    )
}

const PXE: (u8, &[u8]) = (60, b"PXEClient:Arch:00007:UNDI:003000");

#[test]
fn the_offer_to_uefi_firmware_is_exactly_this() {
    let set: &[(u8, &[u8])] = &[PXE, (93, &[0, 7]), (61, &[0, 9, 9]), (97, &[0, 1, 2])];
    let reply = answer(&request(MessageType::Discover, set), Some(&boot())).unwrap();
    assert_eq!(reply.destination, Destination::Broadcast);
    let bytes = reply.encode().unwrap();
    let mut expect = vec![2, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0];
    expect.extend_from_slice(&[0, 0, 0, 0, 10, 77, 0, 50, 10, 77, 0, 1, 0, 0, 0, 0]);
    expect.extend_from_slice(&MAC.octets());
    expect.resize(108, 0);
    expect.extend_from_slice(b"snponly.efi");
    expect.resize(236, 0);
    expect.extend_from_slice(&[99, 130, 83, 99, 53, 1, 2, 1, 4, 255, 255, 255, 0]);
    expect.extend_from_slice(&[3, 4, 10, 77, 0, 1, 6, 8, 10, 77, 0, 1, 9, 9, 9, 9]);
    expect.extend_from_slice(&[
        43, 4, 6, 1, 8, 255, 51, 4, 0, 0, 14, 16, 54, 4, 10, 77, 0, 1,
    ]);
    expect.extend_from_slice(b"\x3c\x09PXEClient\x3d\x03\x00\x09\x09");
    expect.extend_from_slice(b"\x42\x0910.77.0.1\x43\x0bsnponly.efi\x61\x03\x00\x01\x02\xff");
    assert_eq!(bytes, expect);
}

#[test]
fn each_stage_gets_its_boot_file() {
    #[track_caller]
    fn check(set: &[(u8, &[u8])], file: Option<&str>, class: Option<&[u8]>) {
        let http = BootSources {
            http_boot_url: Some("http://10.77.0.1/x.efi".into()),
            ..boot()
        };
        let reply = answer(&request(MessageType::Discover, set), Some(&http)).unwrap();
        let options = &reply.packet.options;
        let given = options
            .get(67)
            .map(|name| String::from_utf8_lossy(name).into_owned());
        assert_eq!(given.as_deref(), file);
        assert_eq!(options.get(60), class);
        assert_eq!(reply.packet.boot_file, file.unwrap_or_default().as_bytes());
    }
    let script = "http://10.77.0.1:8480/boot/script?mac=52:54:00:77:00:01";
    let http: (u8, &[u8]) = (60, b"HTTPClient:Arch:00016:UNDI:003001");
    check(
        &[PXE, (93, &[0, 0])],
        Some("undionly.kpxe"),
        Some(b"PXEClient"),
    );
    check(
        &[PXE, (93, &[0, 9])],
        Some("snponly.efi"),
        Some(b"PXEClient"),
    );
    check(&[PXE, (93, &[0, 0]), (77, b"iPXE")], Some(script), None);
    check(
        &[http, (93, &[0, 16])],
        Some("http://10.77.0.1/x.efi"),
        Some(b"HTTPClient"),
    );
    check(&[PXE, (93, &[0, 11])], None, None);
    check(&[], None, None);
}

#[test]
fn http_boot_without_a_program_gets_a_lease_only() {
    let set: &[(u8, &[u8])] = &[(60, b"HTTPClient"), (93, &[0, 16])];
    let reply = answer(&request(MessageType::Discover, set), Some(&boot())).unwrap();
    assert_eq!(reply.packet.options.get(60), None);
    assert_eq!(reply.packet.your_address, ADDRESS);
}

#[test]
fn ipxe_is_told_not_to_wait_for_a_proxy() {
    let set: &[(u8, &[u8])] = &[PXE, (93, &[0, 0]), (77, b"iPXE")];
    let reply = answer(&request(MessageType::Discover, set), Some(&boot())).unwrap();
    assert_eq!(reply.packet.options.get(175), Some(&[176, 1, 1][..]));
}

#[test]
fn without_permission_there_is_a_lease_and_nothing_else() {
    let set: &[(u8, &[u8])] = &[PXE, (93, &[0, 0]), (77, b"iPXE")];
    let reply = answer(&request(MessageType::Discover, set), None).unwrap();
    for absent in [43, 60, 66, 67, 175] {
        assert_eq!(reply.packet.options.get(absent), None, "{absent}");
    }
    assert!(reply.packet.boot_file.is_empty() && reply.packet.next_server.is_unspecified());
}

#[test]
fn messages_get_the_answers_of_rfc_2131() {
    #[track_caller]
    fn check(
        message: MessageType,
        change: impl Fn(&mut Packet),
        expect: Option<(MessageType, Destination)>,
    ) {
        let mut packet = request(message, &[]);
        change(&mut packet);
        let reply = answer(&packet, None);
        assert_eq!(
            reply
                .as_ref()
                .map(|reply| (reply.message, reply.destination)),
            expect
        );
    }
    use Destination::{Broadcast, Client, Relay};
    use MessageType::{Ack, Decline, Discover, Inform, Nak, Offer, Release, Request};
    let ask = |address: [u8; 4]| move |p: &mut Packet| p.options.set(50, address);
    let relay = Ipv4Addr::new(10, 1, 1, 1);
    check(Discover, |_| (), Some((Offer, Broadcast)));
    check(Discover, |p| p.relay = relay, Some((Offer, Relay(relay))));
    check(Request, ask(ADDRESS.octets()), Some((Ack, Broadcast)));
    check(Request, ask([10, 77, 0, 51]), Some((Nak, Broadcast)));
    check(Request, |_| (), Some((Nak, Broadcast)));
    check(
        Request,
        |p| p.client_address = ADDRESS,
        Some((Ack, Client(ADDRESS))),
    );
    check(
        Request,
        |p| p.client_address = SERVER,
        Some((Nak, Broadcast)),
    );
    check(
        Inform,
        |p| p.client_address = SERVER,
        Some((Ack, Client(SERVER))),
    );
    check(Inform, |_| (), None);
    check(Decline, ask(ADDRESS.octets()), None);
    check(Release, |p| p.client_address = ADDRESS, None);
}

#[test]
fn a_nak_carries_nothing_but_its_reason_to_be() {
    let mut packet = request(MessageType::Request, &[(50, &[10, 0, 0, 9]), (82, b"r")]);
    packet.broadcast = false;
    packet.relay = Ipv4Addr::new(10, 1, 1, 1);
    let reply = answer(&packet, Some(&boot())).unwrap();
    assert!(reply.packet.broadcast && reply.packet.your_address.is_unspecified());
    let codes: Vec<u8> = reply.packet.options.iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [53, 54, 82]);
}

#[test]
fn an_inform_is_answered_without_a_lease() {
    let mut packet = request(MessageType::Inform, &[]);
    packet.client_address = ADDRESS;
    let reply = answer(&packet, None).unwrap();
    assert!(reply.packet.your_address.is_unspecified());
    assert_eq!(reply.packet.options.get(51), None);
    assert_eq!(reply.packet.options.address(3), Some(SERVER));
}
