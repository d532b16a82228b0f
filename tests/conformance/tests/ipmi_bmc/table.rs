//! The table of commands, over both cipher suites.

use messages::PowerMeter;
use musher::power::{
    BootOverride, Drift, HostInterface, IpmiClient, PowerReading, Switched, Watts,
};
use musher_bmc::User;
use protocols::rmcp::{CipherSuite, Firmware};

use super::{bmc, client, config};

#[tokio::test]
async fn every_command_does_what_it_says() {
    for suite in [CipherSuite::Suite3, CipherSuite::Suite17] {
        let server = bmc(|chassis| chassis.policy = 2);
        let mut ours = IpmiClient::new(config(server.address(), suite), None);
        assert_eq!(ours.read().await.unwrap(), PowerReading::Off, "{suite}");
        assert_eq!(ours.power_on().await.unwrap(), Switched::Commanded);
        assert_eq!(ours.read().await.unwrap(), PowerReading::On);
        ours.cycle().await.unwrap();
        ours.reset().await.unwrap();
        assert_eq!(ours.read().await.unwrap(), PowerReading::On);
        assert_eq!(ours.soft_off().await.unwrap(), Switched::Commanded);
        assert_eq!(ours.soft_off().await.unwrap(), Switched::AlreadySo);
        ours.power_on().await.unwrap();
        assert_eq!(ours.power_off().await.unwrap(), Switched::Commanded);
        let orders = server.with(|bmc| bmc.chassis.orders.clone());
        assert_eq!(
            orders,
            ["on", "off", "on", "reset", "soft", "on", "off"],
            "{suite}"
        );

        let set = ours.set_boot_pxe(Firmware::Uefi).await.unwrap();
        let confirmed = BootOverride {
            confirmed: true,
            valid_bit_confirmed: true,
            efi_bit_confirmed: true,
        };
        assert_eq!(set, confirmed, "{suite}");
        let flags = server.with(|bmc| bmc.chassis.boot_flags);
        assert_eq!(flags, [0xa0, 0x04, 0, 0, 0]);

        ours.keep_off_after_outage().await.unwrap();
        assert_eq!(server.with(|bmc| bmc.chassis.policy), 0);
        ours.identify(9).await.unwrap();
        assert_eq!(server.with(|bmc| bmc.chassis.identify_s), Some(9));
        let watts = Watts {
            now: 150,
            meter: PowerMeter::Dcmi,
        };
        assert_eq!(ours.watts().await.unwrap(), Some(watts));
        server.with(|bmc| bmc.chassis.watts = None);
        assert_eq!(ours.watts().await.unwrap(), None);
        let id = ours.device_id().await.unwrap().unwrap();
        assert_eq!(id.firmware, (2, 0x17));
        ours.close().await;
        assert_eq!(server.with(|bmc| bmc.sessions()), 0, "{suite}");
    }
}

#[tokio::test]
async fn the_event_log_is_read_and_cleared() {
    let server = bmc(|chassis| {
        for number in 1..=20 {
            let mut event = *b"\x00\x00\x02\0\0\0\x5f\x20\0\x04\x08\x31\x6f\x01\xff\xff";
            event[0] = number;
            chassis.events.push(event);
        }
    });
    let mut ours = client(server.address());
    let ids: Vec<u16> = ours
        .events()
        .await
        .unwrap()
        .iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(ids, Vec::from_iter(1..=20));
    ours.clear_events().await.unwrap();
    assert_eq!(ours.event_log().await.unwrap().entries, 0);
    assert!(ours.events().await.unwrap().is_empty());
}

#[tokio::test]
async fn one_session_serves_all_commands() {
    let server = bmc(|_| {});
    let mut ours = client(server.address());
    for _ in 0..20 {
        ours.read().await.unwrap();
        ours.keep_warm().await;
    }
    assert!(ours.keep_warm_at().is_some());
    assert_eq!(server.with(|bmc| bmc.sessions()), 1);
    // Twenty readings, twenty times warmed, and the privilege level once.
    assert_eq!(server.with(|bmc| bmc.chassis.commands), 41);
}

#[tokio::test]
async fn drift_is_seen_and_said() {
    let server = bmc(|_| {});
    let mut ours = client(server.address());
    let before = ours.facts().await.unwrap();
    let expect = [
        ("bmc.firmware", "2.17"),
        ("boot.always", "no override"),
        ("host.access", "disabled, up to administrator"),
        ("host.set-user-password", "open"),
        ("lan.address", "10.78.0.11"),
        ("lan.mac", "52:54:00:77:00:01"),
        ("power.after-outage", "as before"),
        ("user.02", "\"admin\" enabled, sessions, administrator"),
    ];
    for (name, value) in expect {
        assert_eq!(before.get(name), Some(value), "{name}");
    }
    // Our own boot override, and whether the sled is on, are no drift.
    ours.set_boot_pxe(Firmware::Uefi).await.unwrap();
    ours.power_on().await.unwrap();
    assert_eq!(before.drift(&ours.facts().await.unwrap()), []);
    // What a job with root can do in-band.
    server.with(|bmc| {
        let chassis = &mut bmc.chassis;
        chassis
            .users
            .push(User::administrator("\u{1b}[31mevil", b"x"));
        chassis.address = [10, 78, 0, 99];
        chassis.boot_flags = [0xc0, 0x08, 0, 0, 0];
        chassis.firmware = (2, 0x18);
        chassis.policy = 2;
    });
    let after = ours.facts().await.unwrap();
    let said: Vec<_> = before.drift(&after).iter().map(Drift::to_string).collect();
    let expect = [
        "bmc.firmware: was 2.17, is 2.18",
        "boot.always: was no override, is disk",
        "lan.address: was 10.78.0.11, is 10.78.0.99",
        "power.after-outage: was as before, is powers up",
        "user.03: was \"\" enablement unknown, no sessions, no access, \
         is \"\\x1b[31mevil\" enabled, sessions, administrator",
    ];
    assert_eq!(said, expect);
}

#[tokio::test]
async fn the_host_interface_is_restricted_where_it_can_be() {
    let server = bmc(|_| {});
    let mut ours = client(server.address());
    let HostInterface { restricted, open } = ours.restrict_host_interface().await.unwrap();
    assert_eq!((restricted.len(), open.len()), (7, 0), "{open:?}");
    assert_eq!(ours.host_interface().await.unwrap().restricted, restricted);
    let facts = ours.facts().await.unwrap();
    assert_eq!(facts.get("host.set-user-password"), Some("restricted"));
    // Nothing else was taken away.
    let closed = server.with(|bmc| {
        let bytes = bmc.chassis.enables.iter().flatten();
        bytes.map(|byte| byte.count_zeros()).sum::<u32>()
    });
    assert_eq!(closed, 7);

    let server = bmc(|chassis| chassis.quirks.no_firewall = true);
    let mut ours = client(server.address());
    let HostInterface { restricted, open } = ours.restrict_host_interface().await.unwrap();
    assert_eq!((restricted.len(), open.len()), (0, 7));
}
