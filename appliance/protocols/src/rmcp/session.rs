//! The session machine: probe, open, prove, talk, close.
//!
//! ```text
//! Probing ─► Opening ─► Challenging ─► Proving ─► Active ─► Closed
//!   1.5        open       RAKP 1,2      RAKP 3,4   commands
//! ```
//!
//! Each set-up packet is sent once. Some BMCs are confused by a challenge
//! that comes again from the same port (FreeIPMI's notes), so an unanswered
//! set-up ends the session, and its owner starts a new one from a new port.
//! Commands inside of a session are sent again, unless that could carry them
//! out twice.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::command::{Answer, AnswerError, Command};
use super::frame::{self, Packet, PayloadType, Trailer};
use super::message::{self, Message};
use super::suite::{CipherSuite, Code, Keys};
use super::window::Window;

mod config;
mod error;
mod fuzz;
mod setup;

pub use config::{Config, Entropy, NameLookup, Timing};
pub use error::{DropReason, SessionError, Stage};
pub use fuzz::fuzz_session;

/// How many datagrams in a row may be dropped before the peer is called
/// garbage. Late and doubled answers are a handful at worst.
const MAX_DROPPED: u32 = 32;

/// IPMI 22.13: Get Channel Authentication Capabilities.
const PROBE: (u8, u8) = (0x06, 0x38);
/// Ask for IPMI 2.0 data (bit 7) about the channel in use (0xe).
const PROBE_CHANNEL: u8 = 0x8e;

/// What a datagram brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing: it was not for us, came twice, or was malformed.
    Ignored,
    /// Set-up went one stage on; poll for the next datagram.
    Advanced,
    /// The session is open and has its privilege level.
    Active,
    /// The command in flight was answered.
    Answered(Result<Answer, AnswerError>),
    /// A Serial-over-LAN payload, for [`super::SerialLine`].
    Serial(Vec<u8>),
}

/// One session with one BMC. See the module's text for its life.
pub struct Session {
    config: Config,
    entropy: Entropy,
    state: State,
    pending: Option<Pending>,
    /// Sent once, unanswered, after the session has failed.
    farewell: Option<Vec<u8>>,
    message_sequence: u8,
    dropped: u32,
    last_drop: Option<DropReason>,
}

enum State {
    Probing,
    Opening,
    Challenging {
        bmc_session: u32,
    },
    Proving {
        bmc_session: u32,
        keys: Keys,
        check: Code,
    },
    Active(Channel),
    Closed,
}

/// An open session's two directions.
struct Channel {
    bmc_session: u32,
    keys: Keys,
    next_sequence: u32,
    window: Window,
    /// The privilege level is not yet set.
    settling: bool,
    /// Serial-over-LAN was activated.
    serial: bool,
}

/// The one thing that waits for an answer.
struct Pending {
    what: Outgoing,
    sent: u32,
    tries: u32,
    wait_ms: u64,
    due_ms: u64,
}

enum Outgoing {
    SetUp(Vec<u8>),
    Command {
        command: Command,
        sequence: u8,
        sealed: Vec<u8>,
    },
}

impl Session {
    /// A session that is about to probe its BMC; nothing is sent yet.
    #[must_use]
    pub fn new(config: Config, entropy: Entropy) -> Self {
        let data = [PROBE_CHANNEL, config.privilege.number()];
        let probe = message::request(PROBE.0, 0, PROBE.1, &data);
        let mut session = Self {
            config,
            entropy,
            state: State::Probing,
            pending: None,
            farewell: None,
            message_sequence: 0,
            dropped: 0,
            last_drop: None,
        };
        session.send_set_up(frame::unauthenticated(&probe));
        session
    }

    /// Whether commands may be given.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(&self.state, State::Active(channel) if !channel.settling)
    }

    /// Where the session stands, for error messages.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match &self.state {
            State::Probing => Stage::Probe,
            State::Opening => Stage::OpenSession,
            State::Challenging { .. } => Stage::Challenge,
            State::Proving { .. } => Stage::Proof,
            State::Active(channel) if channel.settling => Stage::Privilege,
            State::Active(_) => Stage::Command,
            State::Closed => Stage::Closed,
        }
    }

    /// When [`Session::poll_transmit`] has something to do again, in the
    /// owner's milliseconds; `None` when it waits for a command.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        self.pending.as_ref().map(|pending| pending.due_ms)
    }

    /// The datagram to send at `now_ms`, if any. Call it until it returns
    /// `None` after each other call and at each deadline.
    ///
    /// # Errors
    /// When the last try has gone unanswered. The session is then closed.
    pub fn poll_transmit(&mut self, now_ms: u64) -> Result<Option<Vec<u8>>, SessionError> {
        if let Some(datagram) = self.farewell.take() {
            return Ok(Some(datagram));
        }
        let stage = self.stage();
        let Some(pending) = self.pending.as_mut() else {
            return Ok(None);
        };
        if now_ms < pending.due_ms {
            return Ok(None);
        }
        if pending.sent >= pending.tries {
            let tries = pending.sent;
            let error = match self.last_drop {
                Some(last) => SessionError::Garbage {
                    stage,
                    dropped: self.dropped,
                    last,
                },
                None => SessionError::NoAnswer { stage, tries },
            };
            return Err(self.fail(error));
        }
        // Exponential back-off: 1, 2, 4, … times the first wait.
        pending.due_ms = now_ms.saturating_add(pending.wait_ms << pending.sent.min(8));
        pending.sent += 1;
        Ok(match (&pending.what, &mut self.state) {
            (Outgoing::SetUp(datagram), _) => Some(datagram.clone()),
            (Outgoing::Command { sealed, .. }, State::Active(channel)) => {
                Some(channel.frame(self.config.suite, PayloadType::Ipmi, sealed))
            }
            (Outgoing::Command { .. }, _) => None,
        })
    }

    /// Starts `command`. `iv` must be unpredictable and new for each call.
    ///
    /// # Errors
    /// When the session is not active, or another command is in flight.
    pub fn request(&mut self, command: Command, iv: [u8; 16]) -> Result<(), SessionError> {
        if !self.is_active() {
            return Err(SessionError::NotActive);
        }
        if self.pending.is_some() {
            return Err(SessionError::Busy);
        }
        self.send_command(command, &iv);
        Ok(())
    }

    /// The datagram that carries a Serial-over-LAN payload. `iv` as for
    /// [`Session::request`].
    ///
    /// # Errors
    /// When Serial-over-LAN is not active.
    pub fn serial(&mut self, payload: &[u8], iv: [u8; 16]) -> Result<Vec<u8>, SessionError> {
        match &mut self.state {
            State::Active(channel) if channel.serial => {
                let sealed = channel.keys.seal(payload, &iv);
                let kind = PayloadType::SerialOverLan;
                Ok(channel.frame(self.config.suite, kind, &sealed))
            }
            _ => Err(SessionError::NotActive),
        }
    }

    /// Takes in a datagram from the BMC's address.
    ///
    /// # Errors
    /// When the session cannot go on; it is then closed, and one more
    /// [`Session::poll_transmit`] may hold a farewell to the BMC. Malformed
    /// and foreign datagrams are dropped until they are too many.
    pub fn handle(&mut self, datagram: &[u8]) -> Result<Progress, SessionError> {
        if matches!(self.state, State::Closed) {
            return Err(SessionError::NotActive);
        }
        let outcome = match frame::decode(datagram) {
            Ok(packet) => self.packet(&packet),
            Err(error) => Err(Failure::Drop(DropReason::Datagram(error))),
        };
        match outcome {
            Ok(Progress::Ignored) => Ok(Progress::Ignored),
            Ok(progress) => {
                self.dropped = 0;
                self.last_drop = None;
                Ok(progress)
            }
            Err(Failure::Drop(last)) => {
                self.dropped += 1;
                self.last_drop = Some(last);
                if self.dropped <= MAX_DROPPED {
                    return Ok(Progress::Ignored);
                }
                let (stage, dropped) = (self.stage(), self.dropped);
                Err(self.fail(SessionError::Garbage {
                    stage,
                    dropped,
                    last,
                }))
            }
            Err(Failure::End(error)) => Err(self.fail(error)),
        }
    }

    fn fail(&mut self, error: SessionError) -> SessionError {
        self.state = State::Closed;
        self.pending = None;
        error
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Result<Progress, Failure> {
        match (*packet, &self.state) {
            (Packet::Other, _) => Ok(Progress::Ignored),
            (Packet::Unauthenticated { message }, State::Probing) => self.probed(message),
            // A doubled answer to the probe.
            (Packet::Unauthenticated { .. }, _) => Ok(Progress::Ignored),
            (Packet::Plus { session, .. }, State::Active(_)) if session != 0 => {
                self.in_session(packet)
            }
            (
                Packet::Plus {
                    payload_type,
                    encrypted: false,
                    session: 0,
                    payload,
                    trailer: None,
                    ..
                },
                state,
            ) => {
                match (payload_type, state) {
                    (PayloadType::OpenSessionResponse, State::Opening) => self.opened(payload),
                    (PayloadType::Rakp(2), State::Challenging { .. }) => self.challenged(payload),
                    (PayloadType::Rakp(4), State::Proving { .. }) => self.proved(payload),
                    // Doubled answers to what was settled before.
                    (PayloadType::OpenSessionResponse | PayloadType::Rakp(2 | 4), _) => {
                        Ok(Progress::Ignored)
                    }
                    _ => Err(Failure::Drop(DropReason::Unexpected)),
                }
            }
            (Packet::Plus { .. }, _) => Err(Failure::Drop(DropReason::ForeignSession)),
        }
    }

    fn in_session(&mut self, packet: &Packet<'_>) -> Result<Progress, Failure> {
        let (
            State::Active(channel),
            Packet::Plus {
                session,
                sequence,
                payload,
                ..
            },
        ) = (&mut self.state, *packet)
        else {
            return Ok(Progress::Ignored);
        };
        if session != self.entropy.console_session.get() {
            return Err(Failure::Drop(DropReason::ForeignSession));
        }
        let Packet::Plus {
            payload_type: payload_type @ (PayloadType::Ipmi | PayloadType::SerialOverLan),
            encrypted: true,
            trailer: Some(Trailer { signed, code }),
            ..
        } = *packet
        else {
            return Err(Failure::Drop(DropReason::Unprotected));
        };
        let length = self.config.suite.integrity_code_bytes();
        if !channel.keys.packet_code(signed).matches(code, length) {
            return Err(Failure::Drop(DropReason::WrongCode));
        }
        if !channel.window.accept(sequence) {
            return Err(Failure::Drop(DropReason::Replayed));
        }
        let plain = channel
            .keys
            .open(payload)
            .ok_or(Failure::Drop(DropReason::Sealed))?;
        match payload_type {
            PayloadType::SerialOverLan if channel.serial => Ok(Progress::Serial(plain)),
            PayloadType::SerialOverLan => Err(Failure::Drop(DropReason::Unexpected)),
            _ => self.answered(&plain),
        }
    }

    /// An authentic IPMI message.
    fn answered(&mut self, plain: &[u8]) -> Result<Progress, Failure> {
        let message = decode_message(plain)?;
        let (State::Active(channel), Some(pending)) = (&mut self.state, &self.pending) else {
            // A late answer to a command that was sent twice.
            return Ok(Progress::Ignored);
        };
        let Outgoing::Command {
            command, sequence, ..
        } = &pending.what
        else {
            return Ok(Progress::Ignored);
        };
        if (message.net_fn, message.command) != command.number() || message.sequence != *sequence {
            return Ok(Progress::Ignored);
        }
        let answer = command.answer(&message);
        let done = answer.is_ok();
        match command {
            Command::ActivateSerial if done => channel.serial = true,
            Command::DeactivateSerial if done => channel.serial = false,
            _ => {}
        }
        let closes = done && *command == Command::CloseSession;
        let settles = core::mem::take(&mut channel.settling);
        self.pending = None;
        if closes {
            self.state = State::Closed;
        }
        match answer {
            Ok(_) if settles => Ok(Progress::Active),
            // Workaround `busy`.
            Err(AnswerError::Refused { code, .. }) if settles && code.is_transient() => {
                Err(Failure::End(SessionError::BmcBusy { code }))
            }
            Err(_) if settles => Err(Failure::End(SessionError::PrivilegeRefused {
                privilege: self.config.privilege,
            })),
            answer => Ok(Progress::Answered(answer)),
        }
    }

    /// One tag serves all stages: the payload types tell them apart.
    fn tag(&self) -> u8 {
        self.entropy.console_session.get().to_le_bytes()[0]
    }

    fn send_set_up(&mut self, datagram: Vec<u8>) {
        let wait_ms = self.config.timing.set_up_wait_ms;
        self.pend(Outgoing::SetUp(datagram), 1, wait_ms);
    }

    fn send_command(&mut self, command: Command, iv: &[u8; 16]) {
        let State::Active(channel) = &self.state else {
            return;
        };
        self.message_sequence = (self.message_sequence + 1) & message::SEQUENCE_MASK;
        let sequence = self.message_sequence;
        let (net_fn, number) = command.number();
        // A new password may be in both.
        let data = Zeroizing::new(command.data(channel.bmc_session));
        let plain = Zeroizing::new(message::request(net_fn, sequence, number, &data));
        let sealed = channel.keys.seal(&plain, iv);
        let Timing {
            command_wait_ms,
            command_tries,
            ..
        } = self.config.timing;
        let tries = if command.is_idempotent() {
            command_tries
        } else {
            1
        };
        self.pend(
            Outgoing::Command {
                command,
                sequence,
                sealed,
            },
            tries,
            command_wait_ms,
        );
    }

    fn pend(&mut self, what: Outgoing, tries: u32, wait_ms: u64) {
        self.pending = Some(Pending {
            what,
            sent: 0,
            tries,
            wait_ms,
            due_ms: 0,
        });
    }
}

impl Channel {
    /// `sealed` under a fresh sequence number. A command that is sent again
    /// keeps its sealed bytes: what an eavesdropper learns is that it came
    /// again, which its length tells anyway.
    fn frame(&mut self, suite: CipherSuite, kind: PayloadType, sealed: &[u8]) -> Vec<u8> {
        let sequence = self.next_sequence;
        // IPMI 6.12.9: numbers wrap past zero.
        self.next_sequence = sequence.checked_add(1).unwrap_or(1);
        let code_bytes = suite.integrity_code_bytes();
        let session = self.bmc_session;
        frame::inside(kind, &self.keys, code_bytes, session, sequence, sealed)
    }
}

/// Why a datagram brought nothing.
enum Failure {
    /// It is dropped; the session goes on.
    Drop(DropReason),
    /// The session ends.
    End(SessionError),
}

fn decode_message(bytes: &[u8]) -> Result<Message<'_>, Failure> {
    Message::decode(bytes).map_err(|error| Failure::Drop(DropReason::Message(error)))
}

#[cfg(test)]
mod tests;
