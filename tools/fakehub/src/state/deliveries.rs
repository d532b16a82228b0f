//! The delivery log of every App, newest last.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::State;

/// GitHub keeps deliveries for three days.
const KEPT_MS: i64 = 3 * 24 * 3_600_000;

/// What happens to deliveries from now on; set by tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum DeliveryMode {
    /// Sent once.
    #[default]
    Deliver,
    /// Sent twice with the same GUID.
    Duplicate,
    /// Sent once, late.
    Late {
        /// How late.
        delay_ms: u32,
    },
    /// Sent once, and every second one late, from the first on: what comes after
    /// overtakes it.
    Reordered {
        /// How late.
        delay_ms: u32,
    },
    /// Not sent; the log shows a failed connection.
    Unreachable,
    /// Not sent and not in the log, as when GitHub loses an event.
    Lost,
}

/// How an attempt ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// GitHub's text, `OK` for success.
    pub status: String,
    /// HTTP status, 0 without an answer.
    pub status_code: u16,
    /// Duration in milliseconds.
    pub duration_ms: u64,
    /// Headers of the answer.
    pub response_headers: BTreeMap<String, String>,
    /// Start of the answer's body.
    pub response_body: Option<String>,
}

/// One attempt of one delivery.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Number of the attempt.
    pub id: u64,
    /// The same for every attempt.
    pub guid: String,
    /// App that it was for.
    pub app_id: u64,
    /// Where it went.
    pub url: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// `action` of the payload.
    pub action: Option<String>,
    /// Installation that it was about.
    pub installation_id: Option<u64>,
    /// Repository that it was about.
    pub repository_id: Option<u64>,
    /// When the attempt ended.
    pub delivered_ms: i64,
    /// Whether somebody asked for it again.
    pub redelivery: bool,
    /// Headers as sent.
    pub request_headers: BTreeMap<String, String>,
    /// Body as sent.
    pub body: String,
    /// How it ended.
    pub outcome: Outcome,
}

impl State {
    /// Changes what happens to deliveries from now on.
    pub fn deliver_as(&mut self, mode: DeliveryMode) {
        self.delivery_mode = mode;
        self.overtakes = false;
    }

    /// How long the next delivery waits before it is sent, in milliseconds.
    pub fn delivery_wait_ms(&mut self) -> u32 {
        match self.delivery_mode {
            DeliveryMode::Late { delay_ms } => delay_ms,
            DeliveryMode::Reordered { delay_ms } => {
                self.overtakes = !self.overtakes;
                if self.overtakes { delay_ms } else { 0 }
            }
            DeliveryMode::Deliver
            | DeliveryMode::Duplicate
            | DeliveryMode::Unreachable
            | DeliveryMode::Lost => 0,
        }
    }

    /// Notes an attempt and forgets old ones, so that at most `most` stay.
    pub fn log_delivery(&mut self, mut delivery: Delivery, most: usize, now_ms: i64) -> u64 {
        delivery.id = self.fresh_id();
        let id = delivery.id;
        while self.deliveries.len() >= most.max(1)
            || self
                .deliveries
                .front()
                .is_some_and(|it| now_ms - it.delivered_ms > KEPT_MS)
        {
            self.deliveries.pop_front();
        }
        self.deliveries.push_back(delivery);
        id
    }

    /// One attempt of an App's log.
    #[must_use]
    pub fn delivery(&self, app_id: u64, id: u64) -> Option<&Delivery> {
        // Their numbers ascend.
        let place = self.deliveries.binary_search_by_key(&id, |it| it.id);
        let found = self.deliveries.get(place.ok()?)?;
        (found.app_id == app_id).then_some(found)
    }
}
