//! The lease pool as DHCP (which changes it) and TFTP (which asks who holds an
//! address) share it. It never outlives the process by itself: the caller may
//! carry leases over with [`LeaseTable::leases`] and [`LeaseTable::restore`].

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocols::dhcp::{
    AddressRange, BootSources, Lease, LeasePool, MacAddress, Network, Packet, PoolError, Reply,
    serve,
};

/// A shared lease pool with its clock.
#[derive(Clone, Debug)]
pub struct LeaseTable {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: Mutex<LeasePool>,
    started: Instant,
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
