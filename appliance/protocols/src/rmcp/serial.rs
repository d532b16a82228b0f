//! Serial-over-LAN as a machine without a clock or a socket (IPMI 15): what
//! comes from a sled's serial line, and what goes to it.
//!
//! Each packet has a number of four bits and is sent again until it is
//! acknowledged. Characters are handed over once, in order, however often
//! their packet comes. It never holds more than [`MOST_WAITING_BYTES`] of what
//! is to be sent, and what it was sent not at all.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// What may wait to be sent to the line.
pub const MOST_WAITING_BYTES: usize = 4096;
/// First wait for an acknowledgement; doubles with each try.
const WAIT_MS: u64 = 250;
/// How often a packet is sent.
const TRIES: u32 = 5;
/// Number, acknowledged number, accepted characters, status (IPMI table 15-2).
const HEADER_BYTES: usize = 4;
/// Numbers are 1 to 15; 0 is no number.
const NUMBERS: u8 = 15;

/// IPMI table 15-2, byte 4.
const NACK: u8 = 0x40;
const UNAVAILABLE: u8 = 0x20;
const DEACTIVATED: u8 = 0x10;
const OVERRUN: u8 = 0x08;
const BREAK: u8 = 0x04;

/// Why a serial line cannot go on, or what was wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// A payload is shorter than its header.
    #[error("the serial payload is shorter than its header")]
    Truncated,
    /// The BMC does not acknowledge what is sent.
    #[error("the BMC did not take the characters in {tries} tries")]
    NoAnswer {
        /// How often they were sent.
        tries: u32,
    },
}

/// What a payload brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Characters of the line that did not come before.
    pub data: Vec<u8>,
    /// The BMC ends, or has ended, Serial-over-LAN.
    pub deactivated: bool,
    /// The BMC lost characters of the line.
    pub overrun: bool,
    /// The line was held in break.
    pub line_break: bool,
    /// The line takes no characters now.
    pub unavailable: bool,
}

/// One serial line.
#[derive(Debug)]
pub struct SerialLine {
    most_payload_bytes: usize,
    /// Number of the newest packet of the BMC, and how much of it was handed
    /// over: when it comes again it may be longer (IPMI 15.9).
    newest: Option<(u8, usize)>,
    /// The acknowledgement that is due.
    owed: Option<Acknowledgement>,
    waiting: VecDeque<u8>,
    number: u8,
    flight: Option<Flight>,
}

#[derive(Clone, Copy, Debug)]
struct Acknowledgement {
    number: u8,
    accepted: u8,
}

/// The packet of ours that is not acknowledged.
#[derive(Debug)]
struct Flight {
    data: Vec<u8>,
    sent: u32,
    due_ms: u64,
}

impl SerialLine {
    /// A line on which payloads to the BMC have `most_payload_bytes` at most,
    /// header included, as [`super::SerialChannel::inbound_bytes`] says.
    #[must_use]
    pub fn new(most_payload_bytes: u16) -> Self {
        // The count of accepted characters has one byte.
        let most = usize::from(most_payload_bytes).clamp(HEADER_BYTES + 1, HEADER_BYTES + 255);
        Self {
            most_payload_bytes: most,
            newest: None,
            owed: None,
            waiting: VecDeque::new(),
            number: 0,
            flight: None,
        }
    }

    /// Queues characters for the line; says how many there was room for.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let room = MOST_WAITING_BYTES.saturating_sub(self.waiting.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.waiting.extend(taken);
        taken.len()
    }

    /// Takes in a payload of the BMC.
    ///
    /// # Errors
    /// When it is no serial payload; the line goes on.
    pub fn handle(&mut self, payload: &[u8]) -> Result<Received, SerialError> {
        let (&[number, acknowledged, accepted, status], data) = payload
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(SerialError::Truncated)?;
        let mut received = Received {
            deactivated: status & DEACTIVATED != 0,
            overrun: status & OVERRUN != 0,
            line_break: status & BREAK != 0,
            unavailable: status & UNAVAILABLE != 0,
            ..Received::default()
        };
        if acknowledged & 0x0f == self.number {
            self.acknowledged(usize::from(accepted), status & NACK != 0);
        }
        let number = number & 0x0f;
        if number == 0 {
            return Ok(received);
        }
        let known = match self.newest {
            Some((newest, length)) if newest == number => length,
            _ => 0,
        };
        received.data = data.get(known..).unwrap_or_default().to_vec();
        self.newest = Some((number, data.len().max(known)));
        self.owed = Some(Acknowledgement {
            number,
            accepted: u8::try_from(data.len()).unwrap_or(u8::MAX),
        });
        Ok(received)
    }

    /// The BMC took `accepted` characters of the packet in flight; what it did
    /// not take goes out again under the next number.
    fn acknowledged(&mut self, accepted: usize, refused: bool) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        if refused && accepted == 0 {
            // Not now: the same packet again when its time comes.
            self.flight = Some(flight);
            return;
        }
        for byte in flight.data.iter().skip(accepted).rev() {
            self.waiting.push_front(*byte);
        }
    }

    /// When [`SerialLine::poll_transmit`] has something to do again.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        self.flight.as_ref().map(|flight| flight.due_ms)
    }

    /// The payload to send at `now_ms`, if any. Call it until it returns
    /// `None` after each other call and at each deadline.
    ///
    /// # Errors
    /// When the BMC does not acknowledge; the line is then of no use.
    pub fn poll_transmit(&mut self, now_ms: u64) -> Result<Option<Vec<u8>>, SerialError> {
        if self.flight.is_none() && !self.waiting.is_empty() {
            let most = self.most_payload_bytes - HEADER_BYTES;
            let data: Vec<u8> = self.waiting.drain(..most.min(self.waiting.len())).collect();
            self.number = self.number % NUMBERS + 1;
            self.flight = Some(Flight {
                data,
                sent: 0,
                due_ms: now_ms,
            });
        }
        if let Some(flight) = &mut self.flight
            && now_ms >= flight.due_ms
        {
            if flight.sent >= TRIES {
                return Err(SerialError::NoAnswer { tries: flight.sent });
            }
            flight.due_ms = now_ms.saturating_add(WAIT_MS << flight.sent);
            flight.sent += 1;
            let number = self.number;
            let payload = packet(number, self.owed.take(), &flight.data);
            return Ok(Some(payload));
        }
        Ok(self.owed.take().map(|owed| packet(0, Some(owed), &[])))
    }
}

fn packet(number: u8, owed: Option<Acknowledgement>, data: &[u8]) -> Vec<u8> {
    let (acknowledged, accepted) = owed.map_or((0, 0), |owed| (owed.number, owed.accepted));
    let mut payload = Vec::with_capacity(HEADER_BYTES + data.len());
    payload.extend_from_slice(&[number, acknowledged, accepted, 0]);
    payload.extend_from_slice(data);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &mut SerialLine, payload: &[u8]) -> Vec<u8> {
        line.handle(payload).unwrap().data
    }

    #[test]
    fn characters_are_handed_over_once() {
        let mut line = SerialLine::new(64);
        assert_eq!(text(&mut line, b"\x01\0\0\0boot"), b"boot");
        assert_eq!(
            line.poll_transmit(0),
            Ok(Some([0, 1, 4, 0].to_vec())),
            "acknowledged"
        );
        assert_eq!(line.poll_transmit(0), Ok(None));
        // The acknowledgement got lost; the packet comes again, longer.
        assert_eq!(text(&mut line, b"\x01\0\0\0booting"), b"ing");
        assert_eq!(line.poll_transmit(1), Ok(Some([0, 1, 7, 0].to_vec())));
        assert_eq!(text(&mut line, b"\x01\0\0\0booting"), b"");
        // Shorter again: nothing new, and nothing of the old a second time.
        assert_eq!(text(&mut line, b"\x01\0\0\0boo"), b"");
        assert_eq!(text(&mut line, b"\x01\0\0\0booting"), b"");
        assert_eq!(text(&mut line, b"\x02\0\0\0 now"), b" now");
        assert_eq!(text(&mut line, b"\x00\0\0\0"), b"");
        assert_eq!(line.handle(b"\x01\0\0"), Err(SerialError::Truncated));
    }

    #[test]
    fn status_is_told() {
        let mut line = SerialLine::new(64);
        let received = line.handle(&[0, 0, 0, 0x3c]).unwrap();
        let all = (
            received.deactivated,
            received.overrun,
            received.line_break,
            received.unavailable,
        );
        assert_eq!(all, (true, true, true, true));
    }

    #[test]
    fn what_is_sent_is_sent_until_it_is_taken() {
        let mut line = SerialLine::new(8);
        assert_eq!(line.write(b"root\n"), 5);
        assert_eq!(line.poll_transmit(0), Ok(Some(b"\x01\0\0\0root".to_vec())));
        assert_eq!(line.deadline_ms(), Some(250));
        assert_eq!(line.poll_transmit(249), Ok(None));
        assert_eq!(
            line.poll_transmit(250),
            Ok(Some(b"\x01\0\0\0root".to_vec()))
        );
        // An acknowledgement of something else changes nothing.
        text(&mut line, &[0, 2, 4, 0]);
        assert_eq!(line.poll_transmit(260), Ok(None));
        // Two characters were taken, the rest goes under a new number.
        text(&mut line, &[0, 1, 2, 0]);
        assert_eq!(
            line.poll_transmit(260),
            Ok(Some(b"\x02\0\0\0ot\n".to_vec()))
        );
        // Not now.
        text(&mut line, &[0, 2, 0, 0x40]);
        assert_eq!(line.poll_transmit(261), Ok(None));
        let again = line.poll_transmit(510);
        assert_eq!(again, Ok(Some(b"\x02\0\0\0ot\n".to_vec())));
        text(&mut line, &[0, 2, 3, 0]);
        assert_eq!(line.deadline_ms(), None);
        assert_eq!(line.poll_transmit(600), Ok(None));
    }

    #[test]
    fn numbers_go_from_1_to_15_and_around() {
        let mut line = SerialLine::new(5);
        line.write(&[b'x'; 16]);
        for expect in (1..=15).chain([1]) {
            let payload = line.poll_transmit(0).unwrap().unwrap();
            assert_eq!(payload, [expect, 0, 0, 0, b'x']);
            line.handle(&[0, expect, 1, 0]).unwrap();
        }
        assert_eq!(line.poll_transmit(0), Ok(None));
    }

    #[test]
    fn silence_and_room_are_bounded() {
        let mut line = SerialLine::new(64);
        assert_eq!(line.write(&[0; MOST_WAITING_BYTES + 1]), MOST_WAITING_BYTES);
        assert_eq!(line.write(b"x"), 0);
        let mut now_ms = 0;
        for _ in 0..TRIES {
            assert!(line.poll_transmit(now_ms).unwrap().is_some());
            now_ms = line.deadline_ms().unwrap();
        }
        let error = SerialError::NoAnswer { tries: TRIES };
        assert_eq!(line.poll_transmit(now_ms), Err(error));
    }
}
