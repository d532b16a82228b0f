//! What an agent is told to run.

use alloc::{string::String, vec::Vec};
use core::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Digest, Instruction};

/// Text that must not be seen: zeroed when dropped, hidden from `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Takes the text into custody.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A runner root filesystem, named by what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// Name in the inventory, for people.
    pub name: String,
    /// SHA-256 of the squashfs file; the agent verifies it before it mounts.
    pub digest: Digest,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// How a runner registers itself, at a server without just-in-time runners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Page of the organisation, repository or enterprise at GitHub.
    pub url: String,
    /// Registration token. It registers any number of runners for an hour.
    pub token: Secret,
    /// The runner's labels, all of them.
    pub labels: Vec<String>,
    /// The runner group that it joins; GitHub's default one without.
    pub group: Option<String>,
}

/// How a runner proves to GitHub who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// GitHub's `encoded_jit_config`: it is registered.
    Jit(Secret),
    /// It registers itself.
    Token(Registration),
}

impl Identity {
    /// What nobody may see of it.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        match self {
            Self::Jit(config) => config,
            Self::Token(registration) => &registration.token,
        }
    }
}

/// One job's worth of work for one boot, whichever way its runner is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The runner's name at GitHub, fresh for each minting.
    pub runner_name: String,
    /// Who it is.
    pub identity: Identity,
    /// What the runner runs in.
    pub image: ImageRef,
    /// The agent ends the run after this many seconds.
    pub max_runtime_s: u64,
}

impl From<Assignment> for Instruction {
    fn from(work: Assignment) -> Self {
        let (runner_name, image) = (work.runner_name, work.image);
        let max_runtime_s = work.max_runtime_s;
        match work.identity {
            Identity::Jit(jit_config) => Self::Order(Order {
                runner_name,
                jit_config,
                image,
                max_runtime_s,
            }),
            Identity::Token(registration) => Self::OrderByToken(TokenOrder {
                runner_name,
                registration,
                image,
                max_runtime_s,
            }),
        }
    }
}

impl From<Order> for Assignment {
    fn from(order: Order) -> Self {
        Self {
            runner_name: order.runner_name,
            identity: Identity::Jit(order.jit_config),
            image: order.image,
            max_runtime_s: order.max_runtime_s,
        }
    }
}

impl From<TokenOrder> for Assignment {
    fn from(order: TokenOrder) -> Self {
        Self {
            runner_name: order.runner_name,
            identity: Identity::Token(order.registration),
            image: order.image,
            max_runtime_s: order.max_runtime_s,
        }
    }
}

/// An [`Order`] whose runner registers itself. Never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenOrder {
    /// The runner's name at GitHub, fresh for each try.
    pub runner_name: String,
    /// How it registers.
    pub registration: Registration,
    /// What the runner runs in.
    pub image: ImageRef,
    /// The agent ends the run after this many seconds.
    pub max_runtime_s: u64,
}

/// One job's worth of work for one boot. Never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The runner's name at GitHub, fresh for each minting.
    pub runner_name: String,
    /// GitHub's `encoded_jit_config`, single use.
    pub jit_config: Secret,
    /// What the runner runs in.
    pub image: ImageRef,
    /// The agent ends the run after this many seconds.
    pub max_runtime_s: u64,
}
