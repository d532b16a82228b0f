//! Set-up: from the answered probe to an authenticated channel.

use super::super::command::Command;
use super::super::frame::{self, PayloadType};
use super::super::handshake::{self, Opened, Rakp2, Reply, RmcpStatus};
use super::super::suite::Keys;
use super::super::window::Window;
use super::{
    Channel, DropReason, Failure, PROBE, Progress, Session, SessionError, Stage, State,
    decode_message,
};

impl Session {
    /// The answer to Get Channel Authentication Capabilities (IPMI 22.13).
    pub(super) fn probed(&mut self, bytes: &[u8]) -> Result<Progress, Failure> {
        let message = decode_message(bytes)?;
        if (message.net_fn, message.command) != PROBE {
            return Err(Failure::Drop(DropReason::Unexpected));
        }
        // An IPMI 1.5 BMC refuses the 2.0 form of the request, or answers
        // without the extended capabilities (bit 7 of the second byte, bit 1
        // of the fourth).
        match *message.data {
            [_, types, _, extended, ..]
                if message.completion == 0 && types & 0x80 != 0 && extended & 0x02 != 0 => {}
            _ => return Err(Failure::End(SessionError::NoIpmi2)),
        }
        let request = handshake::open_session_request(
            self.tag(),
            self.config.privilege.number(),
            self.entropy.console_session.get(),
            self.config.suite,
        );
        self.state = State::Opening;
        self.send_set_up(frame::outside(PayloadType::OpenSessionRequest, &request));
        Ok(Progress::Advanced)
    }

    pub(super) fn opened(&mut self, payload: &[u8]) -> Result<Progress, Failure> {
        let reply = self.reply(payload)?;
        let suite = self.config.suite;
        if reply.status != RmcpStatus::OK {
            return Err(Failure::End(self.refusal(reply.status)));
        }
        let opened = Opened::decode(reply.rest).ok_or(Failure::Drop(DropReason::SetUp))?;
        if opened.algorithms != suite.algorithms() {
            return Err(Failure::End(SessionError::UnsupportedSuite {
                suite,
                status: None,
            }));
        }
        let bmc_session = opened.bmc_session;
        let role = self.config.role();
        let (nonce, name) = (&self.entropy.nonce, &self.config.username);
        let rakp1 = handshake::rakp1(self.tag(), bmc_session, nonce, role, name);
        self.state = State::Challenging { bmc_session };
        self.send_set_up(frame::outside(PayloadType::Rakp(1), &rakp1));
        Ok(Progress::Advanced)
    }

    /// RAKP message 2: the BMC proves that it knows the password.
    pub(super) fn challenged(&mut self, payload: &[u8]) -> Result<Progress, Failure> {
        let State::Challenging { bmc_session } = self.state else {
            return Ok(Progress::Ignored);
        };
        let reply = self.reply(payload)?;
        if reply.status != RmcpStatus::OK {
            return Err(Failure::End(self.refusal(reply.status)));
        }
        let (suite, tag) = (self.config.suite, self.tag());
        let code_bytes = suite.exchange_code_bytes();
        let rakp2 =
            Rakp2::decode(reply.rest, code_bytes).ok_or(Failure::Drop(DropReason::SetUp))?;

        let ids = (
            self.entropy.console_session.get().to_le_bytes(),
            bmc_session.to_le_bytes(),
        );
        let name = self.config.username.as_bytes();
        let nonce = &self.entropy.nonce;
        let password = self.config.password.key();
        // Workaround `open-session-privilege`: some BMCs put the level of Open
        // Session into the hashes instead of RAKP 1's role byte. Both are
        // ours, and only who knows the password can make either code.
        let roles = [self.config.role(), self.config.privilege.number()];
        let name_bytes = self.config.username.length();
        let role = roles.into_iter().find_map(|role| {
            let role = [role, name_bytes];
            // IPMI 13.31: RAKP 2's code.
            let parts: [&[u8]; 7] = [
                &ids.0,
                &ids.1,
                nonce,
                &rakp2.nonce,
                &rakp2.guid,
                &role,
                name,
            ];
            let expected = suite.code(password, &parts);
            expected.matches(rakp2.code, code_bytes).then_some(role)
        });
        let Some(role) = role else {
            // IPMI 13.22: tell the BMC, so that it frees the session.
            let status = RmcpStatus::INVALID_CHECK_VALUE;
            let refusal = handshake::rakp3(tag, status, bmc_session, &[]);
            self.farewell = Some(frame::outside(PayloadType::Rakp(3), &refusal));
            return Err(Failure::End(SessionError::WrongPassword { status: None }));
        };
        // IPMI 13.31: RAKP 3's code. IPMI 13.32: the session integrity key,
        // keyed with Kg, or with the password where the BMC has none.
        let proof = suite.code(password, &[&rakp2.nonce, &ids.0, &role, name]);
        let bmc_key = self
            .config
            .bmc_key
            .as_ref()
            .map_or(password, |key| key.key());
        let keys = Keys::new(
            suite,
            suite.code(bmc_key, &[nonce, &rakp2.nonce, &role, name]),
        );
        let check = keys.exchange_check(&[nonce, &ids.1, &rakp2.guid]);
        let rakp3 = handshake::rakp3(tag, RmcpStatus::OK, bmc_session, proof.as_slice());
        self.state = State::Proving {
            bmc_session,
            keys,
            check,
        };
        self.send_set_up(frame::outside(PayloadType::Rakp(3), &rakp3));
        Ok(Progress::Advanced)
    }

    /// RAKP message 4: the BMC proves that it made the same session key.
    pub(super) fn proved(&mut self, payload: &[u8]) -> Result<Progress, Failure> {
        let reply = self.reply(payload)?;
        if reply.status != RmcpStatus::OK {
            return Err(Failure::End(self.refusal(reply.status)));
        }
        let length = self.config.suite.integrity_code_bytes();
        let received = reply
            .rest
            .get(..length)
            .ok_or(Failure::Drop(DropReason::SetUp))?;
        let State::Proving {
            bmc_session,
            keys,
            check,
        } = core::mem::replace(&mut self.state, State::Closed)
        else {
            return Ok(Progress::Ignored);
        };
        if !check.matches(received, length) {
            return Err(Failure::End(SessionError::WrongBmcKey));
        }
        self.state = State::Active(Channel {
            bmc_session,
            keys,
            // IPMI 13.6: numbers of a session start at 1.
            next_sequence: 1,
            window: Window::default(),
            settling: true,
            serial: false,
        });
        let iv = self.entropy.iv;
        self.send_command(Command::SetPrivilege(self.config.privilege), &iv);
        Ok(Progress::Advanced)
    }

    /// The head that Open Session Response, RAKP 2 and RAKP 4 share.
    fn reply<'a>(&self, payload: &'a [u8]) -> Result<Reply<'a>, Failure> {
        let reply = Reply::decode(payload).ok_or(Failure::Drop(DropReason::SetUp))?;
        let ours = self.entropy.console_session.get();
        match reply.console_session {
            _ if reply.tag != self.tag() => Err(Failure::Drop(DropReason::SetUp)),
            // A refusal may lack the id, or hold zero.
            _ if reply.status != RmcpStatus::OK => Ok(reply),
            Some(id) if id == ours => Ok(reply),
            _ => Err(Failure::Drop(DropReason::ForeignSession)),
        }
    }

    fn refusal(&self, status: RmcpStatus) -> SessionError {
        let (suite, stage) = (self.config.suite, self.stage());
        let privilege = self.config.privilege;
        match status {
            _ if status.is_about_algorithms() => SessionError::UnsupportedSuite {
                suite,
                status: Some(status),
            },
            _ if status.is_about_privilege() => SessionError::PrivilegeRefused { privilege },
            _ if stage == Stage::OpenSession => SessionError::Refused { stage, status },
            _ if status.is_about_name() => SessionError::UnauthorizedName { status },
            _ if status.is_about_password() => SessionError::WrongPassword {
                status: Some(status),
            },
            _ => SessionError::Refused { stage, status },
        }
    }
}
