//! Our own user's password: changed at the BMC, proved by a session, kept in
//! its file. Whatever fails or crashes on the way, the password that the BMC
//! has is in one of two files, and the next look finds out in which.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use protocols::rmcp::{Answer, Command, CredentialError, Password, Privilege, UserId};
use zeroize::Zeroizing;

use super::IpmiClient;
use crate::power::password_file::{PasswordFile, PasswordFileError};
use crate::power::{PowerError, PowerErrorKind};

/// Lengths of new passwords, the best first: IPMI 2.0 has 20 bytes, yet some
/// BMCs take 16 at most.
const LENGTHS: [usize; 2] = [20, 16];
/// Letters of new passwords: 64, so that each is six random bits, and none
/// that a shell or a BMC's page treats in its own way.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
/// How often letters are drawn until each kind is among them, as some BMCs
/// demand. Four in ten draws are good.
const DRAWS: u32 = 128;

/// A password that a client and its console share, so that a new one reaches
/// both.
#[derive(Clone)]
pub(super) struct SharedPassword(Arc<Mutex<Password>>);

impl SharedPassword {
    /// Nobody else has it yet.
    pub(super) fn new(password: Password) -> Self {
        Self(Arc::new(Mutex::new(password)))
    }

    pub(super) fn get(&self) -> Password {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, password: Password) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = password;
    }
}

impl fmt::Debug for SharedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedPassword(redacted)")
    }
}

/// Which password a BMC turned out to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The one in the file.
    Kept,
    /// The one that lay beside it, which is in the file now.
    Taken,
}

impl IpmiClient {
    /// Makes a random password, gives it to our own user, proves it by a
    /// session of its own and puts it in the place of the old one in its file.
    /// Needs the administrator privilege.
    ///
    /// # Errors
    /// When the BMC or the file system refuses, or the BMC goes away. What the
    /// BMC then has is in one of the two files; see
    /// [`IpmiClient::settle_password`].
    pub async fn rotate_password(&mut self) -> Result<(), PowerError> {
        let file = match &self.config.password_file {
            Some(file) if file.is_shared() => {
                return Err(self.lacks_rotation(
                    "other sleds have their password from the same file: give each its own",
                ));
            }
            Some(file) => file.clone(),
            None => return Err(self.lacks_rotation("it is kept in no file")),
        };
        self.settle_password().await?;
        let mut refusal = None;
        for length in LENGTHS {
            let new = self.random_password(length)?;
            let password = self.usable(&new)?;
            self.with_file(&file, move |file| file.offer(&new)).await?;
            let Err(error) = self.change_password(password).await else {
                return self.with_file(&file, PasswordFile::take).await;
            };
            if self.settle_password().await? == Settled::Taken {
                return Ok(());
            }
            match error.kind() {
                PowerErrorKind::Refused | PowerErrorKind::WrongPassword => refusal = Some(error),
                _ => return Err(error),
            }
        }
        Err(refusal.unwrap_or_else(|| self.lacks_rotation("the BMC takes no password of ours")))
    }

    /// Finds out which password the BMC has when a change of it was cut short,
    /// and puts that one into the file. Asks nobody anything when none was.
    ///
    /// # Errors
    /// When the BMC does not answer or takes neither, or a file cannot be
    /// read or written.
    pub async fn settle_password(&mut self) -> Result<Settled, PowerError> {
        let Some(file) = self.config.password_file.clone() else {
            return Ok(Settled::Kept);
        };
        let Some(offered) = self.with_file(&file, PasswordFile::offered).await? else {
            return Ok(Settled::Kept);
        };
        // The old one first: where the BMC was never told, nothing is wrong.
        if self.takes(self.config.password.get()).await? {
            self.with_file(&file, PasswordFile::withdraw).await?;
            return Ok(Settled::Kept);
        }
        let unknown = || PowerError::PasswordUnknown {
            target: self.target.clone(),
            path: file.path().to_path_buf(),
            next: file.next(),
        };
        let offered = Password::new(&offered).map_err(|_| unknown())?;
        if !self.takes(offered.clone()).await? {
            return Err(unknown());
        }
        self.with_file(&file, PasswordFile::take).await?;
        self.close().await;
        self.config.password.set(offered);
        Ok(Settled::Taken)
    }

    /// Gives our own user the password `new`, which this client uses from then
    /// on. It is proved by a session before the old one is let go; a BMC that
    /// does not take it gets the old one back. Needs the administrator
    /// privilege.
    ///
    /// # Errors
    /// When the BMC does not answer, refuses, or our user is not found; the
    /// old password then holds, unless the BMC went away meanwhile.
    pub async fn change_password(&mut self, new: Password) -> Result<(), PowerError> {
        let mut admin = self.as_administrator();
        let changed = admin.change_own_password(new.clone()).await;
        admin.close().await;
        changed?;
        self.close().await;
        self.config.password.set(new);
        Ok(())
    }

    async fn change_own_password(&mut self, password: Password) -> Result<(), PowerError> {
        let user = self.own_user().await?;
        let old = self.config.password.get();
        let set = Command::SetUserPassword {
            user,
            password: password.clone(),
        };
        self.perform(&set, self.deadline()).await?;
        if let Err(error) = self.prove(password).await {
            let back = Command::SetUserPassword {
                user,
                password: old,
            };
            self.perform(&back, self.deadline()).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Whether the BMC takes `password` for ours.
    async fn takes(&self, password: Password) -> Result<bool, PowerError> {
        match self.prove(password).await {
            Ok(()) => Ok(true),
            Err(PowerError::WrongPassword { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens a session with `password`, reads over it and closes it.
    async fn prove(&self, password: Password) -> Result<(), PowerError> {
        let mut config = self.config.clone();
        config.set_password(password);
        let mut proof = Self::new(config, self.target.sled().map(str::to_owned));
        let read = proof.read().await;
        proof.close().await;
        read.map(drop)
    }

    /// The number of the user that we are.
    async fn own_user(&mut self) -> Result<UserId, PowerError> {
        let mut most = 1;
        let channel = protocols::rmcp::THIS_CHANNEL;
        for number in 1..=63 {
            let Some(user) = UserId::new(number).filter(|_| number <= most) else {
                break;
            };
            if let Ok(Answer::UserAccess(access)) =
                self.ask(&Command::GetUserAccess { channel, user }).await?
            {
                most = access.most_users;
            }
            if let Ok(Answer::UserName(name)) = self.ask(&Command::GetUserName(user)).await?
                && name.bytes() == self.config.username.as_bytes()
            {
                return Ok(user);
            }
        }
        Err(PowerError::Lacks {
            target: self.target.clone(),
            what: "our own user",
            why: "the BMC does not list it; change its password at the BMC by hand",
        })
    }

    pub(super) fn as_administrator(&self) -> Self {
        let mut config = self.config.clone();
        config.privilege = Privilege::Administrator;
        Self::new(config, self.target.sled().map(str::to_owned))
    }

    fn random_password(&self, length: usize) -> Result<Zeroizing<Vec<u8>>, PowerError> {
        let random = |detail: String| PowerError::Random {
            target: self.target.clone(),
            detail,
        };
        for _ in 0..DRAWS {
            let mut letters = Zeroizing::new(vec![0; length]);
            getrandom::fill(&mut letters).map_err(|error| random(error.to_string()))?;
            for letter in letters.iter_mut() {
                *letter = LETTERS[usize::from(*letter & 0x3f)];
            }
            if has_each_kind(&letters) {
                return Ok(letters);
            }
        }
        Err(random("they do not look random".to_owned()))
    }

    fn usable(&self, bytes: &[u8]) -> Result<Password, PowerError> {
        let unusable = |error: CredentialError| PowerError::Random {
            target: self.target.clone(),
            detail: error.to_string(),
        };
        Password::new(bytes).map_err(unusable)
    }

    fn lacks_rotation(&self, why: &'static str) -> PowerError {
        PowerError::Lacks {
            target: self.target.clone(),
            what: "a change of its password",
            why,
        }
    }

    /// Files block.
    async fn with_file<T: Send + 'static>(
        &self,
        file: &PasswordFile,
        act: impl FnOnce(&PasswordFile) -> Result<T, PasswordFileError> + Send + 'static,
    ) -> Result<T, PowerError> {
        let shared = file.clone();
        let done = tokio::task::spawn_blocking(move || act(&shared)).await;
        let why = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(why)) => why,
            Err(error) => file.failed("use", io::Error::other(error)),
        };
        Err(PowerError::PasswordFile {
            target: self.target.clone(),
            why,
        })
    }
}

fn has_each_kind(letters: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| letters.iter().any(is);
    has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_punctuation)
}
