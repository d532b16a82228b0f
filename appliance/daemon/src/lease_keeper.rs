//! Leases over restarts: a sled that boots or runs while the appliance is
//! restarted keeps its address, and with it its right to speak.
//!
//! Leases are kept apart from the core's rows: losing them costs a sled one
//! DHCP request, never a job.

use std::{net::Ipv4Addr, time::Duration};

use messages::{Mac, Millis, decode, encode};
use serde::{Deserialize, Serialize};

use crate::{engine::Clock, http::Shutdown, netboot::LeaseTable, store::Store};

const ROW: &str = "leases";

/// How often changes are looked for.
const PERIOD: Duration = Duration::from_millis(500);

/// Versions of the stored row. Append only.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stored {
    V1(Vec<Lease>),
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    let mut last: Vec<(Mac, [u8; 4])> = Vec::new();
    let mut stop = std::pin::pin!(shutdown.wait());
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = &mut stop => return,
        }
        let rows = rows(&leases, clock.now());
        let held: Vec<(Mac, [u8; 4])> = rows.iter().map(|row| (row.mac, row.address)).collect();
        if held == last {
            continue;
        }
        let store = store.clone();
        let bytes = encode(&Stored::V1(rows));
        let stored = tokio::task::spawn_blocking(move || store.set_local(ROW, &bytes)).await;
        match stored {
            Ok(Ok(())) => last = held,
            Ok(Err(error)) => tracing::warn!(%error, "leases cannot be stored"),
            Err(_) => return,
        }
    }
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
