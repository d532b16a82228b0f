use std::sync::mpsc as channel;

use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

use super::super::bench::{Bench, BenchClock};
use super::super::held::{HeldError, Holder as _, HolderSocket};
use super::super::wire::{Order, Standing, VERSION};
use super::*;

struct Process {
    bench: Bench,
    folder: tempfile::TempDir,
    stop: Sender<()>,
    task: JoinHandle<()>,
}

impl Process {
    fn start() -> Self {
        let bench = Bench::new(true);
        let folder = tempfile::tempdir().unwrap();
        let listener = listen(&folder.path().join("gpio.sock")).unwrap();
        let (stop, told) = mpsc::channel(2);
        let task = tokio::spawn(serve(Arc::new(bench.hold()), listener, told));
        Self {
            bench,
            folder,
            stop,
            task,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("gpio.sock")
    }

    async fn ask(&self, line: &'static str, order: Order) -> Result<Standing, HeldError> {
        let socket = HolderSocket(self.socket());
        spawn_blocking(move || socket.ask(line, order))
            .await
            .unwrap()
    }

    /// Sends bytes and hands back everything that comes.
    async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A holder that has closed already is an answer of nothing.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }
}

fn press(length_ms: u32) -> Order {
    Order::Press {
        length_ms,
        generation: 1,
    }
}

async fn wait_for_sleepers(clock: &BenchClock, count: usize) {
    let clock = clock.clone();
    spawn_blocking(move || clock.wait_for_sleepers(count))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_press_outlives_whoever_asked_for_it() {
    let process = Process::start();
    let request = Request {
        version: VERSION,
        line: "button".to_owned(),
        order: press(200),
    };
    let mut daemon = UnixStream::connect(process.socket()).await.unwrap();
    daemon.write_all(&request.to_line()).await.unwrap();
    wait_for_sleepers(&process.bench.clock, 1).await;
    process.bench.clock.advance_to(50);
    drop(daemon);
    // Its next life asks, and is told to wait.
    let busy = process.ask("button", Order::Look).await.unwrap_err();
    assert!(
        matches!(
            busy,
            HeldError::Refused {
                refusal: Refusal::Busy { left_ms: 150 },
                ..
            }
        ),
        "{busy}"
    );
    process.bench.clock.advance_to(200);
    wait_for_sleepers(&process.bench.clock, 0).await;
    loop {
        if let Ok(standing) = process.ask("button", Order::Look).await {
            assert_eq!(standing.last_press.unwrap().length_ms, 200);
            break;
        }
    }
    let edges = process.bench.pin("button").edges();
    assert_eq!(edges, [(0, false), (200, true)]);
}

#[tokio::test]
async fn garbage_is_answered_or_dropped_and_moves_nothing() {
    let process = Process::start();
    let refused = |refusal| Answer::Refused(refusal).to_line();
    assert_eq!(process.raw(b"{}\n").await, refused(Refusal::Malformed));
    assert_eq!(process.raw(b"\n").await, refused(Refusal::Malformed));
    let future = b"{\"version\":9,\"dance\":true}\n";
    let version = Refusal::Version { holder: VERSION };
    assert_eq!(process.raw(future).await, refused(version));
    assert_eq!(process.raw(&[b'x'; 4 * MAX_BYTES]).await, b"");
    for line in ["relay", "latch", "button"] {
        assert_eq!(process.bench.pin(line).edges(), []);
    }
    let mode = fs::metadata(process.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_stop_during_a_press_ends_it_on_time() {
    let process = Process::start();
    let socket = HolderSocket(process.socket());
    let (said, answer) = channel::channel();
    thread::spawn(move || said.send(socket.ask("button", press(6000))));
    wait_for_sleepers(&process.bench.clock, 1).await;
    process.stop.send(()).await.unwrap();
    // The socket goes when no more orders are taken.
    while UnixStream::connect(process.socket()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!process.task.is_finished());
    assert_eq!(process.bench.pin("button").edges(), [(0, false)]);
    process.bench.clock.advance_to(6000);
    process.task.await.unwrap();
    let answer = spawn_blocking(move || answer.recv().unwrap())
        .await
        .unwrap();
    assert_eq!(answer.unwrap().last_press.unwrap().length_ms, 6000);
    let edges = process.bench.pin("button").edges();
    assert_eq!(edges, [(0, false), (6000, true)]);
}

#[tokio::test]
async fn a_plain_relay_that_is_on_keeps_the_holder() {
    let process = Process::start();
    let drive = |high| Order::Drive {
        high,
        generation: 1,
    };
    process.ask("relay", drive(true)).await.unwrap();
    process.stop.send(()).await.unwrap();
    // It goes on answering until the sled was turned off.
    assert!(process.ask("relay", Order::Look).await.unwrap().high);
    assert!(!process.task.is_finished());
    process.ask("relay", drive(false)).await.unwrap();
    process.task.await.unwrap();
    assert_eq!(process.bench.pin("relay").edges(), [(0, true), (0, false)]);
}

#[tokio::test]
async fn told_twice_it_lets_go() {
    let process = Process::start();
    let drive = Order::Drive {
        high: true,
        generation: 1,
    };
    process.ask("relay", drive).await.unwrap();
    process.stop.send(()).await.unwrap();
    process.stop.send(()).await.unwrap();
    process.task.await.unwrap();
    assert_eq!(process.bench.pin("relay").edges(), [(0, true)]);
}

#[test]
fn a_second_holder_is_kept_away() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("run/gpio.sock");
    let first = lock(&socket).unwrap();
    let error = format!("{:#}", lock(&socket).unwrap_err());
    assert!(error.contains("another holder runs"), "{error}");
    drop(first);
    lock(&socket).unwrap();
}
