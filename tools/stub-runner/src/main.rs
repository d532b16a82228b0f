//! A stand-in for GitHub's `Runner.Listener`: takes one job from fakehub, runs
//! its script, exits with the listener's codes. It speaks fakehub's protocol
//! over plain HTTP/1.1, runs no actions, and never updates itself.
//!
//! Started as `Runner.Listener run --jitconfig BASE64`, or with the
//! configuration in `ACTIONS_RUNNER_INPUT_JITCONFIG`, which GitHub's runner
//! reads as well and which keeps the secret off the command line; or without
//! any after `Runner.Listener configure`, see [`configure`].

mod configure;
mod http;
mod jit;
mod listener;
mod script;
mod session;
mod time;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use listener::Ended;

/// Where GitHub's runner looks for the configuration.
const VARIABLE: &str = "ACTIONS_RUNNER_INPUT_JITCONFIG";
/// Asks for exit code 7 instead of 1 when the version is deprecated.
const WANT_DEPRECATED: &str = "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE";

fn main() -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("cannot handle signal {signal}: {error}");
            return ExitCode::from(1);
        }
    }
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|word| word == "configure").is_some() {
        let flags: Vec<String> = arguments.collect();
        let input = |name: &str| std::env::var(format!("ACTIONS_RUNNER_INPUT_{name}")).ok();
        let done = configure::run(&listener::home(), &flags, input);
        return done.map_or_else(
            |message| {
                eprintln!("{message}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    let settings = match configuration(arguments) {
        Ok(Some(text)) => jit::Settings::parse(&text).map_err(|error| error.to_string()),
        Ok(None) => jit::Settings::read(&listener::home()),
        Err(message) => Err(message),
    };
    let ended = match settings {
        Ok(settings) => listener::run(&settings, &stop),
        Err(message) => {
            eprintln!("{message}");
            Ended::Terminated
        }
    };
    let wants_7 = std::env::var(WANT_DEPRECATED).is_ok_and(|it| it == "1");
    ExitCode::from(ended.code(wants_7))
}

/// The configuration from the command line, else from the environment, if there
/// is one.
fn configuration(mut arguments: impl Iterator<Item = String>) -> Result<Option<String>, String> {
    let mut given = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "run" => {}
            "--jitconfig" => {
                let word = arguments.next();
                given = Some(word.ok_or("--jitconfig needs a value")?);
            }
            "--version" => {
                println!("{}", listener::VERSION);
                std::process::exit(0);
            }
            other => {
                return Err(format!(
                    "unrecognized command-line input argument: '{other}'"
                ));
            }
        }
    }
    Ok(given
        .or_else(|| std::env::var(VARIABLE).ok())
        .filter(|it| !it.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_gives_the_configuration() {
        let check = |line: &[&str], expect: Option<&str>| {
            let got = configuration(line.iter().map(|it| (*it).to_owned()));
            assert_eq!(got.ok().flatten().as_deref(), expect, "{line:?}");
        };
        check(&["run", "--jitconfig", "abc"], Some("abc"));
        check(&["--jitconfig", "abc"], Some("abc"));
        check(&["--jitconfig"], None);
        check(&["run", "--once"], None);
    }
}
