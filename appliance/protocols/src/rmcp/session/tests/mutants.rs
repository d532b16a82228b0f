//! 10,000 packets per state of a session, made from the BMC's own by an
//! adversary: none may panic, and none may be taken for the BMC's.

use super::super::super::command::tests::table;
use super::super::super::serial::SerialLine;
use super::*;

const PACKETS: usize = 10_000;

/// xorshift64: the same packets on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() % end.max(1)
    }

    /// `original` with something done to it.
    fn mutate(&mut self, original: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..=self.below(3) {
            let (at, value) = (self.below(bytes.len()), self.next() as u8);
            match self.below(7) {
                0 => bytes.truncate(at),
                1 => bytes.resize(bytes.len() + at, value),
                2 => bytes.insert(at.min(bytes.len()), value),
                // Where lengths, types, ids and codes are.
                3 => set(&mut bytes, 4 + at % 12, value),
                4 => set(&mut bytes, 16 + at % 8, value),
                5 => set(&mut bytes, at, [0, 1, 0x7f, 0x80, 0xff][at % 5]),
                _ => flip(&mut bytes, at, 1 << (value % 8)),
            }
        }
        bytes
    }
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

fn flip(bytes: &mut [u8], at: usize, bit: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= bit;
    }
}

/// A session that waits for the answer number `stage` of a BMC, and that
/// answer.
fn waiting(suite: CipherSuite, stage: usize) -> (Session, TestBmc, Vec<u8>) {
    let mut session = Session::new(config(suite, b"secret"), entropy());
    let mut bmc = TestBmc::new(suite, b"secret");
    for turn in 0.. {
        if session.is_active() {
            let command = Command::GetChassisStatus;
            session.request(command, [5; 16]).unwrap();
        }
        let datagram = session.poll_transmit(0).unwrap().unwrap();
        let answer = bmc.answer(&datagram).unwrap();
        if turn == stage {
            return (session, bmc, answer);
        }
        session.handle(&answer).unwrap();
    }
    unreachable!("the loop has no end")
}

const STAGES: [Stage; 6] = [
    Stage::Probe,
    Stage::OpenSession,
    Stage::Challenge,
    Stage::Proof,
    Stage::Privilege,
    Stage::Command,
];

#[test]
fn mutants_of_each_stage() {
    for suite in [CipherSuite::Suite3, CipherSuite::Suite17] {
        for (turn, stage) in STAGES.into_iter().enumerate() {
            let mut random = Random(0x9e37_79b9_7f4a_7c15 + turn as u64);
            let (mut session, _, mut answer) = waiting(suite, turn);
            for packet in 0..PACKETS {
                assert_eq!(session.stage(), stage, "{suite}, packet {packet}");
                let mutant = random.mutate(&answer);
                let outcome = session.handle(&mutant);
                if let Ok(progress) = &outcome
                    && *progress != Progress::Ignored
                {
                    // From RAKP 2 on every byte that counts is under a code:
                    // what is taken is the answer, but for its tail.
                    let head = mutant.len().min(answer.len());
                    assert!(
                        stage < Stage::Challenge || unseen(&mutant[..head], &answer[..head]),
                        "{suite} {stage} took a mutant: {mutant:02x?} for {answer:02x?}"
                    );
                }
                if outcome != Ok(Progress::Ignored) {
                    (session, _, answer) = waiting(suite, turn);
                }
            }
        }
    }
}

/// Whether a mutant differs only where IPMI lets it: RMCP's reserved bytes,
/// and the two reserved bytes of a set-up reply.
fn unseen(mutant: &[u8], answer: &[u8]) -> bool {
    let in_session = answer.get(6..10) != Some(&[0; 4]);
    let free = |at: usize| {
        // Reserved byte, RMCP sequence number.
        matches!(at, 1 | 2)
            // Sequence number outside of a session, and reserved bytes.
            || !in_session && matches!(at, 10..=13 | 14..=15 | 18..=19)
    };
    let mut pairs = mutant.iter().zip(answer).enumerate();
    pairs.all(|(at, (mutant, answer))| mutant == answer || free(at))
}

/// What a BMC that turned hostile can do: everything it says is authentic.
#[test]
fn authentic_nonsense_in_a_session() {
    let mut random = Random(0x5851_f42d_4c95_7f2d);
    for (command, ..) in table() {
        let (mut session, mut bmc, _) = waiting(CipherSuite::Suite17, 5);
        session.pending = None;
        for _ in 0..PACKETS / 20 {
            if !session.is_active() {
                (session, bmc, _) = waiting(CipherSuite::Suite17, 5);
                session.pending = None;
            }
            if session.pending.is_none() {
                session.request(command.clone(), [5; 16]).unwrap();
                session.poll_transmit(0).unwrap();
            }
            let (net_fn, number) = command.number();
            let length = random.below(40);
            let mut data: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            if random.below(3) > 0 {
                data.insert(0, 0);
            }
            let sequence = session.message_sequence;
            let mut plain = message::response(net_fn, sequence, number, &data);
            if random.below(4) == 0 {
                plain = random.mutate(&plain);
            }
            let datagram = bmc.seal(&plain);
            let _ = session.handle(&datagram);
        }
    }
}

#[test]
fn mutants_on_a_serial_line() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut line = SerialLine::new(64);
    let mut handed_over = 0;
    let mut came = 0;
    for round in 0..PACKETS {
        line.write(b"input");
        let mutant = random.mutate(b"\x01\x02\x05\0the quick brown fox");
        came += mutant.len();
        if let Ok(received) = line.handle(&mutant) {
            handed_over += received.data.len();
        }
        if line.poll_transmit(round as u64 * 10).is_err() {
            line = SerialLine::new(64);
        }
    }
    assert!(handed_over <= came, "characters out of nothing");
}
