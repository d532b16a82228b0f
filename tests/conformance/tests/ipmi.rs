//! Our IPMI client beside ipmitool, in front of OpenIPMI's BMC simulator:
//! both must see and do the same.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use musher::power::{
    BootOverride, IpmiClient, IpmiConfig, PowerError, PowerErrorKind, PowerReading, Switched,
};
use protocols::rmcp::{CipherSuite, Firmware, NameLookup, Password, Privilege};

/// How long the simulator may take to answer at all.
const START_TRIES: u32 = 50;

/// `program`, or a failure that names the Debian package to install.
fn peer(program: &str, package: &str) -> Command {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    });
    assert!(found, "{program} is missing: apt-get install {package}");
    Command::new(program)
}

/// A simulated BMC with a chassis that is two files.
struct Simulator {
    process: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Simulator {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let address = free_address();
        fs::create_dir(path.join("state")).unwrap();
        fs::write(path.join("power"), "0").unwrap();
        fs::write(path.join("boot"), "none").unwrap();
        fs::write(path.join("log"), "").unwrap();
        let chassis = path.join("chassis.sh");
        fs::write(&chassis, chassis_script(path)).unwrap();
        fs::set_permissions(&chassis, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(path.join("lan.conf"), lan_config(address, &chassis)).unwrap();
        fs::write(path.join("bmc.emu"), EMULATION).unwrap();
        let process = Self::spawn(path);
        let simulator = Self {
            process,
            address,
            folder,
        };
        simulator.wait_until_up();
        simulator
    }

    fn spawn(folder: &Path) -> Child {
        peer("ipmi_sim", "openipmi")
            .args(["-n", "-c"])
            .arg(folder.join("lan.conf"))
            .arg("-f")
            .arg(folder.join("bmc.emu"))
            .arg("-s")
            .arg(folder.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Starts the BMC again, which forgets its sessions, not its chassis.
    fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = Self::spawn(self.folder.path());
        self.wait_until_up();
    }

    fn wait_until_up(&self) {
        for _ in 0..START_TRIES {
            if self.try_ipmitool(&["mc", "info"]).is_some() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("ipmi_sim on {} does not answer ipmitool", self.address);
    }

    fn try_ipmitool(&self, arguments: &[&str]) -> Option<String> {
        let port = self.address.port().to_string();
        let output = peer("ipmitool", "ipmitool")
            .args(["-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", &port])
            .args(["-U", "admin", "-P", "secret", "-N", "1", "-R", "2"])
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    fn ipmitool(&self, arguments: &[&str]) -> String {
        self.try_ipmitool(arguments)
            .unwrap_or_else(|| panic!("ipmitool {arguments:?} failed"))
    }

    /// What the chassis was told to do, in order.
    fn orders(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // SIGKILL: ipmi_sim ignores SIGTERM.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

fn chassis_script(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "#!/bin/sh\n\
         # ipmi_sim calls: NAME get PARAMETER… | NAME set PARAMETER VALUE …\n\
         cd {folder} || exit 1\n\
         shift; order=$1; shift\n\
         if [ \"$order\" = get ]; then\n\
           for name; do echo \"$name:$(cat \"$name\")\"; done\n\
           exit 0\n\
         fi\n\
         while [ $# -ge 2 ]; do\n\
           echo \"$1 $2\" >> log\n\
           case $1 in power|boot) echo \"$2\" > \"$1\" ;; esac\n\
           shift 2\n\
         done\n"
    )
}

fn lan_config(address: SocketAddr, chassis: &Path) -> String {
    let (host, port) = (address.ip(), address.port());
    let chassis = chassis.display();
    format!(
        "name \"sled1\"\n\
         set_working_mc 0x20\n\
         startlan 1\n\
         addr {host} {port}\n\
         priv_limit admin\n\
         allowed_auths_callback none md2 md5 straight\n\
         allowed_auths_user none md2 md5 straight\n\
         allowed_auths_operator none md2 md5 straight\n\
         allowed_auths_admin none md2 md5 straight\n\
         guid a123456789abcdefa123456789abcdef\n\
         endlan\n\
         chassis_control \"{chassis} sled1\"\n\
         user 1 true \"\" \"test\" user 10 none md2 md5 straight\n\
         user 2 true \"admin\" \"secret\" admin 10 none md2 md5 straight\n"
    )
}

const EMULATION: &str = "mc_setbmc 0x20\n\
    mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
    sel_enable 0x20 1000 0x0a\n\
    mc_enable 0x20\n";

fn config(address: SocketAddr, username: &str, password: &[u8]) -> IpmiConfig {
    let mut config = IpmiConfig::new(address, username, password, CipherSuite::Suite3).unwrap();
    config.patience.off_time = Duration::from_millis(100);
    config.patience.set_up_tries = 2;
    config.patience.set_up_wait = Duration::from_millis(500);
    config
}

fn client(config: IpmiConfig) -> IpmiClient {
    IpmiClient::new(config, Some("sled-01".to_owned()))
}

#[tokio::test]
async fn power_is_the_same_for_ipmitool_and_us() {
    let bmc = Simulator::start();
    let mut ours = client(config(bmc.address, "admin", b"secret"));
    let status = || {
        bmc.ipmitool(&["chassis", "power", "status"])
            .trim()
            .to_owned()
    };

    assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    assert_eq!(status(), "Chassis Power is off");
    assert_eq!(ours.power_off().await.unwrap(), Switched::AlreadySo);
    assert_eq!(
        bmc.orders(),
        [] as [&str; 0],
        "nothing is sent to what is off already"
    );

    assert_eq!(ours.power_on().await.unwrap(), Switched::Commanded);
    assert_eq!(status(), "Chassis Power is on");
    assert_eq!(ours.power_on().await.unwrap(), Switched::AlreadySo);
    assert_eq!(bmc.orders(), ["power 1"]);

    bmc.ipmitool(&["chassis", "power", "off"]);
    assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    bmc.ipmitool(&["chassis", "power", "on"]);
    assert_eq!(ours.read().await.unwrap(), PowerReading::On);
    assert_eq!(ours.power_off().await.unwrap(), Switched::Commanded);
    assert_eq!(status(), "Chassis Power is off");

    ours.cycle().await.unwrap();
    assert_eq!(
        status(),
        "Chassis Power is on",
        "a cycle switches on what is off"
    );
    let before = bmc.orders().len();
    ours.cycle().await.unwrap();
    assert_eq!(
        bmc.orders().get(before..),
        Some(&["power 0".to_owned(), "power 1".to_owned()][..])
    );
    let before = bmc.orders().len();
    bmc.ipmitool(&["chassis", "power", "reset"]);
    ours.reset().await.unwrap();
    let resets = bmc.orders().split_off(before);
    assert_eq!((resets.len(), &resets[0]), (2, &resets[1]), "{resets:?}");
    ours.close().await;
}

#[tokio::test]
async fn boot_flags_and_identity_are_the_same_for_ipmitool_and_us() {
    let bmc = Simulator::start();
    let mut ours = client(config(bmc.address, "admin", b"secret"));
    let flags = || bmc.ipmitool(&["chassis", "bootparam", "get", "5"]);

    let set = ours.set_boot_pxe(Firmware::Bios).await.unwrap();
    assert_eq!(
        set,
        BootOverride {
            confirmed: true,
            valid_bit_confirmed: false,
            efi_bit_confirmed: true
        }
    );
    assert!(flags().contains("Force PXE"), "{}", flags());
    assert_eq!(bmc.orders().last().map(String::as_str), Some("boot pxe"));

    bmc.ipmitool(&["chassis", "bootdev", "disk"]);
    assert!(!flags().contains("Force PXE"), "{}", flags());
    // The simulator keeps the device and loses valid and EFI bits, as
    // `ipmitool raw 0 9 5 0 0` shows too: said, not hidden.
    let set = ours.set_boot_pxe(Firmware::Uefi).await.unwrap();
    assert_eq!(
        set,
        BootOverride {
            confirmed: true,
            valid_bit_confirmed: false,
            efi_bit_confirmed: false
        }
    );
    assert!(flags().contains("Force PXE"), "{}", flags());

    let id = ours.device_id().await.unwrap().unwrap();
    let info = bmc.ipmitool(&["mc", "info"]);
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name)).unwrap();
        line.split([':', '(']).nth(1).unwrap().trim().to_owned()
    };
    assert_eq!(field("Manufacturer ID"), id.manufacturer.to_string());
    assert_eq!(field("Product ID"), id.product.to_string());
    assert_eq!(field("Device ID"), id.device.0.to_string());
}

/// What ipmi_sim has of the rest of the table, ipmitool and we see alike; what
/// it lacks, it lacks for both.
#[tokio::test]
async fn the_rest_of_the_table_is_the_same_for_ipmitool_and_us() {
    let bmc = Simulator::start();
    let mut ours = client(config(bmc.address, "admin", b"secret"));
    let can = |words: &[&str]| bmc.try_ipmitool(words).is_some();
    let identified = ours.identify(1).await;
    assert_eq!(
        identified.is_ok(),
        can(&["chassis", "identify", "1"]),
        "{identified:?}"
    );
    let kept = ours.keep_off_after_outage().await;
    let status = bmc.ipmitool(&["chassis", "status"]);
    let stays_off = status.contains("Power Restore Policy : always-off");
    assert_eq!(kept.is_ok(), stays_off, "{kept:?} {status}");
    let measured = can(&["dcmi", "power", "reading"]);
    assert_eq!(ours.watts().await.unwrap().is_some(), measured);

    // Add SEL Entry: a temperature that crossed its upper limit.
    let entry = "0x0a 0x44 0 0 2 0 0 0 0 0x20 0 4 1 0x30 1 0x59 0 0";
    let add = ["raw"].into_iter().chain(entry.split(' '));
    bmc.ipmitool(&add.collect::<Vec<_>>());
    let entries = |info: &str| {
        let line = info.lines().find(|line| line.starts_with("Entries"));
        let count = line.and_then(|line| line.split(':').nth(1));
        count.unwrap().trim().parse::<usize>().unwrap()
    };
    let seen = entries(&bmc.ipmitool(&["sel", "info"]));
    assert!(seen > 0);
    assert_eq!(ours.events().await.unwrap().len(), seen);
    ours.clear_events().await.unwrap();
    assert_eq!(entries(&bmc.ipmitool(&["sel", "info"])), 0);

    let facts = ours.facts().await.unwrap();
    let user = facts.get("user.02").unwrap();
    assert!(user.starts_with("\"admin\" "), "{user}");
    assert!(user.ends_with("sessions, administrator"), "{user}");
    assert_eq!(facts.drift(&ours.facts().await.unwrap()), []);
    let new = Password::new(b"another secret").unwrap();
    ours.change_password(new).await.unwrap();
    assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    assert!(!can(&["chassis", "power", "status"]), "with the old one");
    ours.close().await;
}

#[tokio::test]
async fn lookup_and_privilege_open_sessions() {
    let bmc = Simulator::start();
    let check = async |lookup, privilege| {
        let mut config = config(bmc.address, "admin", b"secret");
        (config.lookup, config.privilege) = (lookup, privilege);
        client(config).read().await
    };
    let off = PowerReading::Off;
    assert_eq!(
        check(NameLookup::NameOnly, Privilege::Operator)
            .await
            .unwrap(),
        off
    );
    assert_eq!(
        check(NameLookup::NameOnly, Privilege::Administrator)
            .await
            .unwrap(),
        off
    );
    // IPMI table 13-11: this look-up wants the very level of the user.
    let both = NameLookup::NameAndPrivilege;
    assert_eq!(check(both, Privilege::Administrator).await.unwrap(), off);
    let error = check(both, Privilege::Operator).await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::WrongPassword, "{error}");
}

#[tokio::test]
async fn a_forgotten_session_is_replaced() {
    let mut bmc = Simulator::start();
    let mut config = config(bmc.address, "admin", b"secret");
    config.patience.command_wait = Duration::from_millis(50);
    let mut ours = client(config);
    assert_eq!(ours.power_on().await.unwrap(), Switched::Commanded);
    bmc.restart();
    assert_eq!(ours.read().await.unwrap(), PowerReading::On);
    assert_eq!(bmc.orders(), ["power 1"]);
}

/// A relay in front of `bmc` that loses every 11th datagram, of either
/// direction. It ends when nothing has come for two seconds.
fn lossy_relay(bmc: SocketAddr) -> SocketAddr {
    let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = front.local_addr().unwrap();
    let quiet = Some(Duration::from_secs(2));
    front.set_read_timeout(quiet).unwrap();
    let count = Arc::new(AtomicU32::new(1));
    thread::spawn(move || {
        // Each client port has its own port towards the BMC.
        let mut backs: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = front.recv_from(&mut buffer) {
            let back = backs.entry(client).or_insert_with(|| {
                let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                back.set_read_timeout(quiet).unwrap();
                let (from, to) = (back.try_clone().unwrap(), front.try_clone().unwrap());
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let mut buffer = [0; 2048];
                    while let Ok((length, _)) = from.recv_from(&mut buffer) {
                        if !count.fetch_add(1, Ordering::Relaxed).is_multiple_of(11) {
                            to.send_to(&buffer[..length], client).unwrap();
                        }
                    }
                });
                back
            });
            if !count.fetch_add(1, Ordering::Relaxed).is_multiple_of(11) {
                back.send_to(&buffer[..length], bmc).unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn lost_datagrams_are_made_good() {
    let bmc = Simulator::start();
    let mut config = config(lossy_relay(bmc.address), "admin", b"secret");
    config.patience.command_wait = Duration::from_millis(50);
    let mut ours = client(config);
    for _ in 0..10 {
        assert_eq!(ours.power_on().await.unwrap(), Switched::Commanded);
        assert_eq!(ours.read().await.unwrap(), PowerReading::On);
        assert_eq!(ours.power_off().await.unwrap(), Switched::Commanded);
        assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    }
    // A lost answer makes a command come twice, which on and off forgive.
    let mut orders = bmc.orders();
    orders.dedup();
    assert_eq!(orders.len(), 20, "{orders:?}");
}

async fn failure(config: IpmiConfig) -> PowerError {
    client(config).read().await.unwrap_err()
}

fn check(error: &PowerError, kind: PowerErrorKind, address: SocketAddr, part: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("sled sled-01, BMC {address}: ")),
        "{text}"
    );
    assert!(text.contains(part), "{text}");
}

#[tokio::test]
async fn refusals_of_a_bmc_are_told_apart() {
    let bmc = Simulator::start();
    let address = bmc.address;
    let wrong = PowerErrorKind::WrongPassword;
    let error = failure(config(address, "admin", b"guess")).await;
    check(&error, wrong, address, "wrong password");
    let error = failure(config(address, "nobody", b"secret")).await;
    check(&error, wrong, address, "refuses the user name");
    let mut strong = config(address, "admin", b"secret");
    strong.cipher = CipherSuite::Suite17;
    let error = failure(strong).await;
    check(
        &error,
        PowerErrorKind::Unsupported,
        address,
        "cipher suite 17",
    );
    // And none of that stands in the way of the right one.
    let reading = client(config(address, "admin", b"secret")).read().await;
    assert_eq!(reading.unwrap(), PowerReading::Off);
}

#[tokio::test]
async fn a_dead_bmc_is_not_garbage() {
    // A port where nobody listens.
    let closed = free_address();
    let error = failure(config(closed, "admin", b"secret")).await;
    check(
        &error,
        PowerErrorKind::Dead,
        closed,
        "check that the BMC has power",
    );
    // A port where somebody listens and says nothing.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent = socket.local_addr().unwrap();
    let error = failure(config(silent, "admin", b"secret")).await;
    check(&error, PowerErrorKind::Dead, silent, "in 2 tries");
}

#[tokio::test]
async fn garbage_is_not_a_dead_bmc() {
    for answers in [1, 100] {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        // Longer than the client's patience, then the thread ends.
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let responder = thread::spawn(move || {
            let mut buffer = [0; 2048];
            for _ in 0..2 {
                let Ok((_, from)) = socket.recv_from(&mut buffer) else {
                    return;
                };
                for _ in 0..answers {
                    socket.send_to(b"SSH-2.0-OpenSSH_9.2", from).unwrap();
                }
            }
        });
        let error = failure(config(address, "admin", b"secret")).await;
        check(&error, PowerErrorKind::Garbage, address, "no RMCP header");
        responder.join().unwrap();
    }
}
