//! The kernel command line, which a neighbour's boot server may have written.
#![no_main]

// A module of a program, not of a library: included as it is.
#[rustfmt::skip]
#[path = "../../../appliance/sled/src/cmdline.rs"]
#[allow(dead_code)]
mod cmdline;

use cmdline::Arguments;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(arguments) = Arguments::parse(text) {
        assert!(!arguments.host.is_empty() && arguments.port != 0);
        assert!(text.contains(&arguments.host));
    }
});
