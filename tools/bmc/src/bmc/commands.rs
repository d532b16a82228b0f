//! The commands: network function, number and data in, completion code and
//! data out.

use super::serial::Serial;
use super::{Bmc, State};
use crate::chassis::Manner;
use crate::wire::Request;

/// IPMI table 5-2.
const OK: u8 = 0x00;
const INVALID_COMMAND: u8 = 0xc1;
const INVALID_LENGTH: u8 = 0xc7;
const NOT_PRESENT: u8 = 0xcb;
const INVALID_FIELD: u8 = 0xcc;
const PRIVILEGE: u8 = 0xd4;
const NOT_NOW: u8 = 0xd5;

/// Reservation of the event log: there is only ever this one.
const RESERVATION: [u8; 2] = [0x34, 0x12];

/// What is answered outside of a session.
pub(super) fn outside(request: &Request<'_>) -> Vec<u8> {
    match (request.net_fn, request.command, request.data) {
        (0x06, 0x38, [channel, _]) => {
            // Channel 1, IPMI 2.0 data if asked for, user names needed.
            let extended = channel & 0x80;
            vec![OK, 1, extended | 0x04, 0x04, 0x02, 0, 0, 0, 0]
        }
        (0x06, 0x54, [_, _, index]) => cipher_suites(*index),
        (0x06, 0x37, []) => [&[OK], super::GUID.as_slice()].concat(),
        _ => vec![INVALID_COMMAND],
    }
}

/// IPMI 22.15: records of 16 bytes at most at a time.
fn cipher_suites(index: u8) -> Vec<u8> {
    let records = [0xc0, 3, 0x01, 0x41, 0x81, 0xc0, 17, 0x03, 0x44, 0x81];
    let mut data = vec![OK, 1];
    if index & 0x3f == 0 {
        data.extend_from_slice(&records);
    }
    data
}

impl Bmc {
    pub(super) fn carry_out(&mut self, now_ms: u64, id: u32, request: &Request<'_>) -> Vec<u8> {
        let (net_fn, command, data) = (request.net_fn, request.command, request.data);
        let needs_administrator = matches!(
            (net_fn, command),
            (0x06, 0x43 | 0x45 | 0x47 | 0x60) | (0x0c, 0x01)
        );
        if needs_administrator && self.privilege(id) < 4 {
            return vec![PRIVILEGE];
        }
        match (net_fn, command) {
            (0x00, _) => self.chassis_command(now_ms, command, data),
            (0x06, 0x3b) => self.set_privilege(id, data),
            (0x06, 0x48 | 0x49) => self.payload(id, command, data),
            (0x06, _) => self.application(command, data),
            (0x0a, _) => self.storage(command, data),
            (0x0c, 0x02) => self.lan(data),
            (0x2c, 0x02) if data.first() == Some(&0xdc) => match self.chassis.watts {
                Some(watts) => {
                    self.chassis.watts_read += 1;
                    let [low, high] = watts.to_le_bytes();
                    let mut answer = vec![OK, 0xdc, low, high, 80, 0, 0x2c, 1, low, high];
                    answer.extend_from_slice(&[0, 0, 0, 0, 0xe8, 3, 0, 0, 0x40]);
                    answer
                }
                None => vec![INVALID_COMMAND],
            },
            _ => vec![INVALID_COMMAND],
        }
    }

    fn privilege(&self, id: u32) -> u8 {
        match self.sessions.get(&id).map(|session| &session.state) {
            Some(State::Active(channel)) => channel.privilege,
            _ => 0,
        }
    }

    fn set_privilege(&mut self, id: u32, data: &[u8]) -> Vec<u8> {
        let (Some(session), &[wanted]) = (self.sessions.get_mut(&id), data) else {
            return vec![INVALID_LENGTH];
        };
        let State::Active(channel) = &mut session.state else {
            return vec![NOT_NOW];
        };
        if wanted > channel.most_privilege {
            return vec![0x81];
        }
        if wanted > 0 {
            channel.privilege = wanted;
        }
        vec![OK, channel.privilege]
    }

    fn chassis_command(&mut self, now_ms: u64, command: u8, data: &[u8]) -> Vec<u8> {
        let chassis = &mut self.chassis;
        match (command, data) {
            (0x01, []) => {
                let power = u8::from(chassis.reads_on()) | (chassis.policy << 5);
                vec![OK, power, 0, 0]
            }
            (0x02, &[control]) => {
                let order = match control {
                    0 => "off",
                    1 => "on",
                    2 => "cycle",
                    3 => "reset",
                    5 => "soft",
                    _ => return vec![INVALID_FIELD],
                };
                let so = (control == 0 && !chassis.on) || (control == 1 && chassis.on);
                if chassis.quirks.refuses_what_is_so && so {
                    return vec![NOT_NOW];
                }
                if let Manner::FlipsAfter(after_ms) = chassis.manner {
                    self.flip_at_ms = Some(now_ms + after_ms);
                }
                self.chassis.order(order);
                vec![OK]
            }
            (0x04, data) => {
                chassis.identify_s = Some(data.first().copied().unwrap_or(15));
                vec![OK]
            }
            (0x06, &[policy]) => {
                if policy < 3 && !chassis.quirks.keeps_policy {
                    chassis.policy = policy;
                }
                vec![OK, 0x07]
            }
            (0x08, [parameter, value @ ..]) => match (parameter & 0x7f, value) {
                (5, &[flags, device, a, b, c]) => {
                    let flags = match chassis.quirks.loses_efi_bit {
                        true => flags & !0x20,
                        false => flags,
                    };
                    chassis.boot_flags = [flags, device, a, b, c];
                    vec![OK]
                }
                (0 | 3 | 4, _) => vec![OK],
                _ => vec![0x80],
            },
            (0x09, &[parameter, _, _]) => match parameter & 0x7f {
                5 => [&[OK, 1, 5], chassis.boot_flags.as_slice()].concat(),
                _ => vec![0x80],
            },
            _ => vec![INVALID_COMMAND],
        }
    }

    fn application(&mut self, command: u8, data: &[u8]) -> Vec<u8> {
        let chassis = &mut self.chassis;
        match (command, data) {
            (0x01, []) => {
                let (major, minor) = chassis.firmware;
                let mut answer = vec![OK, 0x20, 1, major, minor, 2, 0x8f];
                answer.extend_from_slice(&[0x91, 0x12, 0, 2, 0x0f, 0, 0, 0, 0]);
                answer
            }
            (0x38 | 0x54, _) => vec![INVALID_COMMAND],
            (0x37, []) => [&[OK], super::GUID.as_slice()].concat(),
            (0x3c, _) => vec![OK],
            (0x41, &[channel, _]) => match channel {
                1 | 0x0e => vec![OK, 0x02, 0x04],
                0x0f => vec![OK, 0x00, 0x04],
                _ => vec![INVALID_FIELD],
            },
            (0x42, &[channel]) => match channel {
                1 | 0x0e => vec![OK, 1, 4, 1, 0x80, 0xf2, 0x1b, 0, 0, 0],
                0x0f => vec![OK, 0x0f, 0x0c, 5, 0, 0xf2, 0x1b, 0, 0, 0],
                _ => vec![INVALID_FIELD],
            },
            (0x44, &[_, user]) => {
                let enabled = chassis.users.iter().filter(|user| user.enabled).count();
                let Some(user) = nth(&chassis.users, user) else {
                    return vec![OK, 10, enabled as u8, 1, 0x0f];
                };
                let state = if user.enabled { 0x40 } else { 0x80 };
                let access = u8::from(user.enabled) << 4 | user.privilege;
                vec![OK, 10, state | enabled as u8, 1, access]
            }
            (0x46, &[user]) => {
                let Some(user) = nth(&chassis.users, user) else {
                    return vec![INVALID_FIELD];
                };
                let mut answer = vec![OK];
                answer.extend_from_slice(user.name.as_bytes());
                answer.resize(17, 0);
                answer
            }
            (0x47, [user, operation, password @ ..]) => self.password(*user, *operation, password),
            (0x0c | 0x61, &[0x0f, net_fn, _]) if !chassis.quirks.no_firewall => {
                let Some(enables) = chassis.enables.get(usize::from(net_fn / 2)) else {
                    return vec![INVALID_FIELD];
                };
                let mask = if command == 0x0c {
                    &[0xff; 16]
                } else {
                    enables
                };
                [&[OK], mask.as_slice()].concat()
            }
            (0x60, [0x0f, net_fn, _, mask @ ..]) if !chassis.quirks.no_firewall => {
                let place = chassis.enables.get_mut(usize::from(net_fn / 2));
                let (Some(place), Ok(mask)) = (place, mask.try_into()) else {
                    return vec![INVALID_FIELD];
                };
                *place = mask;
                vec![OK]
            }
            _ => vec![INVALID_COMMAND],
        }
    }

    fn password(&mut self, user: u8, operation: u8, password: &[u8]) -> Vec<u8> {
        let long = user & 0x80 != 0;
        if long && self.chassis.quirks.short_passwords {
            return vec![INVALID_LENGTH];
        }
        let mut padded = [0; 20];
        let Some(place) = padded.get_mut(..password.len()) else {
            return vec![INVALID_LENGTH];
        };
        place.copy_from_slice(password);
        if self.chassis.quirks.cuts_passwords {
            padded[16..].fill(0);
        }
        let number = usize::from(user & 0x3f);
        let Some(user) = number
            .checked_sub(1)
            .and_then(|index| self.chassis.users.get_mut(index))
        else {
            return vec![INVALID_FIELD];
        };
        match operation {
            0 | 1 => user.enabled = operation == 1,
            2 => user.password = padded,
            3 if user.password != padded => return vec![0x80],
            3 => {}
            _ => return vec![INVALID_FIELD],
        }
        vec![OK]
    }

    fn payload(&mut self, id: u32, command: u8, data: &[u8]) -> Vec<u8> {
        if !data.starts_with(&[1, 1]) {
            return vec![INVALID_FIELD];
        }
        let has_it = |session: &super::Session| matches!(&session.state, State::Active(channel) if channel.serial.is_some());
        if command == 0x48 && self.sessions.values().any(has_it) {
            return vec![0x80];
        }
        let Some(State::Active(channel)) =
            self.sessions.get_mut(&id).map(|session| &mut session.state)
        else {
            return vec![NOT_NOW];
        };
        if command == 0x48 {
            channel.serial = Some(Serial::default());
            vec![OK, 0, 0, 0, 0, 0xff, 0, 0xff, 0, 0x6f, 2, 0xff, 0xff]
        } else {
            channel.serial = None;
            vec![OK]
        }
    }

    fn storage(&mut self, command: u8, data: &[u8]) -> Vec<u8> {
        let events = &mut self.chassis.events;
        match (command, data) {
            (0x40, []) => {
                let [e0, e1] = (events.len() as u16).to_le_bytes();
                let mut answer = vec![OK, 0x51, e0, e1, 0, 16];
                answer.extend_from_slice(&[0; 8]);
                answer.push(0x02);
                answer
            }
            (0x42, []) => [&[OK], RESERVATION.as_slice()].concat(),
            (0x43, &[_, _, i0, i1, _, _]) => {
                let wanted = match u16::from_le_bytes([i0, i1]) {
                    0 => 0,
                    0xffff => events.len().saturating_sub(1),
                    id => usize::from(id) - 1,
                };
                let Some(event) = events.get(wanted) else {
                    return vec![NOT_PRESENT];
                };
                let next = match wanted + 1 < events.len() {
                    true => (wanted + 2) as u16,
                    false => 0xffff,
                };
                [&[OK], next.to_le_bytes().as_slice(), event].concat()
            }
            (0x47, &[r0, r1, b'C', b'L', b'R', operation]) => {
                if [r0, r1] != RESERVATION {
                    return vec![0xc5];
                }
                // Erasure takes until it is asked for again.
                let done = operation == 0;
                if done {
                    events.clear();
                }
                vec![OK, u8::from(done)]
            }
            _ => vec![INVALID_COMMAND],
        }
    }

    fn lan(&self, data: &[u8]) -> Vec<u8> {
        let &[_, parameter, _, _] = data else {
            return vec![INVALID_LENGTH];
        };
        let value: &[u8] = match parameter {
            0 => &[0],
            1 => &[0],
            3 => &self.chassis.address,
            4 => &[1],
            5 => &[0x52, 0x54, 0, 0x77, 0, 1],
            6 => &[255, 255, 255, 0],
            12 => &[10, 78, 0, 1],
            13 => &[0; 6],
            20 => &[0, 0],
            21 => &[0],
            22 => &[2],
            23 => &[0, 3, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            24 => &[0, 0x44, 0, 0, 0, 0, 0, 0, 0],
            _ => return vec![0x80],
        };
        [&[OK, 0x11], value].concat()
    }
}

fn nth(users: &[crate::User], number: u8) -> Option<&crate::User> {
    users.get(usize::from(number & 0x3f).checked_sub(1)?)
}
