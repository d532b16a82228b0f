//! The serial line over the BMC.

use std::time::Duration;

use musher::power::{IpmiConsole, PowerError, PowerErrorKind, PowerReading};
use tokio::time::timeout;

use super::{bmc, client, quirks};

async fn read(console: &mut IpmiConsole, length: usize) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < length {
        let more = timeout(Duration::from_secs(20), console.read())
            .await
            .expect("the line says something")
            .unwrap();
        assert!(
            !more.is_empty(),
            "the line ended after {} bytes",
            text.len()
        );
        text.extend(more);
    }
    text
}

/// Numbered lines, so that anything lost or doubled shows.
fn boot_log() -> Vec<u8> {
    let lines = (0..200).map(|number| format!("[{number:4}] a line of the kernel\r\n"));
    lines.collect::<String>().into_bytes()
}

#[tokio::test]
async fn both_directions_and_commands_beside_them() {
    let server = bmc(|chassis| chassis.serial_output = boot_log());
    let mut power = client(server.address());
    let mut console = power.console().await.unwrap();
    let log = boot_log();
    assert_eq!(read(&mut console, log.len()).await, log);
    // The line has a session of its own.
    assert_eq!(power.read().await.unwrap(), PowerReading::Off);
    assert_eq!(server.with(|bmc| bmc.sessions()), 2);
    assert_eq!(console.write(b"root\n"), 5);
    let prompt = async {
        while server.with(|bmc| bmc.chassis.serial_input.clone()) != b"root\n" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.with(|bmc| bmc.chassis.serial_output = b"# ".to_vec());
    };
    let (text, ()) = tokio::join!(read(&mut console, 2), prompt);
    assert_eq!(text, b"# ");
    // Nobody else gets the line meanwhile, and it is given back.
    let error = client(server.address()).console().await.err().unwrap();
    assert!(matches!(error, PowerError::SerialInUse { .. }), "{error}");
    console.close().await;
    let console = client(server.address()).console().await.unwrap();
    console.close().await;
    power.close().await;
    assert_eq!(server.with(|bmc| bmc.sessions()), 0);
}

#[tokio::test]
async fn losses_are_made_good() {
    let server = bmc(|chassis| chassis.serial_output = boot_log());
    let mut console = client(quirks::lossy(server.address()))
        .console()
        .await
        .unwrap();
    let log = boot_log();
    assert_eq!(read(&mut console, log.len()).await, log);
}

#[tokio::test]
async fn a_bmc_that_is_gone_is_noticed() {
    let server = bmc(|_| {});
    let mut console = client(server.address()).console().await.unwrap();
    drop(server);
    console.write(b"is anybody there?");
    let outcome = timeout(Duration::from_secs(120), console.read()).await;
    let error = outcome.expect("it is noticed").unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Dead, "{error}");
}
