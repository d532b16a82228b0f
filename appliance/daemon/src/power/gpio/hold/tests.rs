use std::thread;

use super::super::bench::Bench;
use super::super::wire::VERSION;
use super::*;

fn ask(hold: &Hold<impl HoldPin, impl Clock>, line: &str, order: Order) -> Answer {
    hold.answer(&Request {
        version: VERSION,
        line: line.to_owned(),
        order,
    })
}

fn drive(high: bool, generation: u64) -> Order {
    Order::Drive { high, generation }
}

fn press(length_ms: u32, generation: u64) -> Order {
    Order::Press {
        length_ms,
        generation,
    }
}

fn done(answer: Answer) -> Standing {
    match answer {
        Answer::Done(standing) => standing,
        Answer::Refused(refusal) => panic!("{refusal}"),
    }
}

#[test]
fn taking_over_and_looking_move_nothing() {
    let bench = Bench::new(false);
    bench.pin("relay").found(true);
    bench.pin("button").found(true);
    for _ in 0..3 {
        let hold = bench.hold();
        for line in ["relay", "latch", "button", "sense"] {
            let standing = done(ask(&hold, line, Order::Look));
            let found = ["relay", "button"].contains(&line);
            assert_eq!((standing.driven, standing.high), (found, found));
            assert_eq!(standing.last_press, None);
        }
        hold.close();
    }
    for line in ["relay", "latch", "button", "sense"] {
        assert_eq!(bench.pin(line).edges(), [], "{line}");
    }
}

#[test]
fn a_relay_moves_only_when_it_is_not_so() {
    let bench = Bench::new(false);
    bench.pin("relay").found(true);
    let hold = bench.hold();
    for (high, edges) in [(true, 0), (false, 1), (false, 1), (true, 2), (true, 2)] {
        let standing = done(ask(&hold, "relay", drive(high, 1)));
        assert_eq!((standing.driven, standing.high), (true, high));
        assert_eq!(bench.pin("relay").edges().len(), edges);
    }
    // One that nobody drove yet is driven even to the level it shows.
    assert!(done(ask(&hold, "latch", drive(false, 1))).driven);
    assert_eq!(bench.pin("latch").edges(), [(0, false)]);
}

#[test]
fn a_button_that_was_left_pressed_is_let_go() {
    let bench = Bench::new(false);
    bench.pin("button").found(false);
    let hold = bench.hold();
    assert_eq!(bench.pin("button").edges(), [(0, true)]);
    assert!(done(ask(&hold, "button", Order::Look)).high);
}

#[test]
fn a_press_has_two_edges_and_is_remembered() {
    let bench = Bench::new(false);
    let hold = bench.hold();
    let standing = done(ask(&hold, "button", press(200, 7)));
    assert_eq!(bench.pin("button").edges(), [(0, false), (200, true)]);
    let last_press = |ended_ms_ago| {
        Some(LastPress {
            length_ms: 200,
            generation: 7,
            ended_ms_ago,
        })
    };
    assert_eq!(standing.last_press, last_press(0));
    bench.clock.advance_to(1200);
    let standing = done(ask(&hold, "button", Order::Look));
    assert_eq!(standing.last_press, last_press(1000));
}

#[test]
fn orders_of_older_claims_are_refused() {
    let bench = Bench::new(false);
    let hold = bench.hold();
    done(ask(&hold, "relay", drive(true, 5)));
    done(ask(&hold, "relay", drive(false, 7)));
    let stale = Answer::Refused(Refusal::Stale {
        generation: 5,
        newest: 7,
    });
    assert_eq!(ask(&hold, "relay", drive(true, 5)), stale);
    assert_eq!(bench.pin("relay").edges().len(), 2);
    done(ask(&hold, "relay", drive(true, 7)));
    // Each line has claims of its own.
    done(ask(&hold, "button", press(100, 5)));
    done(ask(&hold, "button", press(100, 6)));
    assert!(matches!(
        ask(&hold, "button", press(100, 5)),
        Answer::Refused(Refusal::Stale { newest: 6, .. })
    ));
    assert_eq!(bench.pin("button").edges().len(), 4);
}

#[test]
fn wrong_orders_move_nothing() {
    let bench = Bench::new(false);
    let hold = bench.hold();
    let check = |line: &str, order, expect: Refusal| {
        assert_eq!(ask(&hold, line, order), Answer::Refused(expect));
    };
    let wrong = |is: &str| Refusal::WrongUse { is: is.to_owned() };
    check("lamp", Order::Look, Refusal::UnknownLine);
    check("sense", drive(true, 1), wrong("sense"));
    check("sense", press(1, 1), wrong("sense"));
    check("button", drive(true, 1), wrong("button"));
    check("relay", press(1, 1), wrong("relay"));
    let longest_ms = LONGEST_PRESS_MS;
    for length in [0, LONGEST_PRESS_MS + 1, u32::MAX] {
        check("button", press(length, 1), Refusal::Length { longest_ms });
    }
    for line in ["relay", "button", "sense"] {
        assert_eq!(bench.pin(line).edges(), [], "{line}");
    }
}

#[test]
fn a_line_that_does_not_follow_is_no_success() {
    let bench = Bench::new(false);
    bench.pin("relay").stuck();
    let hold = bench.hold();
    let answer = ask(&hold, "relay", drive(true, 1));
    assert!(
        matches!(&answer, Answer::Refused(Refusal::Pin(text)) if text.contains("does not follow")),
        "{answer:?}"
    );
}

#[test]
fn during_a_press_others_are_told_to_wait_and_closing_waits() {
    let bench = Bench::new(true);
    let hold = bench.hold();
    thread::scope(|scope| {
        let presser = scope.spawn(|| ask(&hold, "button", press(6000, 7)));
        bench.clock.wait_for_sleepers(1);
        let busy = |left_ms| Answer::Refused(Refusal::Busy { left_ms });
        assert_eq!(ask(&hold, "button", Order::Look), busy(6000));
        bench.clock.advance_to(2500);
        assert_eq!(ask(&hold, "button", press(200, 9)), busy(3500));
        // Other lines are free.
        done(ask(&hold, "relay", drive(true, 1)));
        let closer = scope.spawn(|| hold.close());
        // Closing shows on a free line before it waits for the press.
        while ask(&hold, "latch", Order::Look) != Answer::Refused(Refusal::Stopping) {
            thread::yield_now();
        }
        assert!(!closer.is_finished());
        assert_eq!(bench.pin("button").edges(), [(0, false)]);
        bench.clock.advance_to(6000);
        assert!(matches!(presser.join().unwrap(), Answer::Done(_)));
        closer.join().unwrap();
    });
    assert_eq!(bench.pin("button").edges(), [(0, false), (6000, true)]);
    for (line, order) in [("button", press(200, 9)), ("relay", drive(false, 9))] {
        assert_eq!(ask(&hold, line, order), Answer::Refused(Refusal::Stopping));
    }
    assert_eq!(bench.pin("button").edges().len(), 2);
}

#[test]
fn letting_go_is_named_for_what_it_is() {
    let bench = Bench::new(false);
    let hold = bench.hold();
    assert_eq!(hold.wind_down(), [] as [&str; 0]);
    let hold = bench.hold();
    done(ask(&hold, "relay", drive(true, 1)));
    done(ask(&hold, "latch", drive(true, 1)));
    assert_eq!(hold.wind_down(), ["relay"]);
    // A plain relay can be turned off now, and not on again.
    done(ask(&hold, "latch", drive(true, 1)));
    assert_eq!(
        hold.close(),
        [
            Farewell::Idle("button".into()),
            Farewell::Kept("latch".into()),
            Farewell::Dropped("relay".into()),
        ]
    );
    let hold = bench.hold();
    assert_eq!(hold.wind_down(), ["relay"]);
    done(ask(&hold, "relay", drive(false, 2)));
    assert_eq!(hold.wind_down(), [] as [&str; 0]);
    let again = ask(&hold, "relay", drive(true, 2));
    assert_eq!(again, Answer::Refused(Refusal::Stopping));
    let text = Farewell::Dropped("relay".into()).to_string();
    assert!(text.contains("may lose its power"), "{text}");
}
