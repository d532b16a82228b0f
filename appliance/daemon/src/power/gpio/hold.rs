//! The holder's lines: what may move them, and when. Blocking, on embedded-hal
//! pins; it knows no socket and no process.
//!
//! A level moves only for an order of the newest claim, and only when it is
//! not so already. A press that began ends on time: nothing that happens to
//! whoever asked for it shortens or lengthens it. Taking lines over moves
//! nothing, but for one case: a button that a killed holder left pressed is
//! let go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin, PinState};

use super::lines::{LineSpec, Usage};
use super::wire::{Answer, LastPress, Order, Refusal, Request, Standing};
use crate::power::button::{Contact, LONGEST_PRESS_MS, PinContact};
use crate::power::switch::Power;

/// A line that was taken over as it was.
pub trait HoldPin: OutputPin + InputPin {
    /// The level that it is driven to; `None` when it is an input, or when a
    /// failure left that unknown. What it reads is another matter.
    ///
    /// # Errors
    /// When the pin cannot tell.
    fn driven_to(&mut self) -> Result<Option<PinState>, Self::Error>;
}

/// Time that passes while a press is held.
pub trait Clock: DelayNs + Clone + Send + Sync {
    /// Since some moment in the past.
    fn now(&self) -> Duration;
}

/// Lines by name.
pub struct Hold<P, C> {
    lines: BTreeMap<String, Line<P>>,
    clock: C,
    winding_down: AtomicBool,
    closing: AtomicBool,
}

struct Line<P> {
    spec: LineSpec,
    state: Mutex<State<P>>,
    /// When the press that is under way ends, in milliseconds of the clock.
    pressed_until: AtomicU64,
}

struct State<P> {
    pin: P,
    newest: Option<u64>,
    last_press: Option<Ended>,
}

struct Ended {
    length_ms: u32,
    generation: u64,
    at: Duration,
}

/// What letting a line go means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// A latching relay keeps its level.
    Kept(String),
    /// A plain relay that is closed may open: its sled may lose its power.
    Dropped(String),
    /// Nothing hangs on it: an open relay, a button at rest, an input.
    Idle(String),
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(line) => write!(f, "line {line} is a latching relay and keeps its level"),
            Self::Dropped(line) => write!(
                f,
                "line {line} is a plain relay that is on: nothing holds its level from now on, its \
                 sled may lose its power"
            ),
            Self::Idle(line) => write!(f, "line {line} is at rest"),
        }
    }
}

impl<P: HoldPin, C: Clock> Hold<P, C> {
    /// Takes lines over as they are.
    ///
    /// # Errors
    /// When a pin cannot be read, or a button that is held cannot be let go.
    pub fn adopt(lines: Vec<(LineSpec, P)>, clock: C) -> Result<Self, P::Error> {
        let mut map = BTreeMap::new();
        for (spec, mut pin) in lines {
            let pressed = spec.active.level(Power::On);
            if spec.usage == Usage::Button && pin.driven_to()? == Some(pressed) {
                tracing::warn!(line = %spec.name, "a holder was killed while it pressed this button: it is let go");
                PinContact::new(&mut pin, clock.clone(), spec.active).let_go()?;
            }
            let line = Line {
                spec,
                state: Mutex::new(State {
                    pin,
                    newest: None,
                    last_press: None,
                }),
                pressed_until: AtomicU64::new(0),
            };
            map.insert(line.spec.name.clone(), line);
        }
        Ok(Self {
            lines: map,
            clock,
            winding_down: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        })
    }

    /// Carries an order out. Takes as long as the press it asks for.
    pub fn answer(&self, request: &Request) -> Answer {
        match self.carry_out(request) {
            Ok(standing) => Answer::Done(standing),
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    fn carry_out(&self, request: &Request) -> Result<Standing, Refusal> {
        let line = self.lines.get(&request.line).ok_or(Refusal::UnknownLine)?;
        let mut state = self.enter(line)?;
        match request.order {
            Order::Look => {}
            Order::Drive { high, generation } => {
                let Usage::Relay { latching } = line.spec.usage else {
                    return Err(wrong_use(&line.spec));
                };
                let turns_on = line.spec.active.is_on(high);
                if turns_on && !latching && self.winding_down.load(Ordering::Acquire) {
                    return Err(Refusal::Stopping);
                }
                admit(&mut state, generation)?;
                drive(&mut state.pin, high)?;
            }
            Order::Press {
                length_ms,
                generation,
            } => {
                if line.spec.usage != Usage::Button {
                    return Err(wrong_use(&line.spec));
                }
                if !(1..=LONGEST_PRESS_MS).contains(&length_ms) {
                    return Err(Refusal::Length {
                        longest_ms: LONGEST_PRESS_MS,
                    });
                }
                admit(&mut state, generation)?;
                self.press(line, &mut state, length_ms, generation)?;
            }
        }
        self.standing(&mut state)
    }

    /// The line, unless somebody moves it. Nobody ever waits here, so that a
    /// press delays no answer.
    fn enter<'a>(&self, line: &'a Line<P>) -> Result<MutexGuard<'a, State<P>>, Refusal> {
        let state = match line.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let until = line.pressed_until.load(Ordering::Acquire);
                let left_ms = until.saturating_sub(milliseconds(self.clock.now())).max(1);
                return Err(Refusal::Busy { left_ms });
            }
        };
        // Looked at under the line's lock, which closing takes after it said so.
        if self.closing.load(Ordering::Acquire) {
            return Err(Refusal::Stopping);
        }
        Ok(state)
    }

    fn press(
        &self,
        line: &Line<P>,
        state: &mut State<P>,
        length_ms: u32,
        generation: u64,
    ) -> Result<(), Refusal> {
        let until = milliseconds(self.clock.now()).saturating_add(length_ms.into());
        line.pressed_until.store(until, Ordering::Release);
        let pressed =
            PinContact::new(&mut state.pin, self.clock.clone(), line.spec.active).press(length_ms);
        line.pressed_until.store(0, Ordering::Release);
        pressed.map_err(pin_error)?;
        state.last_press = Some(Ended {
            length_ms,
            generation,
            at: self.clock.now(),
        });
        Ok(())
    }

    fn standing(&self, state: &mut State<P>) -> Result<Standing, Refusal> {
        let now = self.clock.now();
        Ok(Standing {
            high: state.pin.is_high().map_err(pin_error)?,
            driven: state.pin.driven_to().map_err(pin_error)?.is_some(),
            last_press: state.last_press.as_ref().map(|press| LastPress {
                length_ms: press.length_ms,
                generation: press.generation,
                ended_ms_ago: milliseconds(now.saturating_sub(press.at)),
            }),
        })
    }

    /// Turns no plain relay on any more, and names those that are on: their
    /// sleds may lose their power when the holder ends.
    pub fn wind_down(&self) -> Vec<String> {
        self.winding_down.store(true, Ordering::Release);
        let plain = Usage::Relay { latching: false };
        let relays = self.lines.values().filter(|line| line.spec.usage == plain);
        let on = relays.filter_map(|line| match farewell(line) {
            Farewell::Dropped(name) => Some(name),
            Farewell::Kept(_) | Farewell::Idle(_) => None,
        });
        on.collect()
    }

    /// Takes no more orders, waits for the presses that are under way, and
    /// says what letting go of each output means. Moves nothing.
    pub fn close(&self) -> Vec<Farewell> {
        self.closing.store(true, Ordering::Release);
        let outputs = self.lines.values();
        outputs
            .filter(|line| !matches!(line.spec.usage, Usage::Sense { .. }))
            .map(farewell)
            .collect()
    }
}

fn farewell<P: HoldPin>(line: &Line<P>) -> Farewell {
    let name = line.spec.name.clone();
    let mut state = line.state.lock().unwrap_or_else(PoisonError::into_inner);
    match line.spec.usage {
        Usage::Relay { latching: true } => Farewell::Kept(name),
        Usage::Relay { latching: false } => {
            // What cannot be read may be on.
            let off = [None, Some(line.spec.active.level(Power::Off))];
            match state.pin.driven_to() {
                Ok(level) if off.contains(&level) => Farewell::Idle(name),
                Ok(_) | Err(_) => Farewell::Dropped(name),
            }
        }
        Usage::Button | Usage::Sense { .. } => Farewell::Idle(name),
    }
}

/// Refuses what is older than an order that was carried out.
fn admit<P>(state: &mut State<P>, generation: u64) -> Result<(), Refusal> {
    match state.newest {
        Some(newest) if generation < newest => Err(Refusal::Stale { generation, newest }),
        _ => {
            state.newest = Some(generation);
            Ok(())
        }
    }
}

fn drive<P: HoldPin>(pin: &mut P, high: bool) -> Result<(), Refusal> {
    let level = PinState::from(high);
    if pin.driven_to().map_err(pin_error)? != Some(level) {
        pin.set_state(level).map_err(pin_error)?;
    }
    if pin.is_high().map_err(pin_error)? != high {
        let message = "the line does not follow: is something else driving it?";
        return Err(Refusal::Pin(message.to_owned()));
    }
    Ok(())
}

fn wrong_use(spec: &LineSpec) -> Refusal {
    Refusal::WrongUse {
        is: spec.usage.name().to_owned(),
    }
}

fn pin_error(error: impl fmt::Debug) -> Refusal {
    let mut text = format!("{error:?}");
    // An answer has a bound.
    text.truncate(text.floor_char_boundary(200));
    Refusal::Pin(text)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
