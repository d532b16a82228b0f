//! The UDP shell around `protocols::rmcp`: sockets, clocks and randomness for
//! one BMC's session.
//!
//! It keeps a session while it is used and opens a new one when the old has
//! gone stale. It tries a wrong password once, sends a power cycle once, and
//! ends every operation by its deadline.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use protocols::rmcp::{
    Answer, AnswerError, BmcKey, BootDevice, BootFlags, ChassisControl, CipherSuite, Command,
    Config, CredentialError, DeviceId, Entropy, Firmware, MAX_DATAGRAM_BYTES, NameLookup, Password,
    Privilege, Progress, Session, SessionError, Timing, Username,
};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::{PowerError, Target};
use super::{BootOverride, PowerReading, Switched};

/// IPMI 6.12.15: a BMC drops a session that was idle for 60 ± 3 s.
const IDLE: Duration = Duration::from_secs(45);
/// Pause after a closed port, or before a busy BMC is asked again.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a busy BMC is asked.
const BUSY_TRIES: u32 = 4;

/// How long and how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often a session is set up, each time from a new port.
    pub set_up_tries: u32,
    /// First wait for a set-up's answers; doubles with each try.
    pub set_up_wait: Duration,
    /// How often a command is sent.
    pub command_tries: u32,
    /// First wait for a command's answer; doubles with each try.
    pub command_wait: Duration,
    /// End of each operation as a whole.
    pub deadline: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            set_up_tries: 4,
            set_up_wait: Duration::from_secs(1),
            command_tries: 4,
            command_wait: Duration::from_millis(500),
            // A stale session found out (7.5 s), a new one (up to 15 s), and
            // the command itself.
            deadline: Duration::from_secs(30),
        }
    }
}

/// How to reach a BMC.
#[derive(Clone, Debug)]
pub struct IpmiConfig {
    /// Address and port; 623 by convention.
    pub address: SocketAddr,
    /// User of the BMC.
    pub username: Username,
    /// That user's password.
    pub password: Password,
    /// Kg, where the BMC has one set.
    pub bmc_key: Option<BmcKey>,
    /// Algorithms to insist on.
    pub cipher: CipherSuite,
    /// Privilege to ask for; operator is enough for all that is done here.
    pub privilege: Privilege,
    /// How the BMC looks the user up.
    pub lookup: NameLookup,
    /// How long and how often to try.
    pub patience: Patience,
}

impl IpmiConfig {
    /// A config with operator privilege, look-up by name and the usual
    /// patience.
    ///
    /// # Errors
    /// When name or password cannot be those of an IPMI 2.0 user.
    pub fn new(
        address: SocketAddr,
        username: &str,
        password: &[u8],
        cipher: CipherSuite,
    ) -> Result<Self, CredentialError> {
        Ok(Self {
            address,
            username: Username::new(username)?,
            password: Password::new(password)?,
            bmc_key: None,
            cipher,
            privilege: Privilege::Operator,
            lookup: NameLookup::NameOnly,
            patience: Patience::default(),
        })
    }
}

/// One BMC.
pub struct IpmiClient {
    config: IpmiConfig,
    target: Target,
    link: Option<Link>,
}

/// An open session and the socket that it lives on.
struct Link {
    socket: UdpSocket,
    session: Session,
    start: Instant,
    last_answer: Instant,
}

/// Why a link broke.
enum LinkError {
    Session(SessionError),
    Network(io::Error),
}

impl From<SessionError> for LinkError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl IpmiClient {
    /// A client that has sent nothing yet; `sled` is only for messages.
    #[must_use]
    pub fn new(config: IpmiConfig, sled: Option<String>) -> Self {
        let target = Target::bmc(config.address, sled);
        Self {
            config,
            target,
            link: None,
        }
    }

    /// The BMC's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.config.address
    }

    /// Whether the chassis has power.
    ///
    /// # Errors
    /// When the BMC does not say.
    pub async fn read(&mut self) -> Result<PowerReading, PowerError> {
        let deadline = self.deadline();
        self.status(deadline).await
    }

    /// Switches on; sends no command when the chassis is on.
    ///
    /// # Errors
    /// When the state cannot be read or the command fails.
    pub async fn power_on(&mut self) -> Result<Switched, PowerError> {
        self.switch(PowerReading::On, ChassisControl::PowerUp).await
    }

    /// Switches off at once; sends no command when the chassis is off, which
    /// some BMCs refuse (bmclib issue 417).
    ///
    /// # Errors
    /// When the state cannot be read or the command fails.
    pub async fn power_off(&mut self) -> Result<Switched, PowerError> {
        self.switch(PowerReading::Off, ChassisControl::PowerDown)
            .await
    }

    /// Off and on again; a chassis that is off is switched on, as IPMI 28.3
    /// lets a BMC ignore a cycle then.
    ///
    /// # Errors
    /// When the state cannot be read or the command fails;
    /// [`PowerError::Uncertain`] when nobody knows whether it was carried out.
    pub async fn cycle(&mut self) -> Result<(), PowerError> {
        let deadline = self.deadline();
        let control = match self.status(deadline).await? {
            PowerReading::Off => ChassisControl::PowerUp,
            PowerReading::On | PowerReading::Unknown => ChassisControl::PowerCycle,
        };
        self.perform(Command::ChassisControl(control), deadline)
            .await
            .map(|_| ())
    }

    /// Makes the next boot a network boot and reads that back.
    ///
    /// # Errors
    /// When the BMC does not answer or refuses the boot flags.
    pub async fn set_boot_pxe(&mut self, firmware: Firmware) -> Result<BootOverride, PowerError> {
        let deadline = self.deadline();
        let wanted = BootFlags::pxe_once(firmware);
        // Both are optional in IPMI: without the first the flags expire after
        // 60 s, without the second a firmware may think it has handled them.
        for command in [Command::KeepBootFlags, Command::MarkBootFlagsUnread] {
            match self.perform(command, deadline).await {
                Ok(_) | Err(PowerError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.perform(Command::SetBootFlags(wanted), deadline)
            .await?;
        match self.perform(Command::GetBootFlags, deadline).await {
            Ok(Answer::BootFlags(flags)) => Ok(BootOverride {
                confirmed: flags.device == BootDevice::Pxe,
                valid_bit_confirmed: flags.valid,
                efi_bit_confirmed: flags.firmware == firmware,
            }),
            Ok(_) | Err(PowerError::Refused { .. } | PowerError::Malformed { .. }) => {
                Ok(BootOverride::UNCONFIRMED)
            }
            Err(error) => Err(error),
        }
    }

    /// Who the BMC says that it is; `None` when it does not say.
    ///
    /// # Errors
    /// When the BMC does not answer or refuses.
    pub async fn device_id(&mut self) -> Result<Option<DeviceId>, PowerError> {
        let deadline = self.deadline();
        match self.perform(Command::GetDeviceId, deadline).await? {
            Answer::DeviceId(id) => Ok(Some(id)),
            _ => Ok(None),
        }
    }

    /// Closes the session, if one is open: a BMC has only a few. Without this
    /// it frees the session by itself after a minute.
    pub async fn close(&mut self) {
        if let Some(mut link) = self.link.take() {
            // Nothing depends on the answer.
            let _ = timeout(PAUSE * 2, link.ask(Command::CloseSession)).await;
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.patience.deadline
    }

    async fn status(&mut self, deadline: Instant) -> Result<PowerReading, PowerError> {
        match self.perform(Command::GetChassisStatus, deadline).await? {
            Answer::ChassisStatus(status) if status.power_on => Ok(PowerReading::On),
            Answer::ChassisStatus(_) => Ok(PowerReading::Off),
            _ => Ok(PowerReading::Unknown),
        }
    }

    async fn switch(
        &mut self,
        wanted: PowerReading,
        control: ChassisControl,
    ) -> Result<Switched, PowerError> {
        let deadline = self.deadline();
        if self.status(deadline).await? == wanted {
            return Ok(Switched::AlreadySo);
        }
        self.perform(Command::ChassisControl(control), deadline)
            .await?;
        Ok(Switched::Commanded)
    }

    /// Carries `command` out by `deadline`, patient with a busy BMC.
    async fn perform(&mut self, command: Command, deadline: Instant) -> Result<Answer, PowerError> {
        let work = async {
            let mut tries = 1;
            loop {
                match self.attempt(command).await? {
                    Ok(answer) => return Ok(answer),
                    Err(AnswerError::Refused { code, .. })
                        if code.is_transient() && tries < BUSY_TRIES =>
                    {
                        tries += 1;
                        sleep(PAUSE).await;
                    }
                    Err(why) => return Err(PowerError::from_answer(self.target.clone(), why)),
                }
            }
        };
        match timeout_at(deadline, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(PowerError::Late {
                target: self.target.clone(),
                command,
                after_ms: self.config.patience.deadline.as_millis(),
            }),
        }
    }

    /// One command over the kept session, or over a new one when the BMC has
    /// forgotten the old (it restarted, or another console pushed us out).
    async fn attempt(
        &mut self,
        command: Command,
    ) -> Result<Result<Answer, AnswerError>, PowerError> {
        // Taken out, so that a dropped future leaves no half-used session.
        let kept = self
            .link
            .take()
            .filter(|link| link.last_answer.elapsed() < IDLE);
        if let Some(mut link) = kept {
            match link.ask(command).await {
                Ok(answer) => {
                    self.link = Some(link);
                    return Ok(answer);
                }
                Err(error) if !command.is_idempotent() => {
                    return Err(self.lost(command, error));
                }
                Err(_) => {}
            }
        }
        let mut link = self.connect().await?;
        match link.ask(command).await {
            Ok(answer) => {
                self.link = Some(link);
                Ok(answer)
            }
            Err(error) => Err(self.lost(command, error)),
        }
    }

    fn lost(&self, command: Command, error: LinkError) -> PowerError {
        let target = self.target.clone();
        match error {
            _ if !command.is_idempotent() => PowerError::Uncertain { target, command },
            LinkError::Session(why) => PowerError::from_session(target, why, 0),
            LinkError::Network(source) => PowerError::Unreachable {
                target,
                tries: 1,
                source,
            },
        }
    }

    /// A new session. Each try has its own socket, and so its own port: some
    /// BMCs are confused by a challenge that comes again from the same one.
    async fn connect(&self) -> Result<Link, PowerError> {
        let patience = self.config.patience;
        let tries = patience.set_up_tries.max(1);
        let mut failure = None;
        for attempt in 0..tries {
            let wait = patience.set_up_wait.saturating_mul(1 << attempt.min(8));
            match self.open(wait).await? {
                Ok(link) => return Ok(link),
                Err(LinkError::Session(why)) if !is_worth_another_try(&why) => {
                    return Err(PowerError::from_session(
                        self.target.clone(),
                        why,
                        attempt + 1,
                    ));
                }
                Err(LinkError::Network(source)) => {
                    failure = Some(LinkError::Network(source));
                    sleep(PAUSE.min(wait)).await;
                }
                // Anything that came back says more than later silence.
                Err(error) if !is_silence(&error) || failure.is_none() => failure = Some(error),
                Err(_) => {}
            }
        }
        let target = self.target.clone();
        Err(match failure {
            Some(LinkError::Session(why)) => PowerError::from_session(target, why, tries),
            Some(LinkError::Network(source)) => PowerError::Unreachable {
                target,
                tries,
                source,
            },
            None => PowerError::from_session(target, SessionError::NotActive, tries),
        })
    }

    /// One try to open a session.
    async fn open(&self, wait: Duration) -> Result<Result<Link, LinkError>, PowerError> {
        let random = |error: getrandom::Error| PowerError::Random {
            target: self.target.clone(),
            detail: error.to_string(),
        };
        let entropy = Entropy {
            console_session: NonZeroU32::new(getrandom::u32().map_err(random)?)
                .unwrap_or(NonZeroU32::MIN),
            nonce: random_block().map_err(random)?,
            iv: random_block().map_err(random)?,
        };
        let config = Config {
            username: self.config.username.clone(),
            password: self.config.password.clone(),
            bmc_key: self.config.bmc_key.clone(),
            suite: self.config.cipher,
            privilege: self.config.privilege,
            lookup: self.config.lookup,
            timing: Timing {
                set_up_wait_ms: milliseconds(wait),
                command_wait_ms: milliseconds(self.config.patience.command_wait),
                command_tries: self.config.patience.command_tries.max(1),
            },
        };
        let socket = match bind(self.config.address).await {
            Ok(socket) => socket,
            Err(error) => return Ok(Err(LinkError::Network(error))),
        };
        let now = Instant::now();
        let session = Session::new(config, entropy);
        let mut link = Link {
            socket,
            session,
            start: now,
            last_answer: now,
        };
        let outcome = link.drive(true).await;
        if outcome.is_err() {
            // The farewell, if there is one; nothing depends on it.
            let now_ms = link.now_ms();
            if let Ok(Some(datagram)) = link.session.poll_transmit(now_ms) {
                let _ = link.socket.send(&datagram).await;
            }
        }
        Ok(outcome.map(|_| link))
    }
}

impl Link {
    async fn ask(&mut self, command: Command) -> Result<Result<Answer, AnswerError>, LinkError> {
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

fn is_silence(error: &LinkError) -> bool {
    matches!(error, LinkError::Session(SessionError::NoAnswer { .. }))
}

fn is_worth_another_try(why: &SessionError) -> bool {
    matches!(
        why,
        SessionError::NoAnswer { .. } | SessionError::Garbage { .. }
    )
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

fn random_block() -> Result<[u8; 16], getrandom::Error> {
    let mut block = [0; 16];
    getrandom::fill(&mut block)?;
    Ok(block)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
