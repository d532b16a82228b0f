//! Relays and buttons behind lines that the holder owns.
//!
//! Nothing is remembered here: how a line stands and when it was pressed is
//! asked anew each time, so a daemon that starts in the middle of a press finds
//! out and adds no edge. After each command the sense line must follow, but
//! where a supply is given to a machine that something else wakes.

use std::time::Duration;

use embedded_hal::digital::{self, OutputPin, PinState, StatefulOutputPin};

use super::hold::Clock;
use super::wire::{LastPress, Order, Refusal, Standing};
use crate::power::button::{Button, Contact, LONGEST_PRESS_MS, PressLengths};
use crate::power::relay::Relay;
use crate::power::sense::{Active, SenseLine};
use crate::power::switch::{ErrorType, Power, PowerSwitch, Sensed, Switched};
pub use holder::{HeldError, Holder, HolderSocket};

mod holder;

/// How long a busy line is waited for: a press has a bound.
const BUSY_WAIT: Duration = Duration::from_millis(LONGEST_PRESS_MS as u64 + 2000);
/// How often the sense line is looked at while it should follow, in ms.
const LOOK_PAUSE_MS: u32 = 100;

/// How a sled's held lines are wired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldConfig {
    /// What hangs on the line that switches.
    pub kind: HeldKind,
    /// The line that switches.
    pub line: String,
    /// Its level for on, or for pressed.
    pub active: Active,
    /// The line that shows power, and its level for "has power".
    pub sense: Option<(String, Active)>,
    /// How long the sense line may take to follow, in milliseconds.
    pub settle_ms: u32,
}

/// What hangs on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldKind {
    /// A relay: its machine starts when it closes.
    Relay,
    /// A relay in the supply of a machine that sleeps behind it until something
    /// else wakes it.
    Supply,
    /// A button, and how long it is held.
    Button(PressLengths),
}

/// A sense line alone, of a machine that something else turns on and that turns
/// itself off.
pub struct SenseOnly<H, C> {
    line: (String, Active),
    holder: Patient<H, C>,
}

impl<H: Holder, C: Clock> SenseOnly<H, C> {
    /// The machine that `line` shows; its level for "has power" is beside it.
    pub fn new(line: (String, Active), holder: H, clock: C) -> Self {
        Self {
            line,
            holder: Patient { holder, clock },
        }
    }
}

impl<H: Holder, C: Clock> ErrorType for SenseOnly<H, C> {
    type Error = HeldError;
}

impl<H: Holder, C: Clock> PowerSwitch for SenseOnly<H, C> {
    /// The supply is always there, and nothing cuts it.
    fn set_power(&mut self, power: Power) -> Result<Switched, HeldError> {
        if power == Power::Off && self.sense()? != Sensed::Off {
            let line = self.line.0.clone();
            return Err(HeldError::NoCut { line });
        }
        Ok(Switched::AlreadySo)
    }

    fn commanded(&self) -> Option<Power> {
        None
    }

    fn sense(&mut self) -> Result<Sensed, HeldError> {
        let (holder, line) = (&self.holder, Some(&self.line));
        HeldSense { holder, line }.sense()
    }
}

/// A relay or button behind held lines.
pub struct HeldSwitch<H, C> {
    config: HeldConfig,
    holder: Patient<H, C>,
    generation: u64,
}

/// A relay as it stands when it is asked for.
type HeldRelay<'a, H, C> = Relay<HeldPin<'a, H, C>, HeldSense<'a, H, C>>;

/// A holder whose busy lines are waited for.
struct Patient<H, C> {
    holder: H,
    clock: C,
}

impl<H: Holder, C: Clock> Patient<H, C> {
    fn ask(&self, line: &str, order: Order) -> Result<Standing, HeldError> {
        let mut clock = self.clock.clone();
        let end = clock.now() + BUSY_WAIT;
        loop {
            match self.holder.ask(line, order) {
                Err(HeldError::Refused {
                    refusal: Refusal::Busy { left_ms },
                    ..
                }) if clock.now() < end => {
                    let left = u32::try_from(left_ms).unwrap_or(LONGEST_PRESS_MS);
                    clock.delay_ms(left.clamp(1, LONGEST_PRESS_MS).saturating_add(5));
                }
                other => return other,
            }
        }
    }
}

impl<H: Holder, C: Clock> HeldSwitch<H, C> {
    /// A switch that has asked for nothing yet.
    pub fn new(config: HeldConfig, holder: H, clock: C) -> Self {
        Self {
            config,
            holder: Patient { holder, clock },
            generation: 0,
        }
    }

    fn relay(&self) -> Result<HeldRelay<'_, H, C>, HeldError> {
        let standing = self.holder.ask(&self.config.line, Order::Look)?;
        let pin = HeldPin {
            holder: &self.holder,
            line: &self.config.line,
            generation: self.generation,
            high: standing.high,
        };
        let active = self.config.active;
        if standing.driven {
            Relay::adopt(pin, active, self.sense_line())
        } else {
            Ok(Relay::new(pin, active, self.sense_line()))
        }
    }

    fn press_button(&mut self, power: Power, lengths: PressLengths) -> Result<Switched, HeldError> {
        let last = self.holder.ask(&self.config.line, Order::Look)?.last_press;
        if let Some(press) = last {
            // Whoever made that press may not have seen it take effect: an
            // earlier life of this daemon, perhaps. Until it has, the sense
            // line tells of the time before.
            let left = u64::from(self.config.settle_ms).saturating_sub(press.ended_ms_ago);
            let expected = wish_of(press, lengths).unwrap_or(power);
            self.follows(expected, left)?;
        }
        let ours = last.filter(|press| press.generation == self.generation);
        let commanded = ours.and_then(|press| wish_of(press, lengths));
        let contact = HeldContact {
            holder: &self.holder,
            line: &self.config.line,
            generation: self.generation,
        };
        let mut button = Button::new(contact, self.sense_line(), lengths).adopt(commanded);
        Ok(button.set_power(power)?)
    }

    /// Whether the sense line says `power` within `wait_ms`; `None` without one.
    fn follows(&self, power: Power, wait_ms: u64) -> Result<Option<bool>, HeldError> {
        let wanted = match power {
            Power::On => Sensed::On,
            Power::Off => Sensed::Off,
        };
        let mut clock = self.holder.clock.clone();
        let end = clock.now() + Duration::from_millis(wait_ms);
        loop {
            match self.sense_line().sense()? {
                Sensed::Unknown => return Ok(None),
                sensed if sensed == wanted => return Ok(Some(true)),
                _ if clock.now() >= end => return Ok(Some(false)),
                _ => clock.delay_ms(LOOK_PAUSE_MS),
            }
        }
    }

    fn sense_line(&self) -> HeldSense<'_, H, C> {
        HeldSense {
            holder: &self.holder,
            line: self.config.sense.as_ref(),
        }
    }
}

impl<H: Holder, C: Clock> ErrorType for HeldSwitch<H, C> {
    type Error = HeldError;
}

impl<H: Holder, C: Clock> PowerSwitch for HeldSwitch<H, C> {
    fn set_power(&mut self, power: Power) -> Result<Switched, HeldError> {
        let switched = match self.config.kind {
            HeldKind::Relay | HeldKind::Supply => self.relay()?.set_power(power)?,
            HeldKind::Button(lengths) => self.press_button(power, lengths)?,
        };
        if self.config.kind == HeldKind::Supply && power == Power::On {
            // The machine is not to follow yet.
            return Ok(switched);
        }
        let wait_ms = self.config.settle_ms.into();
        match (self.follows(power, wait_ms)?, &self.config.sense) {
            (Some(false), Some((line, _))) => Err(HeldError::NotFollowed {
                line: line.clone(),
                power,
                after_ms: wait_ms,
            }),
            _ => Ok(switched),
        }
    }

    fn commanded(&self) -> Option<Power> {
        None
    }

    fn sense(&mut self) -> Result<Sensed, HeldError> {
        match self.config.kind {
            HeldKind::Relay => Ok(self.relay()?.sense()?),
            HeldKind::Supply | HeldKind::Button(_) => self.sense_line().sense(),
        }
    }

    fn claim(&mut self, generation: u64) {
        self.generation = generation;
    }
}

/// What a press was for.
fn wish_of(press: LastPress, lengths: PressLengths) -> Option<Power> {
    match press.length_ms {
        length if length == lengths.on_ms => Some(Power::On),
        length if length == lengths.off_ms => Some(Power::Off),
        _ => None,
    }
}

struct HeldSense<'a, H, C> {
    holder: &'a Patient<H, C>,
    line: Option<&'a (String, Active)>,
}

impl<H: Holder, C: Clock> SenseLine for HeldSense<'_, H, C> {
    type Error = HeldError;

    fn sense(&mut self) -> Result<Sensed, HeldError> {
        let Some((line, active)) = self.line else {
            return Ok(Sensed::Unknown);
        };
        let high = self.holder.ask(line, Order::Look)?.high;
        Ok(if active.is_on(high) {
            Sensed::On
        } else {
            Sensed::Off
        })
    }
}

struct HeldPin<'a, H, C> {
    holder: &'a Patient<H, C>,
    line: &'a str,
    generation: u64,
    high: bool,
}

impl<H, C> digital::ErrorType for HeldPin<'_, H, C> {
    type Error = HeldError;
}

impl<H: Holder, C: Clock> OutputPin for HeldPin<'_, H, C> {
    fn set_low(&mut self) -> Result<(), HeldError> {
        self.set_state(PinState::Low)
    }

    fn set_high(&mut self) -> Result<(), HeldError> {
        self.set_state(PinState::High)
    }

    fn set_state(&mut self, state: PinState) -> Result<(), HeldError> {
        let order = Order::Drive {
            high: state == PinState::High,
            generation: self.generation,
        };
        self.high = self.holder.ask(self.line, order)?.high;
        Ok(())
    }
}

impl<H: Holder, C: Clock> StatefulOutputPin for HeldPin<'_, H, C> {
    fn is_set_high(&mut self) -> Result<bool, HeldError> {
        Ok(self.high)
    }

    fn is_set_low(&mut self) -> Result<bool, HeldError> {
        Ok(!self.high)
    }
}

struct HeldContact<'a, H, C> {
    holder: &'a Patient<H, C>,
    line: &'a str,
    generation: u64,
}

impl<H: Holder, C: Clock> Contact for HeldContact<'_, H, C> {
    type Error = HeldError;

    fn press(&mut self, length_ms: u32) -> Result<(), HeldError> {
        let order = Order::Press {
            length_ms,
            generation: self.generation,
        };
        self.holder.ask(self.line, order).map(|_| ())
    }
}

#[cfg(test)]
mod tests;
