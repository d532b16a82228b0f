//! A BMC on a UDP port, on a thread of its own.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bmc::Bmc;
use crate::chassis::Chassis;

/// A BMC needs little stack, and there may be hundreds.
const STACK_BYTES: usize = 128 * 1024;

/// A BMC that listens. Dropping it ends it.
pub struct Server {
    address: SocketAddr,
    bmc: Arc<Mutex<Bmc>>,
    stop: Arc<AtomicBool>,
    waker: UdpSocket,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A BMC in front of `chassis` that listens on `address`; port 0 is any.
    ///
    /// # Errors
    /// When the port cannot be bound, or there are no threads left.
    pub fn start(address: SocketAddr, chassis: Chassis) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let address = socket.local_addr()?;
        let waker = UdpSocket::bind(SocketAddr::new(address.ip(), 0))?;
        let bmc = Arc::new(Mutex::new(Bmc::new(chassis)));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, flag) = (Arc::clone(&bmc), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name(format!("bmc {address}"))
            .stack_size(STACK_BYTES)
            .spawn(move || serve(&socket, &shared, &flag))?;
        Ok(Self {
            address,
            bmc,
            stop,
            waker,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Looks at the BMC, or changes it; it acts on that at once.
    pub fn with<T>(&self, look: impl FnOnce(&mut Bmc) -> T) -> T {
        let result = look(&mut self.bmc.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake();
        result
    }

    fn wake(&self) {
        // An empty datagram is nothing to a BMC.
        let _ = self.waker.send_to(&[], self.address);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, bmc: &Mutex<Bmc>, stop: &AtomicBool) {
    let start = Instant::now();
    let mut buffer = [0; 1024];
    let mut due_ms: Option<u64> = None;
    loop {
        let now_ms = start.elapsed().as_millis() as u64;
        // A timeout of zero would be none.
        let wait = due_ms.map(|due_ms| Duration::from_millis(due_ms.saturating_sub(now_ms).max(1)));
        if socket.set_read_timeout(wait).is_err() {
            return;
        }
        let received = socket.recv_from(&mut buffer);
        if stop.load(Ordering::Acquire) {
            return;
        }
        let now_ms = start.elapsed().as_millis() as u64;
        let mut bmc = bmc.lock().unwrap_or_else(PoisonError::into_inner);
        let out = match received {
            Ok((length, peer)) => bmc.handle(now_ms, peer, &buffer[..length]),
            Err(_) => bmc.poll(now_ms),
        };
        due_ms = bmc.due_ms();
        drop(bmc);
        for (peer, datagram) in out {
            // A client that has gone is nobody's fault.
            let _ = socket.send_to(&datagram, peer);
        }
    }
}
