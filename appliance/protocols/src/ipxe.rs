//! The iPXE scripts that a sled gets: one that boots our kernel and one that
//! holds a machine which may not boot. They never hand the machine on to its
//! local disk, and never carry a value that iPXE could read as a command.
//!
//! Source of the syntax: <https://ipxe.org/scripting> and <https://ipxe.org/cmd>.

mod value;

use alloc::format;
use alloc::string::String;

use crate::dhcp::MacAddress;
pub use value::{BootToken, CommandLine, Notice, ValueError};

/// How often the files are asked for before the machine gives up.
const ATTEMPTS: u32 = 5;
/// Seconds before a machine that gave up powers off: time to read the screen.
const GIVE_UP_SECONDS: u32 = 10;
/// How each script ends that does not boot. `poweroff` is a build option of
/// iPXE which Debian 12's builds leave out; such a machine stays here until
/// its power is cut, since the end of a script would lead to the local disk.
const POWER_OFF: &str = "poweroff ||
echo Musher: this iPXE cannot power off, waiting for the appliance to cut the power
:wait
sleep 3600 ||
goto wait
";

/// The script for a machine with a live boot ticket. Its paths are absolute
/// without a server name: iPXE resolves them against the URL that the script
/// itself came from.
#[must_use]
pub fn boot_script(mac: MacAddress, token: &BootToken, command_line: &CommandLine) -> String {
    format!(
        "#!ipxe
echo Musher: boot ticket accepted for {mac}
set attempt:int32 0
:fetch
inc attempt
echo Musher: fetching kernel and initramfs, attempt ${{attempt}} of {ATTEMPTS}
imgfree ||
kernel --name kernel /boot/{token}/kernel || goto failed
initrd --name initramfs /boot/{token}/initramfs || goto failed
imgargs kernel initrd=initramfs {command_line} || goto failed
echo Musher: starting the sled agent
boot kernel ||
:failed
iseq ${{attempt}} {ATTEMPTS} && goto give_up ||
echo Musher: that failed, trying again in ${{attempt}} seconds
sleep ${{attempt}} ||
goto fetch
:give_up
echo Musher: no boot after {ATTEMPTS} attempts, powering off
sleep {GIVE_UP_SECONDS} ||
{POWER_OFF}"
    )
}

/// The script for a machine that may not boot now: says why, waits
/// `wait_seconds`, powers off.
#[must_use]
pub fn held_script(mac: MacAddress, reason: &Notice, wait_seconds: u16) -> String {
    format!(
        "#!ipxe
echo Musher: {mac} is held and will not boot: {reason}
echo Musher: powering off in {wait_seconds} seconds
sleep {wait_seconds} ||
{POWER_OFF}"
    )
}

#[cfg(test)]
mod tests;
