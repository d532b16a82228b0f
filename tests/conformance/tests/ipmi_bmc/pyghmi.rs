//! pyghmi's BMC: another implementation, in Python, of suite 3 only. It has
//! few commands; what it lacks must be said to be lacking.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use musher::power::{IpmiClient, IpmiConfig, PowerErrorKind, PowerReading, Switched};
use musher_conformance::python_tool;
use protocols::rmcp::{CipherSuite, Firmware};

struct FakeBmc {
    process: Child,
    address: SocketAddr,
}

impl Drop for FakeBmc {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(address: SocketAddr) -> IpmiConfig {
    let mut config = IpmiConfig::new(address, "admin", b"password", CipherSuite::Suite3).unwrap();
    config.patience.off_time = Duration::from_millis(1);
    config
}

impl FakeBmc {
    async fn start() -> Self {
        let program = python_tool("pyghmi==1.6.19", "fakebmc");
        let free = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let process = Command::new(program)
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let fake = Self { process, address };
        for _ in 0..100 {
            if IpmiClient::new(config(address), None).read().await.is_ok() {
                return fake;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("pyghmi's fakebmc does not answer on {address}");
    }
}

#[tokio::test]
async fn the_table_as_far_as_it_goes() {
    let bmc = FakeBmc::start().await;
    let mut ours = IpmiClient::new(config(bmc.address), Some("sled-01".to_owned()));
    assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    assert_eq!(ours.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(ours.power_on().await.unwrap(), Switched::AlreadySo);
    assert_eq!(ours.read().await.unwrap(), PowerReading::On);
    assert_eq!(ours.soft_off().await.unwrap(), Switched::Commanded);
    assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    ours.cycle().await.unwrap();
    assert_eq!(ours.power_off().await.unwrap(), Switched::Commanded);
    // It has no EFI bit and holds the device where others hold flags.
    let set = ours.set_boot_pxe(Firmware::Uefi).await.unwrap();
    assert!(!set.efi_bit_confirmed, "{set:?}");
    assert!(ours.device_id().await.unwrap().is_some());
    assert_eq!(ours.watts().await.unwrap(), None);
    let facts = ours.facts().await.unwrap();
    let refused = Some("refused: invalid command (0xc1)");
    assert_eq!(facts.get("lan.address"), refused);
    let error = ours.identify(1).await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Refused, "{error}");
    let error = ours.keep_off_after_outage().await;
    // Its chassis status says "stays off", so nothing is set.
    assert!(error.is_ok(), "{error:?}");
    ours.close().await;
}
