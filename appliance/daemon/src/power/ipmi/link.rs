//! One session on one socket: datagrams out, datagrams in, by the clock.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use protocols::rmcp::{
    Answer, AnswerError, Command, MAX_DATAGRAM_BYTES, Progress, Session, SessionError,
};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::power::{PowerError, Target};

/// An open session and the socket that it lives on.
pub(super) struct Link {
    socket: UdpSocket,
    session: Session,
    start: Instant,
    pub(super) last_answer: Instant,
}

/// Why a link broke.
pub(super) enum LinkError {
    Session(SessionError),
    Network(io::Error),
}

impl From<SessionError> for LinkError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl LinkError {
    /// The error that it means for `target`, after `tries` set-ups.
    pub(super) fn of(self, target: Target, tries: u32) -> PowerError {
        match self {
            Self::Session(why) => PowerError::from_session(target, why, tries),
            Self::Network(source) => PowerError::Unreachable {
                target,
                tries: tries.max(1),
                source,
            },
        }
    }
}

impl Link {
    /// Carries `session` through its set-up, from a new port.
    pub(super) async fn open(address: SocketAddr, session: Session) -> Result<Self, LinkError> {
        let socket = bind(address).await.map_err(LinkError::Network)?;
        let now = Instant::now();
        let mut link = Self {
            socket,
            session,
            start: now,
            last_answer: now,
        };
        if let Err(error) = link.drive(true).await {
            // The farewell, if there is one; nothing depends on it.
            let now_ms = link.now_ms();
            if let Ok(Some(datagram)) = link.session.poll_transmit(now_ms) {
                let _ = link.socket.send(&datagram).await;
            }
            return Err(error);
        }
        Ok(link)
    }

    /// Carries `command` out and returns what the BMC says to it.
    pub(super) async fn ask(
        &mut self,
        command: Command,
    ) -> Result<Result<Answer, AnswerError>, LinkError> {
        let iv = random_block().map_err(|error| LinkError::Network(io::Error::other(error)))?;
        self.session.request(command, iv)?;
        match self.drive(false).await? {
            Progress::Answered(answer) => Ok(answer),
            Progress::Ignored | Progress::Advanced | Progress::Active | Progress::Serial(_) => {
                Err(LinkError::Session(SessionError::NotActive))
            }
        }
    }

    /// Carries datagrams until the session is active or the command answered.
    /// The session's own tries bound it.
    async fn drive(&mut self, set_up: bool) -> Result<Progress, LinkError> {
        // One byte more than allowed, so that a longer datagram shows.
        let mut buffer = [0; MAX_DATAGRAM_BYTES + 1];
        loop {
            self.transmit(set_up).await?;
            let Some(due) = self.due_at() else {
                return Err(LinkError::Session(SessionError::NotActive));
            };
            let Ok(received) = timeout_at(due, self.receive(&mut buffer, set_up)).await else {
                continue;
            };
            match received? {
                // What a serial line says while nobody reads it is not
                // acknowledged, and so comes again.
                Progress::Ignored | Progress::Advanced | Progress::Serial(_) => {}
                progress @ (Progress::Active | Progress::Answered(_)) => return Ok(progress),
            }
        }
    }

    /// Sends what the session has to send by now.
    pub(super) async fn transmit(&mut self, set_up: bool) -> Result<(), LinkError> {
        let now_ms = self.now_ms();
        while let Some(datagram) = self.session.poll_transmit(now_ms)? {
            let sent = self.socket.send(&datagram).await.map(|_| ());
            tolerate(sent, set_up)?;
        }
        Ok(())
    }

    /// Takes in the next datagram. May be dropped at any time.
    pub(super) async fn receive(
        &mut self,
        buffer: &mut [u8],
        set_up: bool,
    ) -> Result<Progress, LinkError> {
        let length = match self.socket.recv(buffer).await {
            Ok(length) => length,
            Err(error) => {
                tolerate(Err(error), set_up)?;
                return Ok(Progress::Ignored);
            }
        };
        let datagram = buffer.get(..length).unwrap_or_default();
        let progress = self.session.handle(datagram)?;
        if matches!(progress, Progress::Active | Progress::Answered(_)) {
            self.last_answer = Instant::now();
        }
        Ok(progress)
    }

    /// Begins `command`, unless another one is under way; [`Link::transmit`]
    /// and [`Link::receive`] carry it out.
    pub(super) fn begin(&mut self, command: Command) -> Result<(), LinkError> {
        let iv = random_block().map_err(|error| LinkError::Network(io::Error::other(error)))?;
        match self.session.request(command, iv) {
            Ok(()) | Err(SessionError::Busy) => Ok(()),
            Err(error) => Err(LinkError::Session(error)),
        }
    }

    /// Sends a payload to the serial line.
    pub(super) async fn send_serial(&mut self, payload: &[u8]) -> Result<(), LinkError> {
        let iv = random_block().map_err(|error| LinkError::Network(io::Error::other(error)))?;
        let datagram = self.session.serial(payload, iv)?;
        let sent = self.socket.send(&datagram).await.map(|_| ());
        tolerate(sent, false)
    }

    pub(super) fn now_ms(&self) -> u64 {
        milliseconds(self.start.elapsed())
    }

    /// When a time of [`Link::now_ms`] comes.
    pub(super) fn at(&self, due_ms: u64) -> Instant {
        self.start + Duration::from_millis(due_ms)
    }

    /// When [`Link::transmit`] has something to do again.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.session.deadline_ms().map(|due_ms| self.at(due_ms))
    }
}

/// A closed port ends a set-up at once; inside of a session it is as good as
/// silence, since the BMC may be restarting.
fn tolerate(outcome: io::Result<()>, set_up: bool) -> Result<(), LinkError> {
    match outcome {
        Err(error) if !set_up && error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        other => other.map_err(LinkError::Network),
    }
}

/// A socket that only hears `address`.
async fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

pub(super) fn random_block() -> Result<[u8; 16], getrandom::Error> {
    let mut block = [0; 16];
    getrandom::fill(&mut block)?;
    Ok(block)
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
