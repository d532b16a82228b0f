//! A machine's power button, on an embedded-hal pin: a short press turns on, a
//! long one forces off (ACPI's four-second override).
//!
//! A press toggles: pressing the button of a running machine asks it to shut
//! down, and holding that of a machine that is off starts it. So the button is
//! pressed only when sense says that it is needed; without a sense line it is
//! pressed once per wish and nothing is ever proved. Making and dropping a
//! button moves nothing.

use core::fmt;

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;

use super::sense::{Active, NoSense, SenseLine};
use super::switch::{Error, ErrorKind, ErrorType, Power, PowerSwitch, Sensed, Switched};

/// The longest press there is, in milliseconds: no board needs longer.
pub const LONGEST_PRESS_MS: u32 = 15_000;

/// How often letting go is tried, and the pause between.
const LET_GO_TRIES: u32 = 5;
const LET_GO_PAUSE_MS: u32 = 10;

/// How long the button is held, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PressLengths {
    /// To turn on.
    pub on_ms: u32,
    /// To force off. ACPI, "Power Button Override": a machine goes off when its
    /// button is held for more than four seconds.
    pub off_ms: u32,
}

impl Default for PressLengths {
    fn default() -> Self {
        Self {
            on_ms: 200,
            off_ms: 6000,
        }
    }
}

/// Something that can be held and let go.
pub trait Contact {
    /// Its error.
    type Error: fmt::Debug;

    /// Holds it for `length_ms`, then lets it go.
    ///
    /// # Errors
    /// When it could not be moved. It was let go, as far as that was possible.
    fn press(&mut self, length_ms: u32) -> Result<(), Self::Error>;
}

impl<T: Contact + ?Sized> Contact for &mut T {
    type Error = T::Error;

    fn press(&mut self, length_ms: u32) -> Result<(), Self::Error> {
        T::press(self, length_ms)
    }
}

/// A contact on an output pin, timed by `D`.
#[derive(Debug)]
pub struct PinContact<P, D> {
    pin: P,
    delay: D,
    active: Active,
}

impl<P, D> PinContact<P, D> {
    /// A contact that is held at level `active`. Moves nothing now.
    pub fn new(pin: P, delay: D, active: Active) -> Self {
        Self { pin, delay, active }
    }
}

impl<P: OutputPin, D> PinContact<P, D> {
    /// Lets go of what may be held.
    ///
    /// # Errors
    /// When the pin cannot be driven.
    pub fn let_go(&mut self) -> Result<(), P::Error> {
        self.pin.set_state(self.active.level(Power::Off))
    }
}

impl<P: OutputPin, D: DelayNs> Contact for PinContact<P, D> {
    type Error = P::Error;

    fn press(&mut self, length_ms: u32) -> Result<(), P::Error> {
        let held = self.pin.set_state(self.active.level(Power::On));
        if held.is_ok() {
            self.delay.delay_ms(length_ms);
        }
        // After an error too: the pin may have moved before it was reported.
        // A bus that is disturbed for a moment must not make a long press.
        let mut let_go = self.let_go();
        for _ in 1..LET_GO_TRIES {
            if let_go.is_ok() {
                break;
            }
            self.delay.delay_ms(LET_GO_PAUSE_MS);
            let_go = self.let_go();
        }
        held.and(let_go)
    }
}

/// An error of a button with contact error `C` and sense error `S`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ButtonError<C, S> {
    /// The contact could not be pressed.
    Press(C),
    /// The sense line could not be read, so nothing was pressed.
    Sense(S),
}

impl<C: fmt::Debug, S: fmt::Debug> Error for ButtonError<C, S> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Press(_) => ErrorKind::Drive,
            Self::Sense(_) => ErrorKind::Sense,
        }
    }
}

/// A power button.
#[derive(Debug)]
pub struct Button<C, S = NoSense> {
    contact: C,
    sense: S,
    lengths: PressLengths,
    commanded: Option<Power>,
}

impl<C: Contact, S: SenseLine> Button<C, S> {
    /// The button of a machine of which nothing is known. Moves nothing now.
    pub fn new(contact: C, sense: S, lengths: PressLengths) -> Self {
        Self {
            contact,
            sense,
            lengths,
            commanded: None,
        }
    }

    /// The button of a machine for which `commanded` was pressed last.
    #[must_use]
    pub fn adopt(mut self, commanded: Option<Power>) -> Self {
        self.commanded = commanded;
        self
    }
}

impl<C: Contact, S: SenseLine> ErrorType for Button<C, S> {
    type Error = ButtonError<C::Error, S::Error>;
}

impl<C: Contact, S: SenseLine> PowerSwitch for Button<C, S> {
    fn set_power(&mut self, power: Power) -> Result<Switched, Self::Error> {
        let is = match self.sense.sense().map_err(ButtonError::Sense)? {
            Sensed::On => Some(Power::On),
            Sensed::Off | Sensed::Dark => Some(Power::Off),
            Sensed::Unknown => self.commanded,
        };
        if is == Some(power) {
            self.commanded = is;
            return Ok(Switched::AlreadySo);
        }
        // Unknown until the press has ended.
        self.commanded = None;
        let length_ms = match power {
            Power::On => self.lengths.on_ms,
            Power::Off => self.lengths.off_ms,
        };
        self.contact.press(length_ms).map_err(ButtonError::Press)?;
        self.commanded = Some(power);
        Ok(Switched::Commanded)
    }

    fn commanded(&self) -> Option<Power> {
        self.commanded
    }

    fn sense(&mut self) -> Result<Sensed, Self::Error> {
        self.sense.sense().map_err(ButtonError::Sense)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use embedded_hal::digital::{self, PinState};
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};

    use super::super::sense::SensePin;
    use super::*;

    /// Time that only delays move on, in nanoseconds, and what moved when.
    #[derive(Default)]
    struct Bench {
        now_ns: Cell<u64>,
        edges: RefCell<Vec<(u64, PinState)>>,
    }

    struct BenchDelay<'a>(&'a Bench);

    impl DelayNs for BenchDelay<'_> {
        fn delay_ns(&mut self, ns: u32) {
            self.0.now_ns.set(self.0.now_ns.get() + u64::from(ns));
        }
    }

    /// A mock pin whose edges are written down with their time.
    struct BenchPin<'a>(&'a Bench, Mock);

    impl digital::ErrorType for BenchPin<'_> {
        type Error = MockError;
    }

    impl OutputPin for BenchPin<'_> {
        fn set_low(&mut self) -> Result<(), MockError> {
            self.set_state(PinState::Low)
        }

        fn set_high(&mut self) -> Result<(), MockError> {
            self.set_state(PinState::High)
        }

        fn set_state(&mut self, state: PinState) -> Result<(), MockError> {
            let edge = (self.0.now_ns.get(), state);
            self.0.edges.borrow_mut().push(edge);
            self.1.set_state(state)
        }
    }

    const LENGTHS: PressLengths = PressLengths {
        on_ms: 200,
        off_ms: 6000,
    };
    const MS: u64 = 1_000_000;

    /// Carries out `commands`, one second apart, on a machine whose sense line
    /// shows `sensed` at each of them; without any there is no line. `edges`
    /// are the times in ms at which the button must go down and up.
    fn check(active: Active, sensed: &[State], commands: &[Power], edges: &[(u64, u64)]) {
        let (down, up) = (active.level(Power::On), active.level(Power::Off));
        let mut expect = Vec::new();
        let mut moves = Vec::new();
        for (from, to) in edges {
            for (at, level) in [(from, down), (to, up)] {
                expect.push((at * MS, level));
                moves.push(Transaction::set(match level {
                    PinState::High => State::High,
                    PinState::Low => State::Low,
                }));
            }
        }
        let reads: Vec<_> = sensed.iter().map(|s| Transaction::get(*s)).collect();
        let (mut pin, mut sense) = (Mock::new(&moves), Mock::new(&reads));
        let bench = Bench::default();
        let contact = PinContact::new(BenchPin(&bench, pin.clone()), BenchDelay(&bench), active);
        let line = SensePin::new(sense.clone(), Active::High);
        let mut button: Box<dyn FnMut(Power) -> Switched> = if sensed.is_empty() {
            let mut button = Button::new(contact, NoSense, LENGTHS);
            Box::new(move |power| button.set_power(power).unwrap())
        } else {
            let mut button = Button::new(contact, line, LENGTHS);
            Box::new(move |power| button.set_power(power).unwrap())
        };
        for command in commands {
            let before = bench.edges.borrow().len();
            let said = button(*command);
            let moved = bench.edges.borrow().len() > before;
            assert_eq!(said == Switched::Commanded, moved);
            BenchDelay(&bench).delay_ms(1000);
        }
        drop(button);
        assert_eq!(*bench.edges.borrow(), expect);
        pin.done();
        sense.done();
    }

    #[test]
    fn presses_have_exact_edges_and_times() {
        use Power::{Off, On};
        use State::{High, Low};
        for active in [Active::High, Active::Low] {
            check(active, &[], &[], &[]);
            check(active, &[Low], &[On], &[(0, 200)]);
            check(active, &[High], &[Off], &[(0, 6000)]);
            check(active, &[High], &[On], &[]);
            check(active, &[Low], &[Off], &[]);
            check(
                active,
                &[Low, High, High, Low],
                &[On, On, Off, Off],
                &[(0, 200), (2200, 8200)],
            );
            // It did not take: sense decides, not what was commanded.
            check(active, &[Low, Low], &[On, On], &[(0, 200), (1200, 1400)]);
        }
    }

    #[test]
    fn without_sense_a_wish_is_pressed_once() {
        use Power::{Off, On};
        check(Active::Low, &[], &[On, On], &[(0, 200)]);
        let edges = [(0, 200), (1200, 7200), (9200, 9400)];
        check(Active::Low, &[], &[On, Off, Off, On], &edges);
    }

    #[test]
    fn an_adopted_button_is_not_pressed_again() {
        let mut pin = Mock::new(&[]);
        let bench = Bench::default();
        let pressed = BenchPin(&bench, pin.clone());
        let contact = PinContact::new(pressed, BenchDelay(&bench), Active::Low);
        let mut button = Button::new(contact, NoSense, LENGTHS).adopt(Some(Power::On));
        assert_eq!(button.set_power(Power::On), Ok(Switched::AlreadySo));
        pin.done();
    }

    #[test]
    fn an_unreadable_sense_line_keeps_fingers_off() {
        let error = MockError::Io(std::io::ErrorKind::Other);
        let mut sense = Mock::new(&[Transaction::get(State::Low).with_error(error.clone())]);
        let mut pin = Mock::new(&[]);
        let bench = Bench::default();
        let pressed = BenchPin(&bench, pin.clone());
        let contact = PinContact::new(pressed, BenchDelay(&bench), Active::High);
        let line = SensePin::new(sense.clone(), Active::High);
        let mut button = Button::new(contact, line, LENGTHS);
        let failed = button.set_power(Power::On).unwrap_err();
        assert_eq!(failed, ButtonError::Sense(error));
        assert_eq!(failed.kind(), ErrorKind::Sense);
        pin.done();
        sense.done();
    }

    #[test]
    fn a_press_that_fails_is_let_go_and_unknown() {
        let error = MockError::Io(std::io::ErrorKind::Other);
        let mut pin = Mock::new(&[
            Transaction::set(State::High).with_error(error.clone()),
            Transaction::set(State::Low).with_error(error.clone()),
            Transaction::set(State::Low),
        ]);
        let bench = Bench::default();
        let pressed = BenchPin(&bench, pin.clone());
        let contact = PinContact::new(pressed, BenchDelay(&bench), Active::High);
        let mut button = Button::new(contact, NoSense, LENGTHS);
        let failed = button.set_power(Power::On).unwrap_err();
        assert_eq!(failed, ButtonError::Press(error));
        assert_eq!(button.commanded(), None);
        assert_eq!(bench.now_ns.get(), 10 * MS, "the pause before the next try");
        pin.done();
    }
}
