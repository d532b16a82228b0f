//! The UDP shell around `protocols::rmcp`: sockets, clocks and randomness for
//! one BMC's session.
//!
//! It keeps a session while it is used and opens a new one when the old has
//! gone stale. It tries a wrong password once, never sends a command twice
//! that must not be carried out twice, has one command in flight, and ends
//! every operation by its deadline.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use protocols::rmcp::{
    Answer, AnswerError, BmcKey, BootDevice, BootFlags, ChassisControl, CipherSuite, Command,
    CompletionCode, Config, CredentialError, DeviceId, Entropy, Firmware, NameLookup, Password,
    Privilege, Session, SessionError, Timing, Username,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::{PowerError, Target};
use super::password_file::PasswordFile;
use super::{BootOverride, PowerReading, Switched};
use link::{Link, LinkError, milliseconds, random_block};

mod console;
mod events;
mod facts;
mod link;
mod password;
mod settings;

pub use console::{ConsoleSource, IpmiConsole};
pub use password::Settled;
use password::SharedPassword;
pub use settings::HostInterface;

/// IPMI 6.12.15: a BMC drops a session that was idle for 60 ± 3 s.
const IDLE: Duration = Duration::from_secs(45);
/// When a session that is kept warm is used again at the latest.
const KEEP_WARM: Duration = Duration::from_secs(30);
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
    /// How long a power cycle stays off: supplies need seconds to drain.
    pub off_time: Duration,
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
            off_time: Duration::from_secs(5),
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
    password: SharedPassword,
    /// Where it is kept.
    pub password_file: Option<PasswordFile>,
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
    /// The serial line shall be recorded.
    pub console: bool,
    /// The sled's own system shall lose what could turn its BMC against us.
    pub restrict_host_interface: bool,
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
            password: SharedPassword::new(Password::new(password)?),
            password_file: None,
            bmc_key: None,
            cipher,
            privilege: Privilege::Operator,
            lookup: NameLookup::NameOnly,
            patience: Patience::default(),
            console: false,
            restrict_host_interface: false,
        })
    }

    /// Uses another password; clients made of this config before keep theirs.
    pub fn set_password(&mut self, password: Password) {
        self.password = SharedPassword::new(password);
    }
}

/// One BMC.
pub struct IpmiClient {
    config: IpmiConfig,
    target: Target,
    link: Option<Link>,
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

    /// Asks the sled's system to power off, as its power button would; whether
    /// it does is for [`IpmiClient::read`] to say. Sends no command when the
    /// chassis is off.
    ///
    /// # Errors
    /// When the state cannot be read or the command fails.
    pub async fn soft_off(&mut self) -> Result<Switched, PowerError> {
        self.switch(PowerReading::Off, ChassisControl::SoftShutdown)
            .await
    }

    /// Resets the machine without asking its system. Sent once: nobody can see
    /// whether it was done.
    ///
    /// # Errors
    /// When the command fails; some BMCs refuse it while the chassis is off.
    pub async fn reset(&mut self) -> Result<(), PowerError> {
        let reset = Command::ChassisControl(ChassisControl::HardReset);
        self.perform(&reset, self.deadline()).await.map(drop)
    }

    /// Off, seen off, a pause, on; a chassis that is off is only switched on.
    ///
    /// Not the BMC's own power cycle (IPMI 28.3): until that has switched on
    /// again, "off" is no proof of off, and it must not be sent twice when an
    /// answer is lost. Dropping the future in between leaves the sled off.
    ///
    /// # Errors
    /// When the state cannot be read or a command fails;
    /// [`PowerError::StillOn`] when the chassis never reads off.
    pub async fn cycle(&mut self) -> Result<(), PowerError> {
        let deadline = self.deadline();
        if self.status(deadline).await? != PowerReading::Off {
            self.switch(PowerReading::Off, ChassisControl::PowerDown)
                .await?;
            while self.status(deadline).await? != PowerReading::Off {
                if Instant::now() + PAUSE >= deadline {
                    let after_ms = self.config.patience.deadline.as_millis();
                    return Err(PowerError::StillOn {
                        target: self.target.clone(),
                        after_ms,
                    });
                }
                sleep(PAUSE).await;
            }
            sleep(self.config.patience.off_time).await;
        }
        // The pause counts for nobody's deadline.
        let up = Command::ChassisControl(ChassisControl::PowerUp);
        self.perform(&up, self.deadline()).await.map(|_| ())
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
            match self.perform(&command, deadline).await {
                Ok(_) | Err(PowerError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.perform(&Command::SetBootFlags(wanted), deadline)
            .await?;
        match self.perform(&Command::GetBootFlags, deadline).await {
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
        match self.perform(&Command::GetDeviceId, deadline).await? {
            Answer::DeviceId(id) => Ok(Some(id)),
            _ => Ok(None),
        }
    }

    /// When [`IpmiClient::keep_warm`] should be called, so that the BMC does
    /// not drop the session; `None` when there is none to keep.
    #[must_use]
    pub fn keep_warm_at(&self) -> Option<Instant> {
        self.link.as_ref().map(|link| link.last_answer + KEEP_WARM)
    }

    /// Uses the session, so that it stays. A BMC that does not answer loses
    /// it, which is found out by the next command in any case.
    pub async fn keep_warm(&mut self) {
        if let Some(mut link) = self.link.take()
            && let Ok(Ok(_)) = timeout(PAUSE * 8, link.ask(Command::GetDeviceId)).await
        {
            self.link = Some(link);
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
        match self.perform(&Command::GetChassisStatus, deadline).await? {
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
        let refusal = match self
            .perform(&Command::ChassisControl(control), deadline)
            .await
        {
            Ok(_) => return Ok(Switched::Commanded),
            Err(error) => error,
        };
        // Workaround `off-when-off`: it went by itself since it was read.
        if refusal.code() == Some(CompletionCode::NOT_NOW) && self.status(deadline).await? == wanted
        {
            return Ok(Switched::AlreadySo);
        }
        Err(refusal)
    }

    /// Carries `command` out by `deadline`, patient with a busy BMC.
    async fn perform(
        &mut self,
        command: &Command,
        deadline: Instant,
    ) -> Result<Answer, PowerError> {
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
                command: command.name(),
                after_ms: self.config.patience.deadline.as_millis(),
            }),
        }
    }

    /// One command over the kept session, or over a new one when the BMC has
    /// forgotten the old (it restarted, or another console pushed us out).
    async fn attempt(
        &mut self,
        command: &Command,
    ) -> Result<Result<Answer, AnswerError>, PowerError> {
        // Taken out, so that a dropped future leaves no half-used session.
        let kept = self
            .link
            .take()
            .filter(|link| link.last_answer.elapsed() < IDLE);
        // Workaround `lost-session`: whatever broke the kept session, the
        // command is given again where that does no harm.
        if let Some(mut link) = kept {
            match link.ask(command.clone()).await {
                Ok(answer) => {
                    self.link = Some(link);
                    return Ok(answer);
                }
                Err(error) if !command.is_idempotent() => {
                    return Err(error.of(self.target.clone(), 0));
                }
                Err(_) => {}
            }
        }
        let mut link = self.connect().await?;
        match link.ask(command.clone()).await {
            Ok(answer) => {
                self.link = Some(link);
                Ok(answer)
            }
            Err(error) => Err(error.of(self.target.clone(), 0)),
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
                Err(
                    error @ (LinkError::Network(_)
                    | LinkError::Session(SessionError::BmcBusy { .. })),
                ) => {
                    failure = Some(error);
                    sleep(PAUSE.min(wait)).await;
                }
                // Anything that came back says more than later silence.
                Err(error) if !is_silence(&error) || failure.is_none() => failure = Some(error),
                Err(_) => {}
            }
        }
        let failure = failure.unwrap_or(LinkError::Session(SessionError::NotActive));
        Err(failure.of(self.target.clone(), tries))
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
            password: self.config.password.get(),
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
        Ok(Link::open(self.config.address, Session::new(config, entropy)).await)
    }
}

fn is_silence(error: &LinkError) -> bool {
    matches!(error, LinkError::Session(SessionError::NoAnswer { .. }))
}

fn is_worth_another_try(why: &SessionError) -> bool {
    matches!(
        why,
        SessionError::NoAnswer { .. } | SessionError::Garbage { .. } | SessionError::BmcBusy { .. }
    )
}
