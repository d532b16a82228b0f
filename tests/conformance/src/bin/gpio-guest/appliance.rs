//! The whole daemon in place of its driver: `musher serve` on loopback, with
//! the jobs that the test outside has signed. Nothing answers as GitHub and
//! the sled never boots, so each boot ends by its deadline and with a forced
//! power-off, and the next one begins.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketType, sendto, socket};

use crate::Outcome;

/// Whether there is an appliance; if so, its jobs are delivered from now on.
pub(crate) fn prepare() -> Outcome<bool> {
    if !fs::exists("/rig")? {
        return Ok(false);
    }
    loopback_up()?;
    let address = fs::read_to_string("/rig/webhook")?;
    let mut deliveries = Vec::new();
    for entry in fs::read_dir("/rig/deliveries")? {
        deliveries.push(fs::read(entry?.path())?);
    }
    thread::spawn(move || {
        for delivery in deliveries {
            while !deliver(&address, &delivery) {
                sleep(Duration::from_millis(50));
            }
        }
    });
    // A sled whose boots fail one after the other is withheld until a person
    // says otherwise.
    thread::spawn(|| {
        loop {
            sleep(Duration::from_millis(500));
            let mut release = Command::new("/musher");
            release.args(["sled", "release", "sled-01", "--config", "/rig/musher.toml"]);
            drop(release.stdout(Stdio::null()).stderr(Stdio::null()).status());
        }
    });
    Ok(true)
}

/// A life of the daemon.
pub(crate) fn start() -> Outcome<Child> {
    let mut command = Command::new("/musher");
    command.args(["serve", "--config", "/rig/musher.toml"]);
    command.args(["--inventory", "/rig/inventory.toml"]);
    Ok(command.env("MUSHER_LOG", "warn").spawn()?)
}

fn deliver(address: &str, delivery: &[u8]) -> bool {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(delivery)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let done = exchange().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
    if done {
        println!("delivered");
    }
    done
}

/// rtnetlink(7): the first interface is loopback; it is made `IFF_UP`.
fn loopback_up() -> Outcome {
    const LENGTH: u32 = 32;
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    let mut message = Vec::new();
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence, port; family, type.
    message.extend([0; 8]);
    message.extend([0; 4]);
    for word in [1_u32, 1, 1] {
        // Index, flags, which of the flags to change.
        message.extend(word.to_ne_bytes());
    }
    // Protocol 0 is NETLINK_ROUTE.
    let netlink = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&netlink, &message, SendFlags::empty(), &kernel)?;
    Ok(())
}
