//! sushy-tools' emulator (OpenStack), with its fake systems. It has no
//! sessions, applies power after 1 to 11 s, and knows no override for once.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use musher::github::Secret;
use musher::power::redfish::{Endpoint, Fingerprint, RedfishConfig, RedfishPatience, Trust};
use musher::power::{BootOverride, Checked, Driver, PowerErrorKind, PowerReading, Switched};
use musher_conformance::python_tool;
use protocols::rmcp::Firmware;

/// "correct horse", by Python's bcrypt.
const USERS: &str = "musher:$2b$04$aRzYYv0cXw2E0S.QyL1CyOncAIX4WkvLH446s8OBiY1P8zjyPQBm.\n";

struct Emulator {
    process: Child,
    port: u16,
    pin: Fingerprint,
    _folder: tempfile::TempDir,
}

impl Emulator {
    fn start() -> Self {
        let program: PathBuf = python_tool("sushy-tools==2.2.0", "sushy-emulator");
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let signed = rcgen::generate_simple_self_signed(vec!["bmc".to_owned()]).unwrap();
        fs::write(path("tls.pem"), signed.cert.pem()).unwrap();
        fs::write(path("tls.key"), signed.signing_key.serialize_pem()).unwrap();
        fs::write(path("users"), USERS).unwrap();
        fs::set_permissions(path("users"), fs::Permissions::from_mode(0o600)).unwrap();
        let mut config = File::create(path("sushy.conf")).unwrap();
        writeln!(config, "SUSHY_EMULATOR_AUTH_FILE = {:?}", path("users")).unwrap();
        writeln!(config, "SUSHY_EMULATOR_STATE_DIR = {:?}", folder.path()).unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let process = Command::new(program)
            .args([
                "--fake",
                "--interface",
                "127.0.0.1",
                "--port",
                &port.to_string(),
            ])
            .arg("--config")
            .arg(path("sushy.conf"))
            .arg("--ssl-certificate")
            .arg(path("tls.pem"))
            .arg("--ssl-key")
            .arg(path("tls.key"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        let mut emulator = Self {
            process,
            port,
            pin: Fingerprint::of(signed.cert.der()),
            _folder: folder,
        };
        emulator.wait_until_up();
        emulator
    }

    fn wait_until_up(&mut self) {
        for _ in 0..300 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "sushy-emulator ended: {}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
        panic!("sushy-emulator does not listen: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self._folder.path().join("log")).unwrap_or_default()
    }

    fn driver(&self, password: &str) -> Driver {
        let url = format!("https://127.0.0.1:{}", self.port);
        let config = RedfishConfig {
            endpoint: Endpoint::new(&url, Some(Trust::Pin(self.pin))).unwrap(),
            username: "musher".to_owned(),
            password: Secret::new(password.to_owned()),
            system: None,
            patience: RedfishPatience::default(),
        };
        Driver::redfish(config, Some("sled-01".to_owned()))
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn sushy_is_switched_and_set_to_boot_once() {
    let bmc = Emulator::start();
    let error = bmc.driver("guess").read().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::WrongPassword, "{error}");

    let mut checked = Checked::new(bmc.driver("correct horse"));
    let before = checked.read().await.unwrap();
    let on = checked.power_on().await.unwrap();
    assert_eq!(on == Switched::AlreadySo, before == PowerReading::On);
    assert_eq!(checked.read().await.unwrap(), PowerReading::On);
    assert_eq!(checked.power_on().await.unwrap(), Switched::AlreadySo);

    // Confirmed, but for longer than once, and said to be.
    let expect = BootOverride {
        confirmed: true,
        valid_bit_confirmed: false,
        efi_bit_confirmed: true,
    };
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let set = checked.means().set_boot_pxe(firmware).await.unwrap();
        assert_eq!(set, expect, "{firmware:?}");
    }

    assert_eq!(checked.power_off().await.unwrap(), Switched::Commanded);
    assert_eq!(checked.read().await.unwrap(), PowerReading::Off);
    assert_eq!(checked.power_off().await.unwrap(), Switched::AlreadySo);

    let Driver::Redfish(client) = checked.means() else {
        panic!("a Redfish driver");
    };
    assert_eq!(client.watts().await.unwrap(), None, "it has no meter");
    let facts = client.facts().await.unwrap();
    assert!(facts.get("system.Manufacturer").is_some(), "{facts:?}");
    checked.means().close().await;
}
