//! Power over lines of this machine.
//!
//! Linux guarantees a line's level only while its descriptor is open (GPIO v2
//! uAPI, `linux/gpio.h`), so the daemon owns no line: a holder process does
//! (`musher gpio-hold`), which outlives the daemon's restarts, crashes and
//! upgrades. The daemon asks it over a socket.
//!
//! | module | is |
//! | --- | --- |
//! | [`lines`] | names and wiring of lines, from `lines.toml` |
//! | [`wire`] | what daemon and holder say to each other |
//! | [`hold`] | the holder's lines: edges, presses, fences; no socket |
//! | [`pins`] | lines of the kernel and of I2C expanders as embedded-hal pins |
//! | [`serve`] | the holder as a process |
//! | [`held`] | relays and buttons that the holder moves for us |

pub mod held;
pub mod hold;
pub mod lines;
pub mod pins;
pub mod serve;
pub mod wire;

#[cfg(test)]
pub(super) mod bench;
