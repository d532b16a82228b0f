//! The BMC's event log: read whole, cleared on request only.

use protocols::rmcp::{Answer, Command, SelEntry, SelInfo};
use tokio::time::sleep;

use super::{IpmiClient, PAUSE};
use crate::power::PowerError;

/// Entries read at most: a log holds a few thousand, and one that names
/// itself as its next would never end.
const MOST_ENTRIES: usize = 4096;
/// How often an erasure under way is looked at.
const ERASURE_TRIES: u32 = 40;

impl IpmiClient {
    /// How full the event log is.
    ///
    /// # Errors
    /// When the BMC does not say.
    pub async fn event_log(&mut self) -> Result<SelInfo, PowerError> {
        let deadline = self.deadline();
        match self.perform(&Command::GetSelInfo, deadline).await? {
            Answer::SelInfo(info) => Ok(info),
            _ => Err(self.odd("the event log")),
        }
    }

    /// The entries of the event log, oldest first, 4,096 at most.
    ///
    /// # Errors
    /// When the BMC does not say.
    pub async fn events(&mut self) -> Result<Vec<SelEntry>, PowerError> {
        let mut entries = Vec::new();
        if self.event_log().await?.entries == 0 {
            return Ok(entries);
        }
        let mut wanted = Some(0);
        while let Some(id) = wanted
            && entries.len() < MOST_ENTRIES
        {
            let deadline = self.deadline();
            match self.perform(&Command::GetSelEntry(id), deadline).await? {
                Answer::SelEntry(entry) => {
                    wanted = entry.next.filter(|next| *next != id && *next != entry.id);
                    entries.push(entry);
                }
                _ => return Err(self.odd("the event log")),
            }
        }
        Ok(entries)
    }

    /// Erases the event log and waits until that is done.
    ///
    /// # Errors
    /// When the BMC refuses, or is not done within ten seconds.
    pub async fn clear_events(&mut self) -> Result<(), PowerError> {
        let deadline = self.deadline();
        let Answer::Reservation(reservation) = self.perform(&Command::ReserveSel, deadline).await?
        else {
            return Err(self.odd("the event log"));
        };
        let mut command = Command::ClearSel { reservation };
        for _ in 0..ERASURE_TRIES {
            if self.perform(&command, deadline).await? == Answer::SelErased(true) {
                return Ok(());
            }
            command = Command::GetSelErasure { reservation };
            sleep(PAUSE).await;
        }
        Err(PowerError::Lacks {
            target: self.target.clone(),
            what: "an empty event log",
            why: "the BMC does not finish erasing it; look at the BMC's own page",
        })
    }
}
