//! What a session is given: credentials, patience and randomness.

use core::num::NonZeroU32;

use super::super::credentials::{BmcKey, Password, Username};
use super::super::suite::{CipherSuite, Privilege};

/// How the BMC finds the user (IPMI table 13-11, byte 25, bit 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameLookup {
    /// The first user of that name. What ipmitool does.
    NameOnly,
    /// The first user of that name and of exactly the privilege asked for.
    NameAndPrivilege,
}

/// How long to wait and how often to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Wait for each answer of the set-up, which is asked for once, in ms.
    pub set_up_wait_ms: u64,
    /// First wait for a command's answer in ms; doubles with each try.
    pub command_wait_ms: u64,
    /// How often an idempotent command is sent in all.
    pub command_tries: u32,
}

impl Default for Timing {
    fn default() -> Self {
        // IPMI 6.12.15.2 asks for retries; BMCs answer within tens of
        // milliseconds, and within a second or two while busy.
        Self {
            set_up_wait_ms: 1_000,
            command_wait_ms: 1_000,
            command_tries: 4,
        }
    }
}

/// What a session needs to know about its BMC.
#[derive(Clone, Debug)]
pub struct Config {
    /// The user.
    pub username: Username,
    /// The user's password.
    pub password: Password,
    /// Kg, where the BMC has one set.
    pub bmc_key: Option<BmcKey>,
    /// Algorithms to insist on; there is no fallback to weaker ones.
    pub suite: CipherSuite,
    /// Privilege level to ask for.
    pub privilege: Privilege,
    /// How the BMC looks the user up.
    pub lookup: NameLookup,
    /// Patience.
    pub timing: Timing,
}

impl Config {
    /// The role byte of RAKP 1, which goes into the hashes as a whole.
    pub(super) fn role(&self) -> u8 {
        let bit = match self.lookup {
            NameLookup::NameOnly => 0x10,
            NameLookup::NameAndPrivilege => 0x00,
        };
        bit | self.privilege.number()
    }
}

/// Fresh randomness for one session; never use it for two.
#[derive(Clone, Copy)]
pub struct Entropy {
    /// Our id of the session; its low byte is the message tag too.
    pub console_session: NonZeroU32,
    /// RAKP's random number of the console.
    pub nonce: [u8; 16],
    /// Initialisation vector of the first command.
    pub iv: [u8; 16],
}
