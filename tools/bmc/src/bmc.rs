//! The BMC as a machine without clock or socket: datagrams and milliseconds
//! in, datagrams out.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use crate::chassis::{Chassis, Manner};
use crate::crypto::{Keys, Suite, random};
use crate::wire::{self, Datagram, Request};

mod commands;
mod serial;

use serial::Serial;

/// GUID of every BMC of this kind.
pub const GUID: [u8; 16] = *b"musher-bmc-tests";

/// Sessions that it has room for.
const MOST_SESSIONS: usize = 64;
/// IPMI 6.12.15.
const SESSION_MS: u64 = 60_000;

/// A datagram and where it goes.
pub type Outgoing = (SocketAddr, Vec<u8>);

/// A BMC.
pub struct Bmc {
    /// What it stands in front of.
    pub chassis: Chassis,
    sessions: HashMap<u32, Session>,
    flip_at_ms: Option<u64>,
    dead: bool,
    seen_set_ups: HashSet<(SocketAddr, u8)>,
    repeated: Option<Outgoing>,
}

struct Session {
    peer: SocketAddr,
    console: [u8; 4],
    suite: Suite,
    opened_with: u8,
    used_at_ms: u64,
    state: State,
}

enum State {
    Opened,
    Challenged(Challenge),
    Active(Box<Channel>),
}

struct Challenge {
    console_nonce: [u8; 16],
    nonce: [u8; 16],
    /// Role, length of the name, name.
    who: Vec<u8>,
    password: [u8; 20],
    most_privilege: u8,
}

struct Channel {
    keys: Keys,
    sequence: u32,
    seen: HashSet<u32>,
    most_privilege: u8,
    privilege: u8,
    serial: Option<Serial>,
}

impl Bmc {
    /// A BMC without sessions.
    #[must_use]
    pub fn new(chassis: Chassis) -> Self {
        Self {
            chassis,
            sessions: HashMap::new(),
            flip_at_ms: None,
            dead: false,
            seen_set_ups: HashSet::new(),
            repeated: None,
        }
    }

    /// Forgets its sessions, as after a restart; a dead BMC lives again.
    pub fn restart(&mut self) {
        self.sessions.clear();
        self.seen_set_ups.clear();
        self.dead = false;
        self.repeated = None;
    }

    /// How many sessions are open or being opened.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// What it answers to a datagram.
    pub fn handle(&mut self, now_ms: u64, peer: SocketAddr, datagram: &[u8]) -> Vec<Outgoing> {
        self.sessions
            .retain(|_, session| now_ms < session.used_at_ms + SESSION_MS);
        if self.dead {
            return Vec::new();
        }
        let Some(answer) = self.answer(now_ms, peer, datagram) else {
            return self.poll(now_ms);
        };
        let mut out = vec![(peer, answer)];
        if self.chassis.quirks.repeats_answers {
            let again = self.repeated.replace((peer, out[0].1.clone()));
            out.extend(again);
        }
        out.extend(self.poll(now_ms));
        out
    }

    /// What it does by itself at this time.
    pub fn poll(&mut self, now_ms: u64) -> Vec<Outgoing> {
        if self.flip_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.flip_at_ms = None;
            self.chassis.on = !self.chassis.on;
        }
        let mut out = Vec::new();
        if self.dead {
            return out;
        }
        for session in self.sessions.values_mut() {
            let (peer, console) = (session.peer, u32::from_le_bytes(session.console));
            if let State::Active(channel) = &mut session.state
                && let Some(serial) = &mut channel.serial
                && let Some(payload) = serial.poll(now_ms, &mut self.chassis.serial_output)
            {
                let datagram = channel.seal(wire::SERIAL, console, &payload);
                out.push((peer, datagram));
            }
        }
        out
    }

    /// When [`Bmc::poll`] has something to do, if it is known.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        let serials = self.sessions.values().filter_map(|session| {
            let State::Active(channel) = &session.state else {
                return None;
            };
            channel.serial.as_ref().and_then(Serial::due_ms)
        });
        serials.chain(self.flip_at_ms).min()
    }

    fn answer(&mut self, now_ms: u64, peer: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        match wire::read(datagram)? {
            Datagram::Ping(tag) => Some(wire::pong(tag)),
            Datagram::Plain(message) => {
                let request = Request::read(message)?;
                let data = commands::outside(&request);
                Some(wire::plain(&request.response(&data)))
            }
            Datagram::Outside { kind, payload } => {
                let new = self.seen_set_ups.insert((peer, kind));
                if self.chassis.quirks.hates_repeated_ports && !new {
                    return None;
                }
                match kind {
                    wire::OPEN_REQUEST => self.open(now_ms, peer, payload),
                    wire::RAKP1 => self.challenge(payload),
                    wire::RAKP3 => self.prove(payload),
                    _ => None,
                }
            }
            Datagram::Inside {
                kind,
                session,
                sequence,
                payload,
                signed,
                code,
            } => {
                let session_id = session;
                let session = self.sessions.get_mut(&session)?;
                let console = u32::from_le_bytes(session.console);
                let State::Active(channel) = &mut session.state else {
                    return None;
                };
                if channel.keys.packet_code(signed) != code || !channel.seen.insert(sequence) {
                    return None;
                }
                session.used_at_ms = now_ms;
                let plain = channel.keys.open(payload)?;
                if kind == wire::SERIAL {
                    let serial = channel.serial.as_mut()?;
                    let answer = serial.handle(&plain, &mut self.chassis.serial_input)?;
                    return Some(channel.seal(wire::SERIAL, console, &answer));
                }
                let request = Request::read(&plain).filter(|_| kind == wire::IPMI)?;
                self.command(now_ms, session_id, &request)
            }
        }
    }

    /// IPMI 13.17, 13.18.
    fn open(&mut self, now_ms: u64, peer: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let (&[tag, privilege, _, _], rest) = payload.split_first_chunk::<4>()?;
        let (console, records) = rest.split_first_chunk::<4>()?;
        let algorithm = |index: usize| records.get(index * 8 + 4).map(|number| number & 0x3f);
        let algorithms = [algorithm(0)?, algorithm(1)?, algorithm(2)?];
        let refuse = |status| {
            let refusal = [&[tag, status, 0, 0], console.as_slice()].concat();
            Some(wire::outside(wire::OPEN_RESPONSE, &refusal))
        };
        let Some(suite) = Suite::by_algorithms(algorithms) else {
            return refuse(0x11);
        };
        if self.sessions.len() >= MOST_SESSIONS {
            return refuse(0x01);
        }
        let id = u32::from_le_bytes(random()) | 1;
        let session = Session {
            peer,
            console: *console,
            suite,
            opened_with: privilege,
            used_at_ms: now_ms,
            state: State::Opened,
        };
        self.sessions.insert(id, session);
        let granted = if privilege == 0 { 4 } else { privilege };
        let mut reply = [&[tag, 0, granted, 0], console.as_slice()].concat();
        reply.extend_from_slice(&id.to_le_bytes());
        for (kind, number) in (0u8..).zip(algorithms) {
            reply.extend_from_slice(&[kind, 0, 0, 8, number, 0, 0, 0]);
        }
        Some(wire::outside(wire::OPEN_RESPONSE, &reply))
    }

    /// IPMI 13.20, 13.21.
    fn challenge(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let (&[tag, _, _, _], rest) = payload.split_first_chunk::<4>()?;
        let (id_bytes, rest) = rest.split_first_chunk::<4>()?;
        let (console_nonce, rest) = rest.split_first_chunk::<16>()?;
        let (&[role, _, _, length], name) = rest.split_first_chunk::<4>()?;
        let name = name.get(..usize::from(length))?;
        let id = u32::from_le_bytes(*id_bytes);
        let session = self.sessions.get_mut(&id)?;
        let quirks = self.chassis.quirks;
        let wanted = role & 0x0f;
        // Bit 4: by name only, or by name and the very privilege.
        let user = self.chassis.users.iter().find(|user| {
            let privilege =
                role & 0x10 != 0 || quirks.hashes_open_session || user.privilege == wanted;
            user.enabled && user.name.as_bytes() == name && privilege
        });
        let status = match user {
            None => 0x0d,
            Some(user) if wanted > user.privilege => 0x0a,
            Some(_) => 0x00,
        };
        let mut reply = [&[tag, status, 0, 0], session.console.as_slice()].concat();
        let Some(user) = user.filter(|_| status == 0) else {
            self.sessions.remove(&id);
            return Some(wire::outside(wire::RAKP2, &reply));
        };
        let hashed = if quirks.hashes_open_session {
            session.opened_with
        } else {
            role
        };
        let who = [&[hashed, length], name].concat();
        let nonce: [u8; 16] = random();
        let parts: [&[u8]; 6] = [
            &session.console,
            id_bytes,
            console_nonce,
            &nonce,
            &GUID,
            &who,
        ];
        reply.extend_from_slice(&nonce);
        reply.extend_from_slice(&GUID);
        reply.extend_from_slice(&session.suite.code(&user.password, &parts));
        if quirks.long_codes {
            reply.extend_from_slice(&[0xee; 12]);
        }
        session.state = State::Challenged(Challenge {
            console_nonce: *console_nonce,
            nonce,
            who,
            password: user.password,
            most_privilege: user.privilege,
        });
        Some(wire::outside(wire::RAKP2, &reply))
    }

    /// IPMI 13.22, 13.23.
    fn prove(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let (&[tag, status, _, _], rest) = payload.split_first_chunk::<4>()?;
        let (id_bytes, code) = rest.split_first_chunk::<4>()?;
        let id = u32::from_le_bytes(*id_bytes);
        let session = self.sessions.get_mut(&id)?;
        let suite = session.suite;
        let State::Challenged(challenge) = &session.state else {
            return None;
        };
        let parts: [&[u8]; 3] = [&challenge.nonce, &session.console, &challenge.who];
        let right = suite.code(&challenge.password, &parts) == code;
        let status_out = if right { 0 } else { 0x0f };
        let mut reply = [&[tag, status_out, 0, 0], session.console.as_slice()].concat();
        if status != 0 || !right {
            // The console gave up, or does not know the password.
            self.sessions.remove(&id);
            return (status == 0).then(|| wire::outside(wire::RAKP4, &reply));
        }
        let parts: [&[u8]; 3] = [&challenge.console_nonce, &challenge.nonce, &challenge.who];
        let session_integrity = suite.code(&challenge.password, &parts);
        let parts: [&[u8]; 3] = [&challenge.console_nonce, id_bytes, &GUID];
        let mut check = suite.code(&session_integrity, &parts);
        check.truncate(suite.short_bytes());
        reply.extend_from_slice(&check);
        if self.chassis.quirks.long_codes {
            reply.extend_from_slice(&[0xee; 12]);
        }
        session.state = State::Active(Box::new(Channel {
            keys: Keys::new(suite, &session_integrity),
            sequence: 0,
            seen: HashSet::new(),
            most_privilege: challenge.most_privilege,
            // IPMI 6.8: a session begins as a user's.
            privilege: 2,
            serial: None,
        }));
        Some(wire::outside(wire::RAKP4, &reply))
    }

    fn command(&mut self, now_ms: u64, id: u32, request: &Request<'_>) -> Option<Vec<u8>> {
        self.chassis.commands += 1;
        if let Manner::DiesAfter(left) = &mut self.chassis.manner {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => {
                    self.dead = true;
                    return None;
                }
            }
        }
        let data = if self.chassis.quirks.busy > 0 {
            self.chassis.quirks.busy -= 1;
            vec![0xc0]
        } else {
            self.carry_out(now_ms, id, request)
        };
        let closes = (request.net_fn, request.command) == (0x06, 0x3c);
        let session = self.sessions.get_mut(&id)?;
        let console = u32::from_le_bytes(session.console);
        let State::Active(channel) = &mut session.state else {
            return None;
        };
        let answer = channel.seal(wire::IPMI, console, &request.response(&data));
        if closes {
            self.sessions.remove(&id);
        }
        Some(answer)
    }
}

impl Channel {
    fn seal(&mut self, kind: u8, console: u32, payload: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        wire::inside(kind, &self.keys, console, self.sequence, payload)
    }
}
