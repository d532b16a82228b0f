//! Hostile input at the webhook, while honest senders go on: ten thousand
//! mutated deliveries, and hundreds of senders that never come to an end.
//!
//! The seed is printed; `MUSHER_HOSTILE_SEED` repeats it.

#[path = "hostile/attack.rs"]
mod attack;
#[path = "hostile/body.rs"]
mod body;
#[path = "hostile/random.rs"]
mod random;
#[path = "hostile/wire.rs"]
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use musher_e2e::{Standalone, workflow_job};

use attack::{Attack, Kind};
use wire::{Answer, Delivery};

const ATTACKS: usize = 10_000;
/// Attackers at once.
const ATTACKERS: usize = 8;
/// Senders that never come to an end, at once.
const SLOW: usize = 200;
/// Honest senders, and the pause between two of their deliveries.
const HONEST: u64 = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// GitHub waits so long for an answer (GitHub docs, "Handling webhook
/// deliveries").
const GITHUB_WAITS: Duration = Duration::from_secs(10);
/// The most memory that Musher may need meanwhile: 64 MiB of large bodies and
/// 64 KiB of each of some 220 others, twice because a buffer that grows is
/// copied into one of twice its size; 16 MiB of the database's cache; and 64 MiB
/// for all else. It has 13 MiB at first and 184 MiB at most, and is sent 600 MiB
/// at once.
const MEMORY_KIB: u64 = 256 << 10;
/// Numbers of honest jobs begin here; attackers use small ones.
const HONEST_JOBS: u64 = 1_000_000;

/// What was seen, over all threads.
#[derive(Default)]
struct Seen {
    /// How often each kind of attack was answered with each status; 0 for
    /// connections that were closed without an answer.
    statuses: BTreeMap<(Kind, u16), usize>,
    /// What must not have happened.
    wrong: Vec<String>,
    /// Deliveries of attackers that were said to be queued.
    queued: Vec<Queued>,
}

/// What was said to be queued.
struct Queued {
    /// Unknown where only Musher can read the body: it skips what it does not
    /// need, however wrong.
    job: Option<u64>,
    /// The connection that it came by, and its place there.
    bytes: Vec<u8>,
    place: usize,
}

impl Seen {
    fn note(&mut self, attack: &Attack, number: usize, answers: &[Answer]) {
        let kind = attack.kind;
        let mut wrong = |what: &str| {
            self.wrong
                .push(format!("attack {number}, {kind:?}: {what}: {answers:?}"));
        };
        if kind.is_answered() && answers.len() != attack.signed.len().max(1) {
            wrong("not each request was answered");
        }
        for (place, answer) in answers.iter().enumerate() {
            if !kind.statuses().contains(&answer.status) {
                wrong("not the answer for it");
            }
            if answer.status != 200 {
                continue;
            }
            match attack.signed.get(place) {
                None => wrong("taken without a signature"),
                Some(delivery) if answer.result.as_deref() == Some("queued") => {
                    self.queued.push(Queued {
                        job: delivery.job(),
                        bytes: attack.bytes.clone(),
                        place,
                    });
                }
                Some(_) => {}
            }
        }
        let statuses = answers.iter().map(|answer| answer.status);
        let none = answers.is_empty().then_some(0);
        for status in statuses.chain(none) {
            *self.statuses.entry((kind, status)).or_default() += 1;
        }
    }
}

/// Attacks by several threads until all were made.
fn attack(address: SocketAddr, seed: u64) -> Seen {
    let real = body::real();
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(Seen::default()));
    thread::scope(|scope| {
        for _ in 0..ATTACKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= ATTACKS {
                        return;
                    }
                    let attack = Attack::make(&real, seed, number);
                    let answers = wire::send(address, &attack.bytes);
                    seen.lock().unwrap().note(&attack, number, &answers);
                }
            });
        }
    });
    seen.into_inner().unwrap()
}

/// Opens connections that announce much and send it byte by byte, until Musher
/// has enough of each. Some begin with 4 MiB, some do not even end
/// their head.
fn send_slowly(address: SocketAddr) -> Vec<Vec<Answer>> {
    let begin = |number: usize| {
        let mut stream = wire::connect(address);
        let head =
            "POST /api/webhook HTTP/1.1\r\nHost: musher\r\nX-Hub-Signature-256: sha256=00\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        if !number.is_multiple_of(4) {
            let _ = stream.write_all(b"Content-Length: 26214400\r\n\r\n");
        }
        if number % 4 > 1 {
            let _ = stream.write_all(&vec![b' '; 4 << 20]);
        }
        stream
    };
    let mut streams: Vec<TcpStream> = (0..SLOW).map(begin).collect();
    let started = Instant::now();
    // Past the longest deadline of a head and of a body.
    while started.elapsed() < Duration::from_secs(12) {
        for stream in &mut streams {
            let _ = stream.write_all(b"x");
        }
        thread::sleep(Duration::from_millis(500));
    }
    streams.iter_mut().map(wire::answers).collect()
}

/// Delivers job after job until told to stop; which, and the longest wait.
fn deliver(address: SocketAddr, first: u64, stop: &AtomicBool) -> (BTreeSet<u64>, Duration) {
    let (mut jobs, mut longest) = (BTreeSet::new(), Duration::ZERO);
    for job in first.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = workflow_job("queued", job, &["self-hosted", "linux", "x64"]);
        let delivery = Delivery {
            id: format!("0b989ba4-242f-11e5-81e1-{job:012x}"),
            body: body.into_bytes(),
        };
        let started = Instant::now();
        let answers = wire::send(address, &delivery.request());
        let waited = started.elapsed();
        let status: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(status, [200], "an honest delivery after {waited:?}");
        assert!(waited < GITHUB_WAITS, "an honest sender waited {waited:?}");
        longest = longest.max(waited);
        jobs.insert(job);
        thread::sleep(PAUSE);
    }
    (jobs, longest)
}

/// Tells honest senders to stop, also when an attack fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The most memory that the process ever had, in KiB (proc_pid_status(5)).
fn peak_memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    value.unwrap().parse().unwrap()
}

fn show(
    seen: &Seen,
    slow: &[Vec<Answer>],
    honest: &[(BTreeSet<u64>, Duration)],
    (idle, peak): (u64, u64),
) {
    for ((kind, status), count) in &seen.statuses {
        eprintln!("{kind:?}: {status} × {count}");
    }
    let mut statuses = BTreeMap::<u16, usize>::new();
    for answers in slow {
        let status = answers.first().map_or(0, |answer| answer.status);
        *statuses.entry(status).or_default() += 1;
    }
    eprintln!("slow senders: {statuses:?}");
    let longest = honest.iter().map(|(_, longest)| *longest).max();
    let count: usize = honest.iter().map(|(jobs, _)| jobs.len()).sum();
    eprintln!("honest: {count} deliveries, the slowest took {longest:?}");
    eprintln!("memory: {idle} KiB at first, {peak} KiB at most");
}

#[test]
fn nobody_is_harmed() {
    let seed = env::var("MUSHER_HOSTILE_SEED").map_or(1, |seed| seed.parse().unwrap());
    eprintln!("seed {seed}");
    let mut musher = Standalone::new().unwrap();
    musher.start().unwrap();
    let address = musher.webhook();
    let pid = musher.pid().unwrap();
    let idle = peak_memory_kib(pid);

    let stop = AtomicBool::new(false);
    let (seen, slow, honest) = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let stop = &stop;
        let honest: Vec<_> = (0..HONEST)
            .map(|number| scope.spawn(move || deliver(address, HONEST_JOBS * (number + 1), stop)))
            .collect();
        let slow = scope.spawn(|| send_slowly(address));
        let seen = attack(address, seed);
        let slow = slow.join().unwrap();
        drop(stopping);
        let honest: Vec<_> = honest.into_iter().map(|one| one.join().unwrap()).collect();
        (seen, slow, honest)
    });

    let memory = (idle, peak_memory_kib(pid));
    show(&seen, &slow, &honest, memory);
    let wrong = &seen.wrong;
    let first = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{} wrong: {first:#?}", wrong.len());
    assert!(memory.1 < MEMORY_KIB, "{} KiB of memory", memory.1);
    let timed_out = slow.iter().flatten().any(|answer| answer.status == 408);
    assert!(timed_out && !seen.queued.is_empty());

    musher.kill().unwrap();
    musher.start().unwrap();
    let stored = musher.jobs().unwrap();
    assert!(stored.len() < 1_000, "not all jobs are listed");
    for (jobs, _) in &honest {
        assert!(jobs.is_subset(&stored), "{:?}", jobs.difference(&stored));
    }
    for queued in &seen.queued {
        let job = queued.job;
        if let Some(job) = job {
            assert!(stored.contains(&job), "job {job} was said to be queued");
        }
        let again = wire::send(address, &queued.bytes);
        let result = again[queued.place].result.as_deref();
        assert_eq!(result, Some("duplicate"), "job {job:?}: {again:?}");
    }
    let log = musher.log().unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

/// Whoever sends much can fill the room for large bodies, and no more.
#[test]
fn large_bodies_do_not_keep_deliveries_out() {
    let mut musher = Standalone::new().unwrap();
    musher.start().unwrap();
    let address = musher.webhook();
    let large = |length: usize| Delivery {
        id: format!("of {length} bytes"),
        body: vec![b' '; length],
    };
    let begun: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = wire::connect(address);
            let bytes = large(5 << 20).request();
            let _ = stream.write_all(&bytes[..4 << 20]);
            stream
        })
        .collect();
    let status = |delivery: &Delivery| {
        let answers = wire::send(address, &delivery.request());
        answers.first().map(|answer| answer.status)
    };
    // It is full; what is cut off early may not hear so.
    assert!(matches!(status(&large(4 << 20)), Some(503) | None));
    let body = workflow_job("queued", 1, &["self-hosted", "linux", "x64"]);
    let job = Delivery {
        id: "a job".to_owned(),
        body: body.into_bytes(),
    };
    assert_eq!(status(&job), Some(200));
    drop(begun);
}
