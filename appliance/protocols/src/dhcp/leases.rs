//! Which address belongs to which MAC, and until when. The pool never grows
//! past its range, never reads a clock (times are milliseconds of any one
//! monotonic clock) and never gives one address to two machines at a time.
//!
//! Keyed by MAC because the client identifier changes between firmware, iPXE
//! and operating system. The first choice of an address depends on the MAC
//! only, so a machine tends to get the same one after a restart of the server.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use super::mac::MacAddress;

/// How long an offer waits for its request.
const OFFER_MS: u64 = 60_000;
/// How long a declined address is withheld.
const DECLINED_MS: u64 = 600_000;
/// Most addresses in one range: bounds the memory of the pool.
const MAX_ADDRESSES: u32 = 4096;

/// First and last address of the pool, both given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: u32,
    last: u32,
}

/// Why two addresses are no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Last before first.
    #[error("read DHCP range: {last} is below {first}; write the lower address first")]
    Reversed {
        /// First address as given.
        first: Ipv4Addr,
        /// Last address as given.
        last: Ipv4Addr,
    },
    /// Too many addresses.
    #[error("read DHCP range: it holds more than {MAX_ADDRESSES} addresses; choose a smaller one")]
    TooLarge,
}

impl AddressRange {
    /// Makes a range of both ends.
    ///
    /// # Errors
    /// [`RangeError`] when it is reversed or holds more than 4096 addresses.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Result<Self, RangeError> {
        let (low, high) = (u32::from(first), u32::from(last));
        if high < low {
            return Err(RangeError::Reversed { first, last });
        }
        if high - low >= MAX_ADDRESSES {
            return Err(RangeError::TooLarge);
        }
        Ok(Self {
            first: low,
            last: high,
        })
    }

    /// Whether `address` is one of the range.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&u32::from(address))
    }

    fn size(&self) -> u32 {
        self.last - self.first + 1
    }
}

/// One live lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Holder.
    pub mac: MacAddress,
    /// Its address.
    pub address: Ipv4Addr,
    /// End of the lease on the caller's clock, in milliseconds.
    pub expires_ms: u64,
}

/// Why no address can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// All addresses are leased or withheld.
    #[error("allocate DHCP address: the range is exhausted; widen [dhcp] range")]
    Exhausted,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// `None`: declined, withheld from everybody.
    holder: Option<MacAddress>,
    until_ms: u64,
}

/// The pool of one network.
#[derive(Debug)]
pub struct LeasePool {
    range: AddressRange,
    excluded: BTreeSet<Ipv4Addr>,
    lease_ms: u64,
    slots: BTreeMap<Ipv4Addr, Slot>,
    by_mac: BTreeMap<MacAddress, Ipv4Addr>,
}

impl LeasePool {
    /// A pool over `range` without `excluded` (the server itself, the
    /// gateway), with leases of `lease_seconds`.
    #[must_use]
    pub fn new(range: AddressRange, excluded: &[Ipv4Addr], lease_seconds: u32) -> Self {
        Self {
            range,
            excluded: excluded.iter().copied().collect(),
            lease_ms: u64::from(lease_seconds) * 1000,
            slots: BTreeMap::new(),
            by_mac: BTreeMap::new(),
        }
    }

    /// Sets an address aside for `mac` for a minute; `hint` is what the client
    /// asked for.
    ///
    /// # Errors
    /// [`PoolError::Exhausted`] when nothing is free.
    pub fn offer(
        &mut self,
        mac: MacAddress,
        hint: Option<Ipv4Addr>,
        now_ms: u64,
    ) -> Result<Ipv4Addr, PoolError> {
        let address = self.find(mac, hint, now_ms)?;
        // A new offer never shortens a lease that runs already.
        let held_until = self.slots.get(&address).map_or(0, |slot| slot.until_ms);
        self.hold(
            address,
            mac,
            held_until.max(now_ms.saturating_add(OFFER_MS)),
        );
        Ok(address)
    }

    /// Leases an address to `mac` for the full time.
    ///
    /// # Errors
    /// [`PoolError::Exhausted`] when nothing is free.
    pub fn grant(
        &mut self,
        mac: MacAddress,
        hint: Option<Ipv4Addr>,
        now_ms: u64,
    ) -> Result<Ipv4Addr, PoolError> {
        let address = self.find(mac, hint, now_ms)?;
        self.hold(address, mac, now_ms.saturating_add(self.lease_ms));
        Ok(address)
    }

    /// Gives the address of `mac` back; another address than its own is
    /// ignored (RFC 2131 section 4.3.4).
    pub fn release(&mut self, mac: MacAddress, address: Ipv4Addr) {
        if self.by_mac.get(&mac) == Some(&address) {
            self.by_mac.remove(&mac);
            self.slots.remove(&address);
        }
    }

    /// Withholds the address of `mac`, because it saw another machine use it
    /// (RFC 2131 section 4.3.3). Only its own address counts, and never more
    /// than a quarter of the range is withheld, so that one hostile machine
    /// cannot use the range up: the oldest comes free first.
    pub fn decline(&mut self, mac: MacAddress, address: Ipv4Addr, now_ms: u64) {
        if self.by_mac.get(&mac) != Some(&address) {
            return;
        }
        self.by_mac.remove(&mac);
        let until_ms = now_ms.saturating_add(DECLINED_MS);
        self.slots.insert(
            address,
            Slot {
                holder: None,
                until_ms,
            },
        );
        let allowed = usize::try_from(self.range.size() / 4).unwrap_or(0).max(1);
        let mut withheld: Vec<(u64, Ipv4Addr)> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.holder.is_none())
            .map(|(address, slot)| (slot.until_ms, *address))
            .collect();
        withheld.sort_unstable();
        let surplus = withheld.len().saturating_sub(allowed);
        for (_, oldest) in withheld.into_iter().take(surplus) {
            self.slots.remove(&oldest);
        }
    }

    /// Takes a lease over that was granted before a restart; ignored when the
    /// address is out of the range or taken.
    pub fn restore(&mut self, lease: Lease, now_ms: u64) {
        if lease.expires_ms > now_ms && self.usable(lease.address, lease.mac, now_ms) {
            self.hold(lease.address, lease.mac, lease.expires_ms);
        }
    }

    /// Holder of `address` at `now_ms`, offers included: the firmware fetches
    /// files with the address of the last lease.
    #[must_use]
    pub fn holder(&self, address: Ipv4Addr, now_ms: u64) -> Option<MacAddress> {
        let slot = self.slots.get(&address)?;
        if slot.until_ms > now_ms {
            slot.holder
        } else {
            None
        }
    }

    /// All leases that are live at `now_ms`, by address.
    pub fn leases(&self, now_ms: u64) -> impl Iterator<Item = Lease> {
        self.slots
            .iter()
            .filter(move |(_, slot)| slot.until_ms > now_ms)
            .filter_map(|(address, slot)| {
                let mac = slot.holder?;
                Some(Lease {
                    mac,
                    address: *address,
                    expires_ms: slot.until_ms,
                })
            })
    }

    fn find(
        &self,
        mac: MacAddress,
        hint: Option<Ipv4Addr>,
        now_ms: u64,
    ) -> Result<Ipv4Addr, PoolError> {
        let own = self.by_mac.get(&mac).copied();
        let known = own
            .or(hint)
            .filter(|address| self.usable(*address, mac, now_ms));
        if let Some(address) = known {
            return Ok(address);
        }
        let size = self.range.size();
        let start = preferred(mac) % size;
        (0..size)
            .map(|step| Ipv4Addr::from(self.range.first + (start + step) % size))
            .find(|address| self.usable(*address, mac, now_ms))
            .ok_or(PoolError::Exhausted)
    }

    fn usable(&self, address: Ipv4Addr, mac: MacAddress, now_ms: u64) -> bool {
        let free = match self.slots.get(&address) {
            None => true,
            Some(slot) => slot.until_ms <= now_ms || slot.holder == Some(mac),
        };
        free && self.range.contains(address) && !self.excluded.contains(&address)
    }

    fn hold(&mut self, address: Ipv4Addr, mac: MacAddress, until_ms: u64) {
        if let Some(previous) = self.by_mac.insert(mac, address)
            && previous != address
        {
            self.slots.remove(&previous);
        }
        let before = self.slots.insert(
            address,
            Slot {
                holder: Some(mac),
                until_ms,
            },
        );
        if let Some(Slot {
            holder: Some(expired),
            ..
        }) = before
            && expired != mac
        {
            self.by_mac.remove(&expired);
        }
    }
}

/// FNV-1a over the MAC: spreads machines of one vendor over the range.
fn preferred(mac: MacAddress) -> u32 {
    mac.octets().iter().fold(0x811c_9dc5, |hash, octet| {
        (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193)
    })
}
