//! The appliance daemon: thin shells around `control`.
//!
//! | module | does | never |
//! | --- | --- | --- |
//! | [`engine`] | steps events, commits, answers, dispatches | decides |
//! | [`store`] | keeps rows in redb | knows what they mean |
//! | [`webhook`] | verifies deliveries | parses before it verified |
//! | [`intake`] | hands deliveries of every way to the core | verifies |
//! | [`github`] | talks to GitHub's API | repeats a minting |
//! | [`power`] | turns sleds on and off | assumes a state |
//! | [`netboot`] | serves DHCP, TFTP, boot files | says who may boot |
//! | [`agents`] | speaks with agents over pinned TLS | tells them what to do on its own |
//! | [`admin`], [`page`] | shows people what is going on | changes anything |
//! | [`dispatch`] | carries out effects | chooses them |
#![deny(missing_docs)]

pub mod admin;
pub mod agents;
pub mod boot_authority;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod engine;
pub mod github;
pub mod http;
pub mod intake;
pub mod keys;
pub mod lease_keeper;
pub mod netboot;
pub mod page;
pub mod payload;
pub mod power;
pub mod receipts;
pub mod serve;
pub mod store;
pub mod vault;
pub mod webhook;
