//! The lease pool as DHCP (which changes it) and TFTP (which asks who holds an
//! address) share it. It never outlives the process by itself: the caller may
//! carry leases over with [`LeaseTable::leases`] and [`LeaseTable::restore`].

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocols::dhcp::{
    AddressRange, BootSources, Lease, LeasePool, MacAddress, Network, Packet, PoolError, Reply,
    serve,
};
use tokio::sync::{Notify, watch};

/// A disk that takes longer is as good as none: the client asks again.
const STORED_IN: Duration = Duration::from_secs(2);

/// A shared lease pool with its clock.
#[derive(Clone, Debug)]
pub struct LeaseTable {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: Mutex<LeasePool>,
    started: Instant,
    /// Somebody stores leases.
    is_kept: AtomicBool,
    /// Counts the wishes that everything be stored.
    wishes: AtomicU64,
    wish: Notify,
    /// The last wish that was granted.
    granted: watch::Sender<u64>,
}

impl LeaseTable {
    /// An empty table; see [`LeasePool::new`].
    #[must_use]
    pub fn new(range: AddressRange, excluded: &[Ipv4Addr], lease_seconds: u32) -> Self {
        let pool = Mutex::new(LeasePool::new(range, excluded, lease_seconds));
        Self {
            shared: Arc::new(Shared {
                pool,
                started: Instant::now(),
                is_kept: AtomicBool::new(false),
                wishes: AtomicU64::new(0),
                wish: Notify::new(),
                granted: watch::Sender::new(0),
            }),
        }
    }

    /// Who holds `address` now.
    #[must_use]
    pub fn holder(&self, address: Ipv4Addr) -> Option<MacAddress> {
        self.pool().holder(address, self.now_ms())
    }

    /// Live leases with the time that is left to them.
    #[must_use]
    pub fn leases(&self) -> Vec<(MacAddress, Ipv4Addr, Duration)> {
        let now_ms = self.now_ms();
        let left = |lease: &Lease| Duration::from_millis(lease.expires_ms.saturating_sub(now_ms));
        self.pool()
            .leases(now_ms)
            .map(|lease| (lease.mac, lease.address, left(&lease)))
            .collect()
    }

    /// Takes over a lease from before a restart, if it fits and is free.
    pub fn restore(&self, mac: MacAddress, address: Ipv4Addr, left: Duration) {
        let now_ms = self.now_ms();
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = now_ms.saturating_add(left_ms);
        self.pool().restore(
            Lease {
                mac,
                address,
                expires_ms,
            },
            now_ms,
        );
    }

    /// Returns when every lease given so far is stored, where somebody stores
    /// them; whether that came to pass in time.
    pub(super) async fn are_stored(&self) -> bool {
        if !self.shared.is_kept.load(Ordering::Acquire) {
            return true;
        }
        let wish = self.shared.wishes.fetch_add(1, Ordering::AcqRel) + 1;
        let mut granted = self.shared.granted.subscribe();
        self.shared.wish.notify_one();
        let granted = granted.wait_for(|granted| *granted >= wish);
        matches!(tokio::time::timeout(STORED_IN, granted).await, Ok(Ok(_)))
    }

    /// From now on leases are stored by the caller.
    pub(crate) fn keep(&self) {
        self.shared.is_kept.store(true, Ordering::Release);
    }

    /// Resolves when leases are to be stored, with the wish to grant after that.
    pub(crate) async fn wish(&self) -> u64 {
        self.shared.wish.notified().await;
        self.wishes()
    }

    /// The last wish that leases be stored.
    pub(crate) fn wishes(&self) -> u64 {
        self.shared.wishes.load(Ordering::Acquire)
    }

    /// Everything that was given at the time of this wish is stored.
    pub(crate) fn grant(&self, wish: u64) {
        self.shared.granted.send_replace(wish);
    }

    pub(super) fn serve(
        &self,
        network: &Network,
        request: &Packet,
        boot: Option<&BootSources>,
    ) -> Result<Option<Reply>, PoolError> {
        serve(&mut self.pool(), network, request, boot, self.now_ms())
    }

    fn pool(&self) -> MutexGuard<'_, LeasePool> {
        // The pool is whole between its method calls, whoever panicked.
        self.shared
            .pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
