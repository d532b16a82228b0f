//! `/init` of a guest with simulated lines, and the daemon's part in it.
//!
//! As PID 1 it sets lines up by `gpio-sim` and an expander by `i2c-stub`, runs
//! the holder, plays a sled behind a power button, and kills daemons. What it
//! saw goes to the console, one word and its values per line; whether that is
//! right is for the test outside to say. A guest that has a network runs an
//! appliance instead, for a machine outside that stands behind its lines.

mod appliance;
mod expander;
mod job;
mod machine;
mod sim;

use std::error::Error;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use musher::power::button::PressLengths;
use musher::power::gpio::held::{HeldConfig, HeldKind, HeldSwitch, Holder as _, HolderSocket};
use musher::power::gpio::serve::SystemClock;
use musher::power::gpio::wire::Order;
use musher::power::sense::Active;
use musher::power::switch::{Power, PowerSwitch as _};
use rustix::process::{Pid, Signal, kill_process};
use rustix::system::{RebootCommand, reboot};
use rustix::time::{ClockId, clock_gettime};

use machine::Machine;
use sim::Sim;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const SOCKET: &str = "/run/gpio.sock";
const LENGTHS: PressLengths = PressLengths {
    on_ms: 200,
    off_ms: 1200,
};
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    if std::process::id() != 1 {
        let generation = std::env::args().nth(1).and_then(|text| text.parse().ok());
        daemon(generation.unwrap_or_default());
    }
    let done = match fs::exists("/network") {
        Ok(true) => job::run(),
        _ => guest(),
    };
    if let Err(error) = done {
        println!("failed {error}");
    }
    println!("the guest is done");
    sleep(Duration::from_millis(500));
    let _ = reboot(RebootCommand::PowerOff);
}

/// The daemon's driver on one sled, on and off until it is killed.
fn daemon(generation: u64) -> ! {
    let config = HeldConfig {
        kind: HeldKind::Button(LENGTHS),
        line: "pwr-01".to_owned(),
        active: Active::Low,
        sense: Some(("sense-01".to_owned(), Active::High)),
        settle_ms: 2000,
    };
    let holder = HolderSocket(SOCKET.into());
    let mut switch = HeldSwitch::new(config, holder, SystemClock::start());
    switch.claim(generation);
    loop {
        for power in [Power::On, Power::Off] {
            match switch.set_power(power) {
                Ok(switched) => println!("did {generation} {power:?} {switched:?}"),
                Err(error) => println!("error {generation} {power:?} {error}"),
            }
        }
    }
}

fn guest() -> Outcome {
    let kills = sim::prepare()?;
    let sim = Sim::create()?;
    expander::power_up()?;
    let machine = Machine::start(&sim)?;
    let mut holder = start_holder(SOCKET)?;

    second_holder()?;
    relay(&sim)?;
    kill_daemons(&sim, &machine, kills)?;
    expander_drive()?;
    stop_in_press(&sim, &mut holder)?;
    // Another holder takes the expander over as it is.
    let mut holder = start_holder(SOCKET)?;
    println!("registers {}", expander::registers()?);
    kill_process(pid(&holder), Signal::TERM)?;
    println!("holder-exit {:?}", holder.wait()?.code());
    println!("misuses {}", machine.misuses());
    sim.print_trace(sim::BUTTON)
}

fn start_holder(socket: &str) -> Outcome<Child> {
    let child = holder_command(socket).spawn()?;
    wait_for("the holder's socket", || {
        fs::exists(socket).unwrap_or(false)
    })?;
    Ok(child)
}

fn holder_command(socket: &str) -> Command {
    let mut command = Command::new("/musher");
    command.args(["gpio-hold", "--lines", "/lines.toml", "--socket", socket]);
    command
}

/// A second holder of the same lines must refuse, whatever its socket.
fn second_holder() -> Outcome {
    for socket in [SOCKET, "/run/other.sock"] {
        let output = holder_command(socket).stderr(Stdio::piped()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or_default();
        println!("second {:?} {said}", output.status.code());
    }
    Ok(())
}

fn drive(line: &str, high: bool, generation: u64) -> String {
    let order = Order::Drive { high, generation };
    match HolderSocket(SOCKET.into()).ask(line, order) {
        Ok(standing) => format!("done high={} driven={}", standing.high, standing.driven),
        Err(error) => format!("refused {error}"),
    }
}

/// The relay goes on for the time in which daemons are killed.
fn relay(sim: &Sim) -> Outcome {
    for (high, generation) in [(false, 5), (true, 5), (true, 5), (false, 4)] {
        let said = drive("relay-02", high, generation);
        println!("relay {} {said}", sim.value(sim::RELAY)?);
    }
    Ok(())
}

fn kill_daemons(sim: &Sim, machine: &Machine, kills: u64) -> Outcome {
    let mut random = fs::read("/seed")?.iter().fold(1_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    let appliance = appliance::prepare()?;
    for count in 0..kills {
        // Every second life is of the same claim: it adopts what it finds.
        let generation = count / 2 + 1;
        let mut daemon = match appliance {
            true => appliance::start()?,
            false => Command::new("/init").arg(generation.to_string()).spawn()?,
        };
        if count == 0 {
            // One is killed in mid-press for sure.
            wait_for("a press", || machine.is_pressed())?;
            sleep(Duration::from_millis(50));
        } else {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            sleep(Duration::from_millis(random % 2500));
        }
        daemon.kill()?;
        let at = seconds();
        daemon.wait()?;
        println!("kill {at:.6} relay {}", sim.value(sim::RELAY)?);
    }
    // Whatever was started ends within its length.
    sleep(Duration::from_millis(u64::from(LENGTHS.off_ms) + 1000));
    println!("button {}", sim.value(sim::BUTTON)?);
    println!(
        "relay {} {}",
        sim.value(sim::RELAY)?,
        drive("relay-02", false, 5)
    );
    Ok(())
}

/// Low is on: pin 9 of the expander. The wire is ours to play.
fn expander_drive() -> Outcome {
    println!("registers {}", expander::registers()?);
    expander::show(1, 0xfd)?;
    println!("expander {}", drive("relay-03", false, 1));
    println!("registers {}", expander::registers()?);
    println!("expander {}", drive("relay-03", false, 1));
    println!("expander {}", drive("relay-03", true, 0));
    println!("registers {}", expander::registers()?);
    Ok(())
}

/// Told to stop during a press, the holder ends it on time, then itself.
fn stop_in_press(sim: &Sim, holder: &mut Child) -> Outcome {
    let press = std::thread::spawn(|| {
        let order = Order::Press {
            length_ms: LENGTHS.off_ms,
            generation: u64::MAX,
        };
        HolderSocket(SOCKET.into()).ask("pwr-01", order).is_ok()
    });
    wait_for("a press", || {
        sim.value(sim::BUTTON).is_ok_and(|value| value == "0")
    })?;
    kill_process(pid(holder), Signal::TERM)?;
    println!("holder-exit {:?}", holder.wait()?.code());
    println!("answered {}", press.join().unwrap_or(false));
    Ok(())
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn seconds() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn wait_for(what: &str, ready: impl Fn() -> bool) -> Outcome {
    let start = Instant::now();
    while !ready() {
        if start.elapsed() > PATIENCE {
            return Err(format!("{what} did not come").into());
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}
