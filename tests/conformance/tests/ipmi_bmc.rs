//! Our IPMI client in front of a BMC whose cryptography shares no code with
//! it: the whole table of commands over cipher suites 3 and 17. That the BMC
//! itself is one, ipmitool (OpenSSL) and ipmipower (libgcrypt) say first.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use musher::power::{IpmiClient, IpmiConfig};
use musher_bmc::{Chassis, Server, User};
use protocols::rmcp::CipherSuite;

#[path = "ipmi_bmc/console.rs"]
mod console;
#[path = "ipmi_bmc/lies.rs"]
mod lies;
#[path = "ipmi_bmc/matrix.rs"]
mod matrix;
#[path = "ipmi_bmc/password.rs"]
mod password;
#[path = "ipmi_bmc/peers.rs"]
mod peers;
#[path = "ipmi_bmc/pyghmi.rs"]
mod pyghmi;
#[path = "ipmi_bmc/quirks.rs"]
mod quirks;
#[path = "ipmi_bmc/serve.rs"]
mod serve;
#[path = "shared/served.rs"]
mod served;
#[path = "ipmi_bmc/table.rs"]
mod table;

const PASSWORD: &[u8] = b"correct horse";

/// `program`, or a failure that names the Debian package to install.
fn peer(program: &str, package: &str) -> Command {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    });
    assert!(found, "{program} is missing: apt-get install {package}");
    Command::new(program)
}

/// A BMC whose user is `admin`, changed by `change` before it listens.
fn bmc(change: impl FnOnce(&mut Chassis)) -> Server {
    let mut chassis = Chassis::new(User::administrator("admin", PASSWORD));
    change(&mut chassis);
    Server::start((Ipv4Addr::LOCALHOST, 0).into(), chassis).unwrap()
}

fn config(address: SocketAddr, cipher: CipherSuite) -> IpmiConfig {
    let mut config = IpmiConfig::new(address, "admin", PASSWORD, cipher).unwrap();
    config.patience.off_time = Duration::from_millis(1);
    config.patience.set_up_tries = 5;
    config.patience.set_up_wait = Duration::from_millis(200);
    config.patience.command_tries = 3;
    config.patience.command_wait = Duration::from_millis(100);
    config.patience.deadline = Duration::from_secs(3);
    config
}

fn client(address: SocketAddr) -> IpmiClient {
    let config = config(address, CipherSuite::Suite17);
    IpmiClient::new(config, Some("sled-01".to_owned()))
}
