//! The runner's output: redacted, kept on scratch up to a limit, and shown on
//! the console as far as that keeps up. A file, not memory: an appliance that
//! is away for long must neither fill the sled's memory nor stall the job.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use messages::Secret;

use super::Shared;
use super::redact::Redactor;
use crate::console::say;
use crate::scratch::SCRATCH;

const READ_BYTES: usize = 64 * 1024;
/// Pieces that may wait for the console. A serial line carries 11 KB/s: it
/// must never hold up a job, so what does not fit is left out.
const CONSOLE_PIECES: usize = 4;

/// Keeps the log's beginning in a file.
pub(super) struct Keeper {
    file: File,
    path: PathBuf,
    left: u64,
}

impl Keeper {
    /// An empty log that keeps `limit_bytes`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn create(limit_bytes: u64) -> io::Result<Self> {
        let path = PathBuf::from(SCRATCH).join("runner.log");
        Ok(Self {
            file: File::create(&path)?,
            path,
            left: limit_bytes,
        })
    }

    /// Another handle, to read what is kept.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn reader(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Keeps what fits; returns how many bytes that were.
    fn keep(&mut self, bytes: &[u8]) -> u64 {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX);
        let bytes = bytes.get(..fits).unwrap_or(bytes);
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.left -= bytes.len() as u64;
                bytes.len() as u64
            }
            Err(error) => {
                // A job may fill its disk; the log ends there, the job goes on.
                say!("the runner's log is not kept any further: {error}");
                self.left = 0;
                0
            }
        }
    }
}

/// Collects `output` until it ends, on a thread of its own.
pub(super) fn collect(output: PipeReader, keeper: Keeper, secret: &Secret, shared: Arc<Shared>) {
    let redactor = Redactor::new(secret.expose());
    thread::spawn(move || {
        copy(output, keeper, redactor, &shared);
        shared.update(|state| state.closed = true);
    });
}

fn copy(mut output: PipeReader, mut keeper: Keeper, mut redactor: Redactor, shared: &Shared) {
    let (console, pieces) = sync_channel(CONSOLE_PIECES);
    thread::spawn(move || show(&pieces));
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let length = match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                say!("cannot read the runner's output: {error}");
                break;
            }
        };
        let shown = redactor.push(buffer.get(..length).unwrap_or_default());
        pass(shown, &mut keeper, &console, shared);
    }
    pass(redactor.finish(), &mut keeper, &console, shared);
}

fn pass(bytes: Vec<u8>, keeper: &mut Keeper, console: &SyncSender<Vec<u8>>, shared: &Shared) {
    let kept = keeper.keep(&bytes);
    let written = bytes.len() as u64;
    // Left out when the console is behind, see CONSOLE_PIECES.
    let _ = console.try_send(bytes);
    shared.update(|state| {
        state.kept += kept;
        state.written += written;
    });
}

fn show(pieces: &Receiver<Vec<u8>>) {
    let mut console = io::stdout();
    while let Ok(piece) = pieces.recv() {
        let _ = console.write_all(&piece).and_then(|()| console.flush());
    }
}
