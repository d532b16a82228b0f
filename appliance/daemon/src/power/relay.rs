//! A relay (or any on/off line) in a sled's supply, on an embedded-hal pin.
//!
//! It drives its pin only when told to, and then only when the level is not
//! known to be right. It never pulses and never touches the pin when made or
//! dropped. A closed relay is never off, at most dark: a machine that turned
//! itself off starts again when it likes, and only an open relay can give it its
//! next edge.
//!
//! Linux guarantees a line's level only while its file descriptor is
//! open (GPIO v2 uAPI), so whoever owns the pin must outlive restarts.

use core::fmt;

use embedded_hal::digital::{OutputPin, StatefulOutputPin};

use super::sense::{Active, NoSense, SenseLine};
use super::switch::{Error, ErrorKind, ErrorType, Power, PowerSwitch, Sensed, Switched};

/// An error of a relay with pin error `P` and sense error `S`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayError<P, S> {
    /// The pin could not be driven, or its level not adopted.
    Drive(P),
    /// The sense line could not be read.
    Sense(S),
}

impl<P: fmt::Debug, S: fmt::Debug> Error for RelayError<P, S> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Drive(_) => ErrorKind::Drive,
            Self::Sense(_) => ErrorKind::Sense,
        }
    }
}

/// A relay on an output pin.
#[derive(Debug)]
pub struct Relay<P, S = NoSense> {
    pin: P,
    active: Active,
    sense: S,
    commanded: Option<Power>,
    /// Whether it is closed, or a failed command may have closed it.
    closed: bool,
}

impl<P: OutputPin, S: SenseLine> Relay<P, S> {
    /// A relay that closes at level `active` and that nobody has driven yet, so
    /// it is open; the first command drives the pin in any case. Moves nothing
    /// now.
    pub fn new(pin: P, active: Active, sense: S) -> Self {
        Self {
            pin,
            active,
            sense,
            commanded: None,
            closed: false,
        }
    }

    /// A relay whose pin can tell its level, which is taken as commanded.
    /// Moves nothing now.
    ///
    /// # Errors
    /// When the pin cannot tell.
    pub fn adopt(mut pin: P, active: Active, sense: S) -> Result<Self, P::Error>
    where
        P: StatefulOutputPin,
    {
        let on = active.is_on(pin.is_set_high()?);
        let commanded = Some(if on { Power::On } else { Power::Off });
        Ok(Self {
            pin,
            active,
            sense,
            commanded,
            closed: on,
        })
    }
}

impl<P: OutputPin, S: SenseLine> ErrorType for Relay<P, S> {
    type Error = RelayError<P::Error, S::Error>;
}

impl<P: OutputPin, S: SenseLine> PowerSwitch for Relay<P, S> {
    fn set_power(&mut self, power: Power) -> Result<Switched, Self::Error> {
        if self.commanded == Some(power) {
            return Ok(Switched::AlreadySo);
        }
        // Unknown until the pin has said yes: an error may come after the
        // level has changed.
        self.commanded = None;
        self.closed |= power == Power::On;
        self.pin
            .set_state(self.active.level(power))
            .map_err(RelayError::Drive)?;
        self.commanded = Some(power);
        self.closed = power == Power::On;
        Ok(Switched::Commanded)
    }

    fn commanded(&self) -> Option<Power> {
        self.commanded
    }

    fn sense(&mut self) -> Result<Sensed, Self::Error> {
        let sensed = self.sense.sense().map_err(RelayError::Sense)?;
        Ok(match sensed {
            Sensed::Off if self.closed => Sensed::Dark,
            Sensed::On | Sensed::Off | Sensed::Dark | Sensed::Unknown => sensed,
        })
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    use super::super::sense::SensePin;
    use super::*;

    /// Carries out `commands`; the pin must see exactly `levels`, from before
    /// the relay is made until after it is dropped.
    fn check(active: Active, commands: &[Power], levels: &[State]) {
        let expected: Vec<_> = levels
            .iter()
            .map(|level| Transaction::set(*level))
            .collect();
        let mut pin = Mock::new(&expected);
        let mut relay = Relay::new(pin.clone(), active, NoSense);
        for command in commands {
            relay.set_power(*command).unwrap();
            assert_eq!(relay.commanded(), Some(*command));
            assert_eq!(relay.sense(), Ok(Sensed::Unknown));
        }
        drop(relay);
        pin.done();
    }

    #[test]
    fn only_changes_make_edges() {
        use Power::{Off, On};
        use State::{High, Low};
        check(Active::High, &[], &[]);
        check(Active::High, &[On], &[High]);
        check(Active::High, &[Off], &[Low]);
        check(Active::High, &[On, On, Off, Off, On], &[High, Low, High]);
        check(Active::Low, &[On, On, Off], &[Low, High]);
    }

    #[test]
    fn an_adopted_level_is_kept() {
        let check = |active, high: bool, expect: Power| {
            let level = if high { State::High } else { State::Low };
            let mut pin = Mock::new(&[Transaction::get_state(level)]);
            let mut relay = Relay::adopt(pin.clone(), active, NoSense).unwrap();
            assert_eq!(relay.commanded(), Some(expect));
            relay.set_power(expect).unwrap();
            pin.done();
        };
        check(Active::High, true, Power::On);
        check(Active::High, false, Power::Off);
        check(Active::Low, true, Power::Off);
        check(Active::Low, false, Power::On);
    }

    #[test]
    fn off_is_sensed_behind_an_open_relay_only() {
        use Power::{Off, On};
        let check = |active, commanded: Option<Power>, level, expect| {
            let mut sense = Mock::new(&[Transaction::get(level)]);
            let edges = commanded.map(|power| match power {
                On => Transaction::set(State::High),
                Off => Transaction::set(State::Low),
            });
            let mut pin = Mock::new(edges.as_slice());
            let line = SensePin::new(sense.clone(), active);
            let mut relay = Relay::new(pin.clone(), Active::High, line);
            if let Some(power) = commanded {
                relay.set_power(power).unwrap();
            }
            assert_eq!(relay.sense(), Ok(expect), "{active:?} {commanded:?}");
            sense.done();
            pin.done();
        };
        for commanded in [None, Some(On), Some(Off)] {
            check(Active::High, commanded, State::High, Sensed::On);
            check(Active::Low, commanded, State::Low, Sensed::On);
        }
        for commanded in [None, Some(Off)] {
            check(Active::High, commanded, State::Low, Sensed::Off);
            check(Active::Low, commanded, State::High, Sensed::Off);
        }
        check(Active::High, Some(On), State::Low, Sensed::Dark);
        check(Active::Low, Some(On), State::High, Sensed::Dark);
    }

    /// The machine turns itself off, as its power LED shows; the relay is still
    /// closed. It is off once the relay is open, and its next start is an edge.
    #[test]
    fn a_machine_that_turned_itself_off_starts_again() {
        use Sensed::{Dark, Off, On};
        use State::{High, Low};
        let mut sense = Mock::new(&[Low, High, Low, Low, High].map(Transaction::get));
        let mut pin = Mock::new(&[High, Low, High].map(Transaction::set));
        let line = SensePin::new(sense.clone(), Active::High);
        let mut relay = Relay::new(pin.clone(), Active::High, line);
        assert_eq!(relay.sense(), Ok(Off));
        assert_eq!(relay.set_power(Power::On), Ok(Switched::Commanded));
        assert_eq!([relay.sense(), relay.sense()], [Ok(On), Ok(Dark)]);
        assert_eq!(relay.set_power(Power::Off), Ok(Switched::Commanded));
        assert_eq!(relay.sense(), Ok(Off));
        assert_eq!(relay.set_power(Power::On), Ok(Switched::Commanded));
        assert_eq!(relay.sense(), Ok(On));
        sense.done();
        pin.done();
    }

    #[test]
    fn an_adopted_closed_relay_is_not_off() {
        let check = |level, expect| {
            let mut sense = Mock::new(&[Transaction::get(State::Low)]);
            let mut pin = Mock::new(&[Transaction::get_state(level)]);
            let line = SensePin::new(sense.clone(), Active::High);
            let mut relay = Relay::adopt(pin.clone(), Active::High, line).unwrap();
            assert_eq!(relay.sense(), Ok(expect));
            sense.done();
            pin.done();
        };
        check(State::High, Sensed::Dark);
        check(State::Low, Sensed::Off);
    }

    #[test]
    fn a_failed_command_is_unknown_and_tried_again() {
        let error = MockError::Io(std::io::ErrorKind::Other);
        let mut pin = Mock::new(&[
            Transaction::set(State::High),
            Transaction::set(State::Low).with_error(error.clone()),
            Transaction::set(State::High),
        ]);
        let mut relay = Relay::new(pin.clone(), Active::High, NoSense);
        relay.set_power(Power::On).unwrap();
        let failed = relay.set_power(Power::Off).unwrap_err();
        assert_eq!(failed, RelayError::Drive(error));
        assert_eq!(failed.kind(), ErrorKind::Drive);
        assert_eq!(relay.commanded(), None);
        relay.set_power(Power::On).unwrap();
        pin.done();
    }

    #[test]
    fn what_a_failed_command_may_have_closed_is_not_off() {
        let error = MockError::Io(std::io::ErrorKind::Other);
        let mut sense = Mock::new(&[State::Low, State::Low].map(Transaction::get));
        let mut pin = Mock::new(&[
            Transaction::set(State::High).with_error(error),
            Transaction::set(State::Low),
        ]);
        let line = SensePin::new(sense.clone(), Active::High);
        let mut relay = Relay::new(pin.clone(), Active::High, line);
        relay.set_power(Power::On).unwrap_err();
        assert_eq!(relay.sense(), Ok(Sensed::Dark));
        relay.set_power(Power::Off).unwrap();
        assert_eq!(relay.sense(), Ok(Sensed::Off));
        sense.done();
        pin.done();
    }
}
