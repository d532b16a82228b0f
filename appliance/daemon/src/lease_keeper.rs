//! Leases over restarts: a sled that boots or runs while the appliance is
//! restarted keeps its address, and with it its right to speak.
//!
//! Leases are kept apart from the core's rows, and stored before they are
//! acknowledged: firmware asks once, and would be refused ever after.

use std::{net::Ipv4Addr, time::Duration};

use messages::{Mac, Millis, decode, encode};
use serde::{Deserialize, Serialize};

use crate::{engine::Clock, http::Shutdown, netboot::LeaseTable, store::Store};

const ROW: &str = "leases";

/// How often changes are looked for that nobody waits for.
const PERIOD: Duration = Duration::from_millis(500);

/// A renewal is stored when it moved a lease's end by this much. A sled keeps
/// its address from boot to boot, so the end is often all that ever changes;
/// without it, every lease would seem to have run out after a day.
const RENEWED_MS: u64 = 10 * 60 * 1000;

/// Versions of the stored row. Append only.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stored {
    V1(Vec<Lease>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    mac: Mac,
    address: [u8; 4],
    expires: Millis,
}

/// Gives back the leases of the last run that still hold.
pub fn restore(leases: &LeaseTable, store: &Store, clock: &Clock) {
    let stored = match store.local(ROW) {
        Ok(Some(bytes)) => decode(&bytes).ok(),
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(%error, "leases of the last run cannot be read; sleds ask again");
            None
        }
    };
    let Some(Stored::V1(rows)) = stored else {
        return;
    };
    let now = clock.now();
    for row in rows.into_iter().filter(|row| row.expires > now) {
        if let Ok(mac) = row.mac.to_string().parse() {
            let left = Duration::from_millis(row.expires.since(now));
            leases.restore(mac, Ipv4Addr::from(row.address), left);
        }
    }
}

/// Stores leases as they change, until the appliance stops.
pub async fn keep(leases: LeaseTable, store: Store, clock: Clock, shutdown: Shutdown) {
    let mut last: Vec<Lease> = Vec::new();
    leases.keep();
    let mut stop = std::pin::pin!(shutdown.wait());
    loop {
        let wish = tokio::select! {
            wish = leases.wish() => wish,
            () = tokio::time::sleep(PERIOD) => leases.wishes(),
            () = &mut stop => return,
        };
        let rows = rows(&leases, clock.now());
        if is_stored(&rows, &last) {
            leases.grant(wish);
            continue;
        }
        let store = store.clone();
        let bytes = encode(&Stored::V1(rows.clone()));
        let stored = tokio::task::spawn_blocking(move || store.set_local(ROW, &bytes)).await;
        match stored {
            Ok(Ok(())) => {
                last = rows;
                leases.grant(wish);
            }
            Ok(Err(error)) => tracing::warn!(%error, "leases cannot be stored"),
            Err(_) => return,
        }
    }
}

/// Whether `stored` says of every lease what `rows` says, or nearly so.
fn is_stored(rows: &[Lease], stored: &[Lease]) -> bool {
    let alike = |(row, stored): (&Lease, &Lease)| {
        (row.mac, row.address) == (stored.mac, stored.address)
            && row.expires.since(stored.expires) < RENEWED_MS
            && stored.expires.since(row.expires) < RENEWED_MS
    };
    rows.len() == stored.len() && rows.iter().zip(stored).all(alike)
}

fn rows(leases: &LeaseTable, now: Millis) -> Vec<Lease> {
    let left_ms = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    leases
        .leases()
        .into_iter()
        .filter_map(|(mac, address, left)| {
            let mac = mac.to_string().parse().ok()?;
            let expires = now.after(left_ms(left));
            Some(Lease {
                mac,
                address: address.octets(),
                expires,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_renewals_are_stored() {
        #[track_caller]
        fn check(rows: &[(u8, u64)], expect: bool) {
            let lease = |(address, expires): &(u8, u64)| Lease {
                mac: "52:54:00:77:00:01".parse().unwrap(),
                address: [10, 77, 0, *address],
                expires: Millis(*expires),
            };
            let rows: Vec<Lease> = rows.iter().map(lease).collect();
            let stored = [lease(&(50, 86_400_000))];
            assert_eq!(is_stored(&rows, &stored), expect, "{rows:?}");
        }
        check(&[(50, 86_400_000)], true);
        // Two looks at one clock differ by less than a millisecond or two.
        check(&[(50, 86_400_002)], true);
        check(&[(50, 86_399_998)], true);
        check(&[(50, 86_400_000 + RENEWED_MS)], false);
        check(&[(51, 86_400_000)], false);
        check(&[], false);
        check(&[(50, 86_400_000), (51, 86_400_000)], false);
    }
}
