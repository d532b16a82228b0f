//! Makes the status page, which listens inside the rig's namespace, reachable
//! from this machine's loopback. It copies bytes and looks at none of them.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use musher_lab::Lab;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// The port that is tried first on the machine's loopback.
const USUAL_PORT: u16 = 8443;

/// Listens on loopback, on the usual port if that is free.
pub(crate) fn listen() -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", USUAL_PORT))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .context("listen on loopback")
}

/// Starts the forwarder as a process of its own, which outlives this one: it
/// ends with the lab.
pub(crate) fn start(
    program: &Path,
    listener: TcpListener,
    lab: &Path,
    target: &str,
) -> Result<Child> {
    use std::os::unix::process::CommandExt as _;
    Command::new(program)
        .arg("forward")
        .arg(lab)
        .arg(target)
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {} forward", program.display()))
}

/// `musher-demo forward`: takes connections from the listening socket that is
/// its standard input, and connects each to `target` inside the lab.
///
/// # Errors
/// A standard input that is no such socket, or no lab.
pub fn run(lab: &Path, target: &str) -> Result<()> {
    let lab = Lab::open(lab)?;
    let listener = TcpListener::from(take_stdin()?);
    // Everything in the namespace is ended with the lab, this too.
    let mut tether = lab
        .command("sleep")
        .arg("infinity")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("run sleep inside the lab")?;
    thread::spawn(move || {
        let _ = tether.wait();
        std::process::exit(0);
    });
    let program = std::env::current_exe().context("find the running program")?;
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        if open.load(Ordering::Acquire) >= CONNECTIONS {
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        let (stream, _) = listener.accept().context("accept a connection")?;
        let inside = lab
            .command(&program)
            .arg("connect")
            .arg(target)
            .stdin(Stdio::from(OwnedFd::from(stream)))
            .stdout(Stdio::null())
            .spawn();
        if let Ok(mut inside) = inside {
            open.fetch_add(1, Ordering::AcqRel);
            let open = Arc::clone(&open);
            thread::spawn(move || {
                let _ = inside.wait();
                open.fetch_sub(1, Ordering::AcqRel);
            });
        }
    }
}

/// `musher-demo connect`: joins the connection that is its standard input to
/// `target`. Runs inside the namespace.
///
/// # Errors
/// A standard input that is no connection, or a target that refuses.
pub fn connect(target: &str) -> Result<()> {
    let near = TcpStream::from(take_stdin()?);
    let far = TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
    let (near_again, far_again) = (
        near.try_clone().context("share the connection")?,
        far.try_clone().context("share the connection")?,
    );
    let up = thread::spawn(move || copy(near_again, far_again));
    copy(far, near);
    let _ = up.join();
    Ok(())
}

/// Copies until the sender is done; either end may go away at any time.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn take_stdin() -> Result<OwnedFd> {
    io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("take the socket from standard input")
}
