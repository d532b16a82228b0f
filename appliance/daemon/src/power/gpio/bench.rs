//! Pins and a clock for tests: time moves only when a test or a delay says so,
//! and every edge is written down with its time.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{ErrorType, InputPin, OutputPin, PinState};

use super::held::{HeldError, Holder};
use super::hold::{Clock, Hold, HoldPin};
use super::lines::{LineSpec, Place, Pull, Usage};
use super::pins::PinError;
use super::wire::{Answer, Order, Request, Standing, VERSION};
use crate::power::sense::Active;

/// A clock. By hand, delays wait until a test moves time on.
#[derive(Clone)]
pub(in crate::power) struct BenchClock(Arc<(Mutex<Time>, Condvar)>);

struct Time {
    now_ms: u64,
    by_hand: bool,
    sleepers: usize,
}

impl BenchClock {
    pub(in crate::power) fn new(by_hand: bool) -> Self {
        let time = Time {
            now_ms: 0,
            by_hand,
            sleepers: 0,
        };
        Self(Arc::new((Mutex::new(time), Condvar::new())))
    }

    pub(in crate::power) fn now_ms(&self) -> u64 {
        self.0.0.lock().unwrap().now_ms
    }

    pub(in crate::power) fn advance_to(&self, now_ms: u64) {
        self.0.0.lock().unwrap().now_ms = now_ms;
        self.0.1.notify_all();
    }

    pub(in crate::power) fn wait_for_sleepers(&self, count: usize) {
        let time = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(time, |time| time.sleepers != count));
    }
}

impl DelayNs for BenchClock {
    fn delay_ns(&mut self, ns: u32) {
        self.delay_ms(ns.div_ceil(1_000_000));
    }

    fn delay_ms(&mut self, ms: u32) {
        let (time, moved) = &*self.0;
        let mut time = time.lock().unwrap();
        let until = time.now_ms + u64::from(ms);
        if !time.by_hand {
            time.now_ms = until;
            return;
        }
        time.sleepers += 1;
        moved.notify_all();
        let mut time = moved.wait_while(time, |time| time.now_ms < until).unwrap();
        time.sleepers -= 1;
        moved.notify_all();
    }
}

impl Clock for BenchClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms())
    }
}

/// A line that can be looked at from outside.
#[derive(Clone)]
pub(in crate::power) struct BenchPin {
    clock: BenchClock,
    wire: Arc<Mutex<Wire>>,
}

/// A level from outside, asked for when it is read.
type Outside = Box<dyn FnMut() -> bool + Send>;

#[derive(Default)]
struct Wire {
    driven_to: Option<PinState>,
    high: bool,
    /// Does not follow what drives it.
    stuck: bool,
    /// Levels that come from outside, each from its time on.
    script: Vec<(u64, bool)>,
    outside: Option<Outside>,
    edges: Vec<(u64, bool)>,
}

impl BenchPin {
    fn new(clock: &BenchClock) -> Self {
        Self {
            clock: clock.clone(),
            wire: Arc::default(),
        }
    }

    pub(in crate::power) fn found(&self, high: bool) -> &Self {
        let mut wire = self.wire.lock().unwrap();
        (wire.driven_to, wire.high) = (Some(PinState::from(high)), high);
        drop(wire);
        self
    }

    pub(in crate::power) fn stuck(&self) {
        self.wire.lock().unwrap().stuck = true;
    }

    pub(in crate::power) fn shows(&self, script: &[(u64, bool)]) {
        self.wire.lock().unwrap().script = script.to_vec();
    }

    pub(in crate::power) fn follows(&self, outside: impl FnMut() -> bool + Send + 'static) {
        self.wire.lock().unwrap().outside = Some(Box::new(outside));
    }

    /// What was driven, and when in ms.
    pub(in crate::power) fn edges(&self) -> Vec<(u64, bool)> {
        self.wire.lock().unwrap().edges.clone()
    }
}

impl ErrorType for BenchPin {
    type Error = PinError;
}

impl OutputPin for BenchPin {
    fn set_low(&mut self) -> Result<(), PinError> {
        self.set_state(PinState::Low)
    }

    fn set_high(&mut self) -> Result<(), PinError> {
        self.set_state(PinState::High)
    }

    fn set_state(&mut self, state: PinState) -> Result<(), PinError> {
        let now_ms = self.clock.now_ms();
        let high = state == PinState::High;
        let mut wire = self.wire.lock().unwrap();
        wire.edges.push((now_ms, high));
        wire.driven_to = Some(state);
        if !wire.stuck {
            wire.high = high;
        }
        Ok(())
    }
}

impl InputPin for BenchPin {
    fn is_high(&mut self) -> Result<bool, PinError> {
        let now_ms = self.clock.now_ms();
        let mut wire = self.wire.lock().unwrap();
        if let Some(outside) = &mut wire.outside {
            return Ok(outside());
        }
        let shown = wire.script.iter().rev().find(|(from, _)| *from <= now_ms);
        Ok(shown.map_or(wire.high, |(_, high)| *high))
    }

    fn is_low(&mut self) -> Result<bool, PinError> {
        self.is_high().map(|high| !high)
    }
}

impl HoldPin for BenchPin {
    fn driven_to(&mut self) -> Result<Option<PinState>, PinError> {
        Ok(self.wire.lock().unwrap().driven_to)
    }
}

/// A plain relay, a latching one, a button and a sense line.
pub(in crate::power) struct Bench {
    pub(in crate::power) clock: BenchClock,
    pins: BTreeMap<&'static str, BenchPin>,
}

impl Bench {
    pub(in crate::power) fn new(by_hand: bool) -> Self {
        let clock = BenchClock::new(by_hand);
        let names = ["relay", "latch", "button", "sense"];
        let pins = names.map(|name| (name, BenchPin::new(&clock))).into();
        Self { clock, pins }
    }

    pub(in crate::power) fn pin(&self, name: &str) -> &BenchPin {
        &self.pins[name]
    }

    /// A holder's life on these lines. The button is pressed by a low level.
    pub(in crate::power) fn hold(&self) -> Hold<BenchPin, BenchClock> {
        let lines = self.pins.iter().enumerate().map(|(offset, (name, pin))| {
            let (usage, active) = match *name {
                "relay" => (Usage::Relay { latching: false }, Active::High),
                "latch" => (Usage::Relay { latching: true }, Active::High),
                "button" => (Usage::Button, Active::Low),
                _ => (Usage::Sense { pull: Pull::Keep }, Active::High),
            };
            let place = Place::Chip {
                chip: "bench".to_owned(),
                offset: u32::try_from(offset).unwrap(),
            };
            let spec = LineSpec {
                name: (*name).to_owned(),
                place,
                usage,
                active,
            };
            (spec, pin.clone())
        });
        Hold::adopt(lines.collect(), self.clock.clone()).unwrap()
    }
}

/// A holder without a socket between. It notes what it is told to do.
#[derive(Clone)]
pub(in crate::power) struct Direct {
    hold: Arc<Hold<BenchPin, BenchClock>>,
    orders: Arc<Mutex<Vec<Order>>>,
}

impl Direct {
    pub(in crate::power) fn new(bench: &Bench) -> Self {
        Self {
            hold: Arc::new(bench.hold()),
            orders: Arc::default(),
        }
    }

    /// What it was told, but for looking.
    pub(in crate::power) fn orders(&self) -> Vec<Order> {
        self.orders.lock().unwrap().clone()
    }
}

impl Holder for Direct {
    fn ask(&self, line: &str, order: Order) -> Result<Standing, HeldError> {
        if order != Order::Look {
            self.orders.lock().unwrap().push(order);
        }
        let request = Request {
            version: VERSION,
            line: line.to_owned(),
            order,
        };
        match self.hold.answer(&request) {
            Answer::Done(standing) => Ok(standing),
            Answer::Refused(refusal) => Err(HeldError::Refused {
                line: line.to_owned(),
                refusal,
            }),
        }
    }
}
