//! One read transfer, seen from the server. It never does IO: datagrams in,
//! datagrams out, and a deadline that the caller keeps.
//!
//! | state | event | next |
//! | --- | --- | --- |
//! | negotiating (OACK sent) | ACK 0 | sending |
//! | sending | ACK of a new block | window moves, next blocks go out |
//! | sending | ACK of the last block | done |
//! | sending | ACK of the block before the window | ignored; with a window above 1 the window is repeated once |
//! | any | timeout | last OACK or window is repeated, at most 6 times in a row |
//! | any | ERROR | failed: the client gave up, for example after a size probe |
//! | any | anything else | ignored |

use alloc::vec::Vec;

use super::packet::Packet;
use super::request::Negotiated;

/// Most repetitions in a row without progress.
pub const MAX_RETRIES: u8 = 6;

/// How a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Waits for the client until the deadline (milliseconds, caller's clock).
    Waiting {
        /// When [`Transfer::timeout`] is due.
        deadline_ms: u64,
    },
    /// The client has the whole file.
    Done,
    /// Over without success.
    Failed(FailReason),
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// The client sent ERROR. UEFI firmware does so after it learned the size
    /// (RFC 2349 tsize), and then asks again.
    Aborted {
        /// Its error code.
        code: u16,
    },
    /// No progress after all repetitions.
    TimedOut,
}

/// A transfer of `content`.
#[derive(Debug)]
pub struct Transfer<C> {
    content: C,
    negotiated: Negotiated,
    negotiating: bool,
    /// Blocks that the client has, counted without rollover.
    acknowledged: u64,
    /// Blocks that went out.
    sent: u64,
    /// The window start that was already repeated because of a duplicate ACK.
    repeated_at: Option<u64>,
    retries: u8,
    status: Status,
}

impl<C: AsRef<[u8]>> Transfer<C> {
    /// Starts a transfer and gives the first datagrams.
    #[must_use]
    pub fn start(content: C, negotiated: Negotiated, now_ms: u64) -> (Self, Vec<Vec<u8>>) {
        let mut transfer = Self {
            negotiating: !negotiated.answer(0).is_empty(),
            content,
            negotiated,
            acknowledged: 0,
            sent: 0,
            repeated_at: None,
            retries: 0,
            status: Status::Done,
        };
        transfer.wait(now_ms);
        let datagrams = transfer.transmit();
        (transfer, datagrams)
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Octets that the client has for certain.
    #[must_use]
    pub fn acknowledged_bytes(&self) -> u64 {
        let bytes = self
            .acknowledged
            .saturating_mul(u64::from(self.negotiated.block_bytes));
        bytes.min(self.file_bytes())
    }

    /// Takes a datagram of the client; gives what to send.
    pub fn receive(&mut self, datagram: &[u8], now_ms: u64) -> Vec<Vec<u8>> {
        if !matches!(self.status, Status::Waiting { .. }) {
            return Vec::new();
        }
        match Packet::decode(datagram) {
            Ok(Packet::Ack { block }) => self.acknowledge(block, now_ms),
            Ok(Packet::Error { code, .. }) => {
                self.status = Status::Failed(FailReason::Aborted { code });
                Vec::new()
            }
            Ok(Packet::Request { .. } | Packet::Data { .. } | Packet::OptionAck { .. })
            | Err(_) => Vec::new(),
        }
    }

    /// The deadline passed; gives what to repeat. Early calls do nothing.
    pub fn timeout(&mut self, now_ms: u64) -> Vec<Vec<u8>> {
        match self.status {
            Status::Waiting { deadline_ms } if now_ms >= deadline_ms => {}
            Status::Waiting { .. } | Status::Done | Status::Failed(_) => return Vec::new(),
        }
        if self.retries >= MAX_RETRIES {
            self.status = Status::Failed(FailReason::TimedOut);
            return Vec::new();
        }
        self.retries += 1;
        self.wait(now_ms);
        self.sent = self.acknowledged;
        self.transmit()
    }

    fn acknowledge(&mut self, block: u16, now_ms: u64) -> Vec<Vec<u8>> {
        // The window is far below 65536, so the distance to the last
        // acknowledged block is unambiguous in spite of the rollover.
        let advance = u64::from(block.wrapping_sub(low_word(self.acknowledged)));
        if self.negotiating {
            if advance != 0 {
                return Vec::new();
            }
            self.negotiating = false;
        } else if advance == 0 {
            // A duplicate. With one block in flight it must not cause a DATA
            // (RFC 1123 section 4.2.3.1), or every later block goes out twice.
            // In a window it tells of a gap (RFC 7440 section 4): repeat, once.
            let gap =
                self.negotiated.window_blocks > 1 && self.repeated_at != Some(self.acknowledged);
            if !gap {
                return Vec::new();
            }
            self.repeated_at = Some(self.acknowledged);
            self.sent = self.acknowledged;
        } else if advance <= self.sent - self.acknowledged {
            self.acknowledged += advance;
            // Blocks after an acknowledgement inside the window were lost
            // (RFC 7440 section 4): the next window starts right after it.
            self.sent = self.acknowledged;
        } else {
            return Vec::new();
        }
        self.retries = 0;
        if self.acknowledged == self.total_blocks() {
            self.status = Status::Done;
            return Vec::new();
        }
        self.wait(now_ms);
        self.transmit()
    }

    /// The OACK, or all blocks of the window that did not go out yet.
    fn transmit(&mut self) -> Vec<Vec<u8>> {
        if self.negotiating {
            let answer = self.negotiated.answer(self.file_bytes());
            let options = answer
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            return [Packet::OptionAck { options }.encode()].into();
        }
        let window_end = self.acknowledged + u64::from(self.negotiated.window_blocks);
        let end = window_end.min(self.total_blocks());
        let datagrams = (self.sent + 1..=end)
            .map(|block| self.data(block))
            .collect();
        self.sent = end;
        datagrams
    }

    fn data(&self, block: u64) -> Vec<u8> {
        let content = self.content.as_ref();
        let size = usize::from(self.negotiated.block_bytes);
        let start = usize::try_from(block - 1)
            .unwrap_or(usize::MAX)
            .saturating_mul(size)
            .min(content.len());
        let end = start.saturating_add(size).min(content.len());
        let data = content.get(start..end).unwrap_or_default();
        Packet::Data {
            block: low_word(block),
            data,
        }
        .encode()
    }

    fn file_bytes(&self) -> u64 {
        self.content.as_ref().len() as u64
    }

    /// RFC 1350: a block shorter than the others ends the file, an empty one
    /// where the length is a multiple of the block size.
    fn total_blocks(&self) -> u64 {
        self.file_bytes() / u64::from(self.negotiated.block_bytes) + 1
    }

    fn wait(&mut self, now_ms: u64) {
        let deadline_ms = now_ms.saturating_add(self.negotiated.timeout_ms);
        self.status = Status::Waiting { deadline_ms };
    }
}

/// Block numbers roll over to 0, as all clients expect that roll over at all.
fn low_word(block: u64) -> u16 {
    (block & 0xffff) as u16
}
