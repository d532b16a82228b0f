//! The appliance daemon: thin shells around `control`.
//!
//! | module | does | never |
//! | --- | --- | --- |
//! | [`engine`] | steps events, commits, answers, dispatches | decides |
//! | [`store`] | keeps rows in redb | knows what they mean |
//! | [`webhook`] | verifies deliveries | parses before it verified |
//! | [`delivery_log`] | reads from GitHub's log what did not arrive | decides what it means |
//! | [`sweep`] | finds jobs and leftover runners at GitHub | decides what they mean |
//! | [`ways`] | starts the ways in, and tells how they do | takes a delivery |
//! | [`tunnel`] | keeps a tunnel program or a channel up | trusts what comes through |
//! | [`installations`] | knows whose deliveries are ours | asks GitHub |
//! | [`intake`] | hands deliveries of every way to the core | verifies |
//! | [`github`] | talks to GitHub's API | repeats a minting |
//! | [`doctor`] | finds what keeps an App from serving its pools | changes a setting |
//! | [`releases`] | watches the runner's releases, warns of old images | changes an image |
//! | [`power`] | turns sleds on and off | assumes a state |
//! | [`netboot`] | serves DHCP, TFTP, boot files | says who may boot |
//! | [`agents`] | speaks with agents over pinned TLS | tells them what to do on its own |
//! | [`console`] | records what sleds say on their serial lines | writes a secret down |
//! | [`admin`], [`page`], [`metrics`] | shows people what is going on | changes anything |
//! | [`strangers`] | finds whether a public repository could use a runner | registers one |
//! | [`dispatch`] | carries out effects | chooses them |
#![deny(missing_docs)]

pub mod admin;
pub mod agents;
pub mod boot_authority;
pub mod boot_logs;
pub mod cli;
pub mod config;
pub mod console;
pub mod delivery_log;
pub mod dispatch;
pub mod doctor;
pub mod engine;
pub mod github;
pub mod http;
pub mod installations;
pub mod intake;
pub mod keys;
pub mod lease_keeper;
pub mod metrics;
pub mod netboot;
pub mod page;
pub mod payload;
pub mod power;
pub mod reader;
pub mod receipts;
pub mod releases;
pub mod retry;
pub mod serve;
pub mod store;
pub mod strangers;
pub mod sweep;
pub mod tunnel;
pub mod vault;
pub mod ways;
pub mod webhook;
