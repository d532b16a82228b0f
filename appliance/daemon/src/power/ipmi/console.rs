//! A sled's serial line over its BMC, as a stream of bytes.
//!
//! It has a session of its own: it must be read all the time, while commands
//! come and go. It takes the line from nobody: where somebody has it, that is
//! said.

use std::time::Duration;

use protocols::rmcp::{
    Answer, AnswerError, Command, CompletionCode, MAX_DATAGRAM_BYTES, Progress, SerialLine,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::link::Link;
use super::{IpmiClient, KEEP_WARM, PAUSE, Target};
use crate::power::PowerError;

/// Longest sleep between looks at the line's and the session's deadlines.
const REST: Duration = Duration::from_secs(5);

/// An open serial line.
pub struct IpmiConsole {
    target: Target,
    link: Link,
    line: SerialLine,
    keep_warm_at: Instant,
    /// Read and not yet handed over.
    ready: Vec<u8>,
    ended: bool,
}

/// Opens a sled's serial line, again and again.
pub struct ConsoleSource(IpmiClient);

impl ConsoleSource {
    /// Opens the line.
    ///
    /// # Errors
    /// As [`IpmiClient::console`].
    pub async fn open(&self) -> Result<IpmiConsole, PowerError> {
        self.0.console().await
    }
}

impl IpmiClient {
    /// Where the serial line is read from, if it shall be.
    #[must_use]
    pub fn console_source(&self) -> Option<ConsoleSource> {
        let sled = self.target.sled().map(str::to_owned);
        let config = self.config.clone();
        let wanted = config.console;
        wanted.then(|| ConsoleSource(Self::new(config, sled)))
    }

    /// Opens the serial line.
    ///
    /// # Errors
    /// [`PowerError::SerialInUse`] when somebody reads it already; otherwise
    /// when the BMC does not answer or refuses.
    pub async fn console(&self) -> Result<IpmiConsole, PowerError> {
        let mut link = self.connect().await?;
        let target = self.target.clone();
        match link.ask(Command::ActivateSerial).await {
            Ok(Ok(Answer::Serial(channel))) => Ok(IpmiConsole {
                target,
                link,
                line: SerialLine::new(channel.inbound_bytes),
                keep_warm_at: Instant::now() + KEEP_WARM,
                ready: Vec::new(),
                ended: false,
            }),
            Ok(Err(AnswerError::Refused {
                code: CompletionCode::OWN_80,
                ..
            })) => {
                let _ = timeout(PAUSE * 2, link.ask(Command::CloseSession)).await;
                Err(PowerError::SerialInUse { target })
            }
            Ok(Err(why)) => Err(PowerError::from_answer(target, why)),
            Ok(Ok(_)) => Err(self.odd("serial over LAN")),
            Err(error) => Err(error.of(target, 0)),
        }
    }
}

impl IpmiConsole {
    /// The next bytes of the line; none when the BMC has ended it. May be
    /// dropped at any time: nothing is lost.
    ///
    /// # Errors
    /// When the BMC is gone.
    pub async fn read(&mut self) -> Result<Vec<u8>, PowerError> {
        loop {
            self.transmit().await?;
            if !self.ready.is_empty() || self.ended {
                return Ok(std::mem::take(&mut self.ready));
            }
            let mut buffer = [0; MAX_DATAGRAM_BYTES + 1];
            match timeout_at(self.wake_at(), self.link.receive(&mut buffer, false)).await {
                Ok(Ok(progress)) => self.take_in(progress)?,
                Ok(Err(error)) => return Err(error.of(self.target.clone(), 0)),
                Err(_) => {}
            }
        }
    }

    /// Types `bytes` on the line; says how many there was room for. They go
    /// out while the line is read.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        self.line.write(bytes)
    }

    /// Gives the line and the session back.
    pub async fn close(mut self) {
        for command in [Command::DeactivateSerial, Command::CloseSession] {
            // Nothing depends on the answers.
            let _ = timeout(PAUSE * 2, self.link.ask(command)).await;
        }
    }

    fn take_in(&mut self, progress: Progress) -> Result<(), PowerError> {
        match progress {
            Progress::Serial(payload) => {
                // A malformed payload is dropped; what it was comes again.
                if let Ok(mut received) = self.line.handle(&payload) {
                    self.ready.append(&mut received.data);
                    self.ended |= received.deactivated;
                }
                Ok(())
            }
            Progress::Ignored | Progress::Advanced | Progress::Active | Progress::Answered(_) => {
                Ok(())
            }
        }
    }

    /// Sends what is due: acknowledgements, what was typed, and now and then
    /// a command, so that the BMC keeps the session.
    async fn transmit(&mut self) -> Result<(), PowerError> {
        if Instant::now() >= self.keep_warm_at {
            self.keep_warm_at = Instant::now() + KEEP_WARM;
            self.link
                .begin(Command::GetDeviceId)
                .map_err(|error| error.of(self.target.clone(), 0))?;
        }
        let now_ms = self.link.now_ms();
        while let Some(payload) =
            self.line
                .poll_transmit(now_ms)
                .map_err(|why| PowerError::Serial {
                    target: self.target.clone(),
                    why,
                })?
        {
            self.link
                .send_serial(&payload)
                .await
                .map_err(|error| error.of(self.target.clone(), 0))?;
        }
        self.link
            .transmit(false)
            .await
            .map_err(|error| error.of(self.target.clone(), 0))
    }

    fn wake_at(&self) -> Instant {
        let rest = Instant::now() + REST;
        let line = self.line.deadline_ms().map(|due_ms| self.link.at(due_ms));
        [Some(self.keep_warm_at), line, self.link.due_at()]
            .into_iter()
            .flatten()
            .fold(rest, Instant::min)
    }
}
