//! What Musher sets at a sled's controller by itself, and the password that it
//! may have been changing when it ended.

use crate::power::{Driver, PowerError, PowerErrorKind, Settled};

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

/// What Musher wants of the settings before they are adopted.
///
/// # Errors
/// When the BMC does not answer. One that refuses is left as it is, and that
/// is said.
pub(super) async fn prepare(driver: &mut Driver) -> Result<(), PowerError> {
    keep_off_after_outage(driver).await?;
    restrict_host_interface(driver).await
}

/// After an outage no sled shall start by itself.
///
/// # Errors
/// As [`prepare`].
pub(super) async fn keep_off_after_outage(driver: &mut Driver) -> Result<(), PowerError> {
    match driver.keep_off_after_outage().await {
        Err(error) if error.kind() == PowerErrorKind::Dead => return Err(error),
        Err(error) => tracing::warn!(%error, "this sled may start by itself after an outage"),
        Ok(()) => {}
    }
    Ok(())
}

/// Takes from the sled's own system what could turn its BMC against us, where
/// that is wanted.
async fn restrict_host_interface(driver: &mut Driver) -> Result<(), PowerError> {
    match driver.restrict_host_interface().await {
        Err(error) if error.kind() == PowerErrorKind::Dead => return Err(error),
        Err(error) => tracing::warn!(%error, "the host interface is not restricted"),
        Ok(Some(outcome)) if !outcome.open.is_empty() => tracing::warn!(
            bmc = %driver.target(),
            open = outcome.open.join(" "),
            "the sled's own system can still give its BMC these commands: the BMC's own page may \
             have a switch, such as \"lockdown\" or \"host interface\""
        ),
        Ok(_) => {}
    }
    Ok(())
}
