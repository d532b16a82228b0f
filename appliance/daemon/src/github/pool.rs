//! A few threads that block so that nobody else does.
//!
//! Work waits in a bounded queue; a full queue is an error at once, never a
//! wait. Shutting down runs what was accepted, then ends the threads.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use super::error::GithubError;

type Work = Box<dyn FnOnce() + Send>;

pub(super) struct Pool {
    queue_length: usize,
    /// `None` once shut down.
    sender: Mutex<Option<SyncSender<Work>>>,
    /// One per thread; resolves when the thread has ended.
    ended: Mutex<Vec<oneshot::Receiver<()>>>,
}

impl Pool {
    /// Starts `threads` threads behind a queue of `queue_length`.
    ///
    /// # Errors
    /// [`GithubError::Thread`] when the system gives no thread.
    pub(super) fn start(threads: usize, queue_length: usize) -> Result<Self, GithubError> {
        let (sender, receiver) = sync_channel::<Work>(queue_length);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut ended = Vec::with_capacity(threads);
        for number in 0..threads {
            let (done, end) = oneshot::channel();
            let receiver = Arc::clone(&receiver);
            thread::Builder::new()
                .name(format!("github-{number}"))
                .spawn(move || {
                    run(&receiver);
                    let _ = done.send(());
                })
                .map_err(|error| GithubError::Thread {
                    reason: error.to_string(),
                })?;
            ended.push(end);
        }
        Ok(Self {
            queue_length,
            sender: Mutex::new(Some(sender)),
            ended: Mutex::new(ended),
        })
    }

    /// Runs `work` on a thread and waits for its result. Work whose caller is
    /// gone before it starts is skipped: nobody would use what it mints.
    ///
    /// # Errors
    /// [`GithubError::Busy`], [`GithubError::Stopped`], or the work's own.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<T, GithubError> + Send + 'static,
    ) -> Result<T, GithubError> {
        let (reply, result) = oneshot::channel();
        let work: Work = Box::new(move || {
            if !reply.is_closed() {
                let _ = reply.send(work());
            }
        });
        let sent = match lock(&self.sender).as_ref() {
            Some(sender) => sender.try_send(work),
            None => return Err(GithubError::Stopped { operation }),
        };
        match sent {
            Ok(()) => result
                .await
                .unwrap_or(Err(GithubError::Stopped { operation })),
            Err(TrySendError::Full(_)) => Err(GithubError::Busy {
                operation,
                waiting: self.queue_length,
            }),
            Err(TrySendError::Disconnected(_)) => Err(GithubError::Stopped { operation }),
        }
    }

    /// Takes no more work, and returns when what was accepted is done. Each
    /// piece ends by its own deadlines.
    pub(super) async fn shutdown(&self) {
        drop(lock(&self.sender).take());
        let ended = std::mem::take(&mut *lock(&self.ended));
        for end in ended {
            // An error says that the thread is gone as well.
            let _ = end.await;
        }
    }
}

fn run(receiver: &Mutex<Receiver<Work>>) {
    loop {
        // Only the wait holds the lock; the work runs without it.
        let work = lock(receiver).recv();
        match work {
            Ok(work) => work(),
            Err(_) => return,
        }
    }
}

/// A panic while one of these locks is held leaves nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
