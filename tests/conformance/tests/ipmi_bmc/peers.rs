//! The BMC is one in the eyes of ipmitool and ipmipower.

use std::net::SocketAddr;

use super::{PASSWORD, bmc, peer};

fn password() -> &'static str {
    std::str::from_utf8(PASSWORD).unwrap()
}

fn ipmitool(address: SocketAddr, suite: &str, words: &[&str]) -> Result<String, String> {
    let port = address.port().to_string();
    let output = peer("ipmitool", "ipmitool")
        .args(["-I", "lanplus", "-C", suite, "-H", "127.0.0.1", "-p", &port])
        .args(["-U", "admin", "-P", password(), "-N", "1", "-R", "2"])
        .args(words)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

fn ipmipower(address: SocketAddr, suite: &str, password: &str, word: &str) -> String {
    let output = peer("ipmipower", "freeipmi-tools")
        .args(["-D", "LAN_2_0", "-I", suite, "-W", "opensesspriv"])
        .args(["-h", &address.to_string(), "-u", "admin", "-p", password])
        .arg(word)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn ipmitool_accepts_the_bmc() {
    for suite in ["3", "17"] {
        let server = bmc(|_| {});
        let ask = |words: &[&str]| {
            ipmitool(server.address(), suite, words)
                .unwrap_or_else(|error| panic!("suite {suite}: ipmitool {words:?}: {error}"))
        };
        assert_eq!(ask(&["chassis", "power", "status"]), "Chassis Power is off");
        for word in ["on", "cycle", "reset", "soft", "off"] {
            ask(&["chassis", "power", word]);
        }
        let orders = server.with(|bmc| bmc.chassis.orders.clone());
        assert_eq!(orders, ["on", "cycle", "reset", "soft", "off"]);
        ask(&["chassis", "policy", "always-off"]);
        let status = ask(&["chassis", "status"]);
        let line = "Power Restore Policy : always-off";
        assert!(status.contains(line), "{status}");
        ask(&["chassis", "bootdev", "pxe", "options=efiboot"]);
        let flags = ask(&["chassis", "bootparam", "get", "5"]);
        assert!(flags.contains("a004000000"), "{flags}");
        ask(&["chassis", "identify", "7"]);
        assert_eq!(server.with(|bmc| bmc.chassis.identify_s), Some(7));
        let info = ask(&["mc", "info"]);
        assert!(info.contains("Firmware Revision         : 2.17"), "{info}");
        let lan = ask(&["lan", "print", "1"]);
        assert!(lan.contains("RMCP+ Cipher Suites     : 3,17"), "{lan}");
        let watts = ask(&["dcmi", "power", "reading"]);
        assert!(watts.contains("150 Watts"), "{watts}");
    }
}

#[test]
fn ipmipower_accepts_the_bmc() {
    for suite in ["3", "17"] {
        let server = bmc(|_| {});
        let address = server.address();
        let ask = |word: &str| ipmipower(address, suite, password(), word);
        assert_eq!(ask("--stat"), "127.0.0.1: off", "suite {suite}");
        assert_eq!(ask("--on"), "127.0.0.1: ok", "suite {suite}");
        assert_eq!(ask("--stat"), "127.0.0.1: on", "suite {suite}");
        assert_eq!(ask("--off"), "127.0.0.1: ok", "suite {suite}");
        let refused = ipmipower(address, suite, "guess", "--stat");
        assert_eq!(refused, "127.0.0.1: password invalid", "suite {suite}");
    }
}

#[test]
fn ipmitool_is_refused_what_is_weak() {
    let server = bmc(|_| {});
    for suite in ["0", "1", "2"] {
        let said = ipmitool(server.address(), suite, &["chassis", "power", "status"]);
        assert!(said.is_err(), "suite {suite}: {said:?}");
    }
}
