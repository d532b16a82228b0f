//! BMCs that lie. What Musher makes of it (quarantine, no job) is the core's
//! business; here is what it gets to see, which must never be an assumption.

use std::time::{Duration, Instant};

use musher::power::{PowerError, PowerErrorKind, PowerReading, Switched};
use musher_bmc::Manner;

use super::{bmc, client};

#[tokio::test]
async fn says_on_when_off() {
    let server = bmc(|chassis| chassis.manner = Manner::SaysOn);
    let mut ours = client(server.address());
    // Nothing is sent to what reads as wished: no edge is claimed as ours.
    assert_eq!(ours.power_on().await.unwrap(), Switched::AlreadySo);
    assert_eq!(ours.power_off().await.unwrap(), Switched::Commanded);
    // Commanded off is not off.
    assert_eq!(ours.read().await.unwrap(), PowerReading::On);
    let error = ours.cycle().await.unwrap_err();
    assert!(matches!(error, PowerError::StillOn { .. }), "{error}");
    assert_eq!(
        server.with(|bmc| bmc.chassis.orders.clone()),
        ["off", "off"]
    );
}

#[tokio::test]
async fn says_off_when_on() {
    let server = bmc(|chassis| {
        chassis.on = true;
        chassis.manner = Manner::SaysOff;
    });
    let mut ours = client(server.address());
    assert_eq!(ours.power_off().await.unwrap(), Switched::AlreadySo);
    assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    assert_eq!(ours.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    assert_eq!(server.with(|bmc| bmc.chassis.orders.clone()), ["on"]);
}

#[tokio::test]
async fn accepts_and_ignores() {
    for on in [false, true] {
        let server = bmc(|chassis| {
            chassis.on = on;
            chassis.manner = Manner::Ignores;
        });
        let mut ours = client(server.address());
        let (switched, reading) = match on {
            false => (ours.power_on().await, PowerReading::Off),
            true => (ours.power_off().await, PowerReading::On),
        };
        assert_eq!(switched.unwrap(), Switched::Commanded);
        assert_eq!(ours.read().await.unwrap(), reading);
    }
}

#[tokio::test]
async fn does_it_and_flips_back() {
    let server = bmc(|chassis| chassis.manner = Manner::FlipsAfter(500));
    let mut ours = client(server.address());
    assert_eq!(ours.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(ours.read().await.unwrap(), PowerReading::On);
    // No reading is kept: what it reads next is what it is next.
    let limit = Instant::now() + Duration::from_secs(10);
    while ours.read().await.unwrap() == PowerReading::On {
        assert!(Instant::now() < limit, "it never reads as off again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.with(|bmc| bmc.chassis.orders.clone()), ["on"]);
}

#[tokio::test]
async fn dies_in_a_session() {
    // After the privilege level and a reading.
    let server = bmc(|chassis| chassis.manner = Manner::DiesAfter(2));
    let mut ours = client(server.address());
    let error = ours.power_on().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Dead, "{error}");
    let error = ours.read().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Dead, "{error}");
    server.with(|bmc| {
        bmc.restart();
        bmc.chassis.manner = Manner::Honest;
    });
    assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    assert_eq!(ours.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(server.with(|bmc| bmc.chassis.orders.clone()), ["on"]);
}
