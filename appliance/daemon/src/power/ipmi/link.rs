//! One session on one socket: datagrams out, datagrams in, by the clock.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use protocols::rmcp::{
    Answer, AnswerError, Command, MAX_DATAGRAM_BYTES, Progress, Session, SessionError,
};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

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
            Progress::Ignored | Progress::Advanced | Progress::Active => {
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
            let now_ms = self.now_ms();
            while let Some(datagram) = self.session.poll_transmit(now_ms)? {
                let sent = self.socket.send(&datagram).await.map(|_| ());
                tolerate(sent, set_up)?;
            }
            let Some(due_ms) = self.session.deadline_ms() else {
                return Err(LinkError::Session(SessionError::NotActive));
            };
            let due = self.start + Duration::from_millis(due_ms);
            let length = match timeout_at(due, self.socket.recv(&mut buffer)).await {
                Ok(Ok(length)) => length,
                Ok(Err(error)) => {
                    tolerate(Err(error), set_up)?;
                    continue;
                }
                Err(_) => continue,
            };
            let progress = self
                .session
                .handle(buffer.get(..length).unwrap_or_default())?;
            match progress {
                Progress::Ignored | Progress::Advanced => {}
                Progress::Active | Progress::Answered(_) => {
                    self.last_answer = Instant::now();
                    return Ok(progress);
                }
            }
        }
    }

    fn now_ms(&self) -> u64 {
        milliseconds(self.start.elapsed())
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
