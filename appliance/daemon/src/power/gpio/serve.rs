//! `musher gpio-hold`: the process that owns this machine's lines.
//!
//! It starts before the daemon and ends after it. Told to stop, it ends the
//! presses that are under way on time, and waits for sleds behind plain relays
//! to be turned off; told once more it waits for presses alone.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use embedded_hal::delay::DelayNs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::hold::{Clock, Farewell, Hold, HoldPin};
use super::lines::LineMap;
use super::wire::{Answer, MAX_BYTES, Refusal, Request};
use super::{pins, wire};

/// Requests that are worked on at the same time. More wait to be accepted.
const MAX_REQUESTS: usize = 64;
/// How long a client may take to say what it wants.
const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// How long a client may take to listen.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// How often plain relays are looked at while the holder waits for them.
const RELAY_PAUSE: Duration = Duration::from_millis(500);

/// The kernel's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl DelayNs for SystemClock {
    fn delay_ns(&mut self, ns: u32) {
        thread::sleep(Duration::from_nanos(ns.into()));
    }

    fn delay_ms(&mut self, ms: u32) {
        thread::sleep(Duration::from_millis(ms.into()));
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Owns the lines of `lines` and listens on `socket` until it is told to stop.
///
/// # Errors
/// An invalid file as [`crate::config::ConfigError`]; a line that cannot be
/// had; a socket that another holder listens on.
pub fn run(lines: &Path, socket: &Path) -> anyhow::Result<()> {
    let map = LineMap::load(lines)?;
    // What is made here is for our user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(MAX_REQUESTS + 8)
        .enable_all()
        .build()?;
    runtime.block_on(hold(&map, socket))
}

async fn hold(map: &LineMap, socket: &Path) -> anyhow::Result<()> {
    let _lock = lock(socket)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tell, told) = mpsc::channel(2);
    let signals = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // A third signal tells nothing that two have not.
            let _ = tell.try_send(());
        }
    });
    let (lines, _buses) = pins::open(map.iter())?;
    let count = lines.len();
    let hold = Hold::adopt(lines, SystemClock::start()).context("take lines over")?;
    let listener = listen(socket)?;
    tracing::info!(lines = count, socket = %socket.display(), "holding lines as they were found");
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    serve(Arc::new(hold), listener, told).await;
    signals.abort();
    drop(fs::remove_file(socket));
    Ok(())
}

/// Keeps a second holder away from the socket.
fn lock(socket: &Path) -> anyhow::Result<File> {
    if let Some(folder) = socket.parent().filter(|folder| !folder.exists()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(folder)
            .with_context(|| format!("create folder {}", folder.display()))?;
    }
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let shown = path.display();
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {shown}"))?;
    file.try_lock()
        .with_context(|| format!("lock {shown}: another holder runs"))?;
    Ok(file)
}

fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    let shown = socket.display();
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove stale {shown}"));
        }
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket).with_context(|| format!("listen on {shown}"))?;
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until `told` has come once and no plain relay is on, or twice.
async fn serve<P, C>(hold: Arc<Hold<P, C>>, listener: UnixListener, mut told: mpsc::Receiver<()>)
where
    P: HoldPin + Send + 'static,
    C: Clock + 'static,
{
    let mut requests = JoinSet::new();
    let permits = Arc::new(Semaphore::new(MAX_REQUESTS));
    let mut accept = async |hold: &Arc<Hold<P, C>>| {
        let permit = Arc::clone(&permits).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let hold = Arc::clone(hold);
                requests.spawn(async move {
                    converse(hold, stream).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
        while requests.try_join_next().is_some() {}
    };
    loop {
        tokio::select! {
            _ = told.recv() => break,
            () = accept(&hold) => {}
        }
    }
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    let mut said = false;
    loop {
        let on = hold.wind_down();
        if on.is_empty() {
            break;
        }
        if !said {
            said = true;
            let lines = on.join(", ");
            tracing::warn!(%lines, "plain relays are on: waiting for these sleds to be turned off; stop once more to let go at once");
        }
        tokio::select! {
            _ = told.recv() => break,
            () = accept(&hold) => {}
            () = sleep(RELAY_PAUSE) => {}
        }
    }
    drop(listener);
    if let Ok(farewells) = spawn_blocking(move || hold.close()).await {
        for farewell in farewells {
            match farewell {
                Farewell::Dropped(_) => tracing::warn!("{farewell}"),
                Farewell::Kept(_) => tracing::info!("{farewell}"),
                Farewell::Idle(_) => tracing::debug!("{farewell}"),
            }
        }
    }
    let rest = async { while requests.join_next().await.is_some() {} };
    drop(timeout(ANSWER_WAIT, rest).await);
}

async fn converse<P, C>(hold: Arc<Hold<P, C>>, mut stream: UnixStream)
where
    P: HoldPin + Send + 'static,
    C: Clock + 'static,
{
    let Ok(Some(line)) = timeout(REQUEST_WAIT, read_line(&mut stream)).await else {
        return;
    };
    let answer = match Request::parse(&line) {
        // A blocking task cannot be cancelled: what began ends, whether or not
        // anybody is there to hear of it.
        Ok(request) => spawn_blocking(move || hold.answer(&request))
            .await
            .unwrap_or_else(|_| {
                let message = "the pin driver panicked".to_owned();
                Answer::Refused(Refusal::Pin(message))
            }),
        Err(refusal) => Answer::Refused(refusal),
    };
    drop(timeout(ANSWER_WAIT, stream.write_all(&answer.to_line())).await);
}

/// A line without its end; `None` when none comes, or a too long one.
async fn read_line(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut line = Vec::with_capacity(wire::MAX_BYTES);
    let mut limited = stream.take(MAX_BYTES as u64);
    loop {
        if limited.read_buf(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Some(line);
        }
    }
}

#[cfg(test)]
mod tests;
