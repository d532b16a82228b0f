//! Oddities of real BMCs, by the names of `protocols::rmcp`'s table.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use musher::power::{PowerError, PowerErrorKind, PowerReading, Switched};
use musher_bmc::{Manner, Quirks};
use protocols::rmcp::Firmware;

use super::{bmc, client};

#[tokio::test]
async fn sessions_open_and_power_switches() {
    let usual = Quirks::default();
    let odd = [
        (
            "open-session-privilege",
            Quirks {
                hashes_open_session: true,
                ..usual
            },
        ),
        (
            "long-rakp2",
            Quirks {
                long_codes: true,
                ..usual
            },
        ),
        (
            "late-answer",
            Quirks {
                repeats_answers: true,
                ..usual
            },
        ),
        ("busy", Quirks { busy: 3, ..usual }),
        (
            "off-when-off",
            Quirks {
                refuses_what_is_so: true,
                ..usual
            },
        ),
        (
            "fresh-port",
            Quirks {
                hates_repeated_ports: true,
                ..usual
            },
        ),
    ];
    for (name, quirks) in odd {
        let server = bmc(|chassis| chassis.quirks = quirks);
        let mut ours = client(server.address());
        assert_eq!(
            ours.power_off().await.unwrap(),
            Switched::AlreadySo,
            "{name}"
        );
        assert_eq!(
            ours.power_on().await.unwrap(),
            Switched::Commanded,
            "{name}"
        );
        for _ in 0..10 {
            assert_eq!(ours.read().await.unwrap(), PowerReading::On, "{name}");
        }
        assert_eq!(
            ours.power_off().await.unwrap(),
            Switched::Commanded,
            "{name}"
        );
        assert_eq!(
            server.with(|bmc| bmc.chassis.orders.clone()),
            ["on", "off"],
            "{name}"
        );
    }
}

/// `off-when-off`, where reading and refusal contradict each other.
#[tokio::test]
async fn a_refusal_is_not_taken_for_success() {
    let server = bmc(|chassis| {
        chassis.quirks.refuses_what_is_so = true;
        chassis.manner = Manner::SaysOn;
    });
    let error = client(server.address()).power_off().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("(0xd5)"), "{error}");
}

#[tokio::test]
async fn a_bmc_that_stays_busy_is_said_to_be() {
    let server = bmc(|chassis| chassis.quirks.busy = 1_000);
    let error = client(server.address()).read().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Refused, "{error}");
}

#[tokio::test]
async fn a_lost_efi_bit_is_reported() {
    let server = bmc(|chassis| chassis.quirks.loses_efi_bit = true);
    let set = client(server.address())
        .set_boot_pxe(Firmware::Uefi)
        .await
        .unwrap();
    assert!(set.confirmed && set.valid_bit_confirmed && !set.efi_bit_confirmed);
}

#[tokio::test]
async fn a_policy_that_is_not_kept_is_reported() {
    let server = bmc(|chassis| chassis.quirks.keeps_policy = true);
    let error = client(server.address())
        .keep_off_after_outage()
        .await
        .unwrap_err();
    assert!(matches!(error, PowerError::NotKept { .. }), "{error}");
    let text = "the power restore policy was set to stays off and reads as before";
    assert!(error.to_string().contains(text), "{error}");
}

/// One datagram in eight is lost, of either direction. The BMC answers no port
/// that sends a set-up packet twice, so each try must come from a new one.
#[tokio::test]
async fn losses_are_made_good_from_fresh_ports() {
    let server = bmc(|chassis| chassis.quirks.hates_repeated_ports = true);
    let mut ours = client(lossy(server.address()));
    for _ in 0..8 {
        assert_eq!(ours.power_on().await.unwrap(), Switched::Commanded);
        assert_eq!(ours.power_off().await.unwrap(), Switched::Commanded);
        ours.close().await;
    }
    let mut orders = server.with(|bmc| bmc.chassis.orders.clone());
    orders.dedup();
    assert_eq!(orders.len(), 16, "{orders:?}");
}

/// A relay that ends when nothing has come for two seconds. Client ports keep
/// ports of their own towards the BMC.
pub(crate) fn lossy(bmc: SocketAddr) -> SocketAddr {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let bind = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket
    };
    let front = bind();
    let address = front.local_addr().unwrap();
    let count = Arc::new(AtomicU32::new(1));
    // Not each n-th: that would always hit the same packet of a set-up.
    let passes = |count: &AtomicU32| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        !(number.wrapping_mul(2_654_435_761) >> 16).is_multiple_of(8)
    };
    thread::spawn(move || {
        let mut backs: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = front.recv_from(&mut buffer) {
            let back = backs.entry(client).or_insert_with(|| {
                let back = bind();
                let (from, to) = (back.try_clone().unwrap(), front.try_clone().unwrap());
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let mut buffer = [0; 2048];
                    while let Ok((length, _)) = from.recv_from(&mut buffer) {
                        if passes(&count) {
                            to.send_to(&buffer[..length], client).unwrap();
                        }
                    }
                });
                back
            });
            if passes(&count) {
                back.send_to(&buffer[..length], bmc).unwrap();
            }
        }
    });
    address
}
