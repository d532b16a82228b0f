//! The client, the commands and the doctor against a whole stand-in of
//! GitHub's, over loopback: as strict as GitHub about identities, permissions
//! and bodies.

#[path = "github/channel.rs"]
mod channel;
#[path = "github/commands.rs"]
mod commands;
#[path = "github/doctor.rs"]
mod doctor;
#[path = "github/endpoints.rs"]
mod endpoints;
#[path = "github/manifest.rs"]
mod manifest;
#[path = "github/releases.rs"]
mod releases;
#[path = "github/stage.rs"]
mod stage;
#[path = "github/sweep.rs"]
mod sweep;
#[path = "github/trouble.rs"]
mod trouble;
