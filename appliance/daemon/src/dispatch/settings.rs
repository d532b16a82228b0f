//! What Musher sets at a sled's controller by itself, and the password that it
//! may have been changing when it ended.

use crate::power::{Driver, PowerErrorKind, Settled};

/// Once per start, before the BMC is asked anything else: a change of its
/// password may have been cut short. Whether that is settled: a BMC that does
/// not answer is asked again.
pub(super) async fn settle_password(driver: &mut Driver) -> bool {
    match driver.settle_password().await {
        Ok(Settled::Kept) => true,
        Ok(Settled::Taken) => {
            tracing::info!(
                bmc = %driver.target(),
                "its password was being changed when Musher ended; the new one is in its file now"
            );
            true
        }
        Err(error) => {
            tracing::warn!(%error, "a change of its password was cut short");
            error.kind() != PowerErrorKind::Dead
        }
    }
}

/// After an outage no sled shall start by itself. Whether that is settled: a
/// BMC that does not answer is asked again, one that refuses is not.
pub(super) async fn keep_off_after_outage(driver: &mut Driver) -> bool {
    match driver.keep_off_after_outage().await {
        Ok(()) => true,
        Err(error) if error.kind() == PowerErrorKind::Dead => false,
        Err(error) => {
            tracing::warn!(%error, "this sled may start by itself after an outage");
            true
        }
    }
}

/// Takes from the sled's own system what could turn its BMC against us, where
/// that is wanted.
pub(super) async fn restrict_host_interface(driver: &mut Driver) {
    match driver.restrict_host_interface().await {
        Ok(None) => {}
        Ok(Some(outcome)) if outcome.open.is_empty() => {}
        Ok(Some(outcome)) => tracing::warn!(
            bmc = %driver.target(),
            open = outcome.open.join(" "),
            "the sled's own system can still give its BMC these commands: the BMC's own page may \
             have a switch, such as \"lockdown\" or \"host interface\""
        ),
        Err(error) => tracing::warn!(%error, "the host interface is not restricted"),
    }
}
