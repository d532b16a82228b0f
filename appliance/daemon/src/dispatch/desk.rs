//! Questions of people to power drivers: each waits its turn behind the
//! sled's commands, so that a BMC has one request in flight.

use std::collections::BTreeMap;
use std::pin::Pin;

use messages::SledId;
use tokio::sync::{mpsc, oneshot};

use crate::power::{Driver, PowerError};

/// What is done with a driver when its turn comes.
pub(crate) type Errand =
    Box<dyn for<'a> FnOnce(&'a mut Driver) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> + Send>;

/// What a question to a driver comes to.
pub(crate) type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, PowerError>> + Send + 'a>>;

/// Why a driver was not asked.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// It has none.
    #[error("this sled has no power driver: add its power settings to the inventory")]
    NoDriver,
    /// Too much waits for it, or the appliance stops.
    #[error("its power driver is busy: try again")]
    Busy,
    /// It was asked, and failed.
    #[error(transparent)]
    Power(#[from] PowerError),
}

/// The way to all drivers.
#[derive(Clone, Default)]
pub struct PowerDesk {
    drivers: BTreeMap<SledId, mpsc::Sender<Errand>>,
}

impl PowerDesk {
    pub(crate) fn add(&mut self, sled: SledId, errands: mpsc::Sender<Errand>) {
        self.drivers.insert(sled, errands);
    }

    /// Asks a sled's driver when its turn comes. The driver's own deadlines
    /// bound the wait.
    ///
    /// # Errors
    /// When it has none, is busy, or fails.
    pub async fn ask<T, F>(&self, sled: SledId, question: F) -> Result<T, DeskError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Driver) -> Asked<'a, T> + Send + 'static,
    {
        let errands = self.drivers.get(&sled).ok_or(DeskError::NoDriver)?;
        let (answer, answered) = oneshot::channel();
        let errand: Errand = Box::new(move |driver| {
            Box::pin(async move {
                // Who asked may have gone.
                drop(answer.send(question(driver).await));
            })
        });
        errands.try_send(errand).map_err(|_| DeskError::Busy)?;
        let answer = answered.await.map_err(|_| DeskError::Busy)?;
        Ok(answer?)
    }
}
