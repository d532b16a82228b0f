//! `musher-bmc`: simulated BMCs for hand and bench. Prints the address of each
//! on a line of its own, and runs until it is ended.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use musher_bmc::{Chassis, Server, User};

/// Simulated BMCs that speak IPMI 2.0 with cipher suites 3 and 17.
#[derive(Parser)]
#[command(name = "musher-bmc", version)]
struct Arguments {
    /// Where the first listens; the others take the ports after it. Port 0
    /// takes any.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 6230)))]
    listen: SocketAddr,
    /// How many.
    #[arg(long, default_value_t = 1)]
    count: u16,
    /// Name of their administrator.
    #[arg(long, default_value = "admin")]
    username: String,
    /// File with that user's password.
    #[arg(long)]
    password_path: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let path = &arguments.password_path;
    let password = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let password = password.trim_ascii_end();
    anyhow::ensure!(
        (1..=20).contains(&password.len()),
        "{} must hold 1 to 20 bytes",
        path.display()
    );
    let mut servers = Vec::new();
    for index in 0..arguments.count {
        let mut address = arguments.listen;
        if address.port() != 0 {
            let port = address.port().checked_add(index);
            address.set_port(port.context("there are no ports left")?);
        }
        let chassis = Chassis::new(User::administrator(&arguments.username, password));
        let server =
            Server::start(address, chassis).with_context(|| format!("listen on {address}"))?;
        println!("{}", server.address());
        servers.push(server);
    }
    loop {
        std::thread::park();
    }
}
