//! The runner's root: a verified squashfs with scratch laid over it. Nothing
//! of an image is mounted before its size and digest are those of the order.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use messages::{Digest, ImageRef};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::appliance::{Appliance, ApplianceError};
use crate::boot::{JOB_MOUNTS, MountError, mount_below};
use crate::console::say;
use crate::ioctls;
use crate::run::user::{User, UserError};
use crate::scratch::SCRATCH;

/// The root that the runner sees.
pub(crate) const ROOT: &str = "/root-of-job";
const LOWER: &str = "/image";
const UPPER: &str = "upper";
const WORK: &str = "work";

/// Why there is no root for the runner.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// The download failed or is not what was ordered.
    #[error("cannot get image {name}")]
    Fetch {
        /// The image's name.
        name: String,
        /// Why.
        source: ApplianceError,
    },
    /// A step of the set-up failed.
    #[error("cannot {step}")]
    Step {
        /// Which.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A kernel file system of the root.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The image has no such user or runner.
    #[error("the image is no runner image")]
    User(#[source] UserError),
}

fn step<T>(step: &'static str, result: io::Result<T>) -> Result<T, ImageError> {
    result.map_err(|source| ImageError::Step { step, source })
}

/// Makes roots, and remembers what is downloaded and verified already.
pub(crate) struct Images {
    /// `resolv.conf` of the job.
    resolver: String,
    /// The sled's name, which becomes the host name.
    sled: String,
    verified: Option<Digest>,
}

/// A mounted root.
pub(crate) struct Root {
    device: File,
    /// Who the runner runs as.
    pub(crate) user: User,
}

impl Images {
    pub(crate) const fn new(resolver: String, sled: String) -> Self {
        Self {
            resolver,
            sled,
            verified: None,
        }
    }

    /// Fetches, verifies and mounts `image`.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub(crate) fn prepare(
        &mut self,
        appliance: &mut Appliance,
        image: &ImageRef,
        patience: Duration,
    ) -> Result<Root, ImageError> {
        let path = Path::new(SCRATCH).join("image.squashfs");
        // A discarded order is often followed by one for the same image.
        if self.verified != Some(image.digest) {
            self.verified = None;
            appliance
                .fetch(image, patience, &|| File::create(&path))
                .map_err(|source| ImageError::Fetch {
                    name: image.name.clone(),
                    source,
                })?;
            self.verified = Some(image.digest);
            say!("image {} fetched and verified", image.name);
        }
        let device = step("attach the image", attach(&path))?;
        step("mount the root", mount_layers(&device.1))?;
        let root = Path::new(ROOT);
        for entry in &JOB_MOUNTS {
            mount_below(root, entry)?;
        }
        step("write the root's settings", self.settle(root))?;
        Ok(Root {
            device: device.0,
            user: User::find(root).map_err(ImageError::User)?,
        })
    }

    /// What a root must know of this sled and its network.
    fn settle(&self, root: &Path) -> io::Result<()> {
        replace(root, "etc/resolv.conf", &self.resolver)?;
        // Names that cannot be a host's are the inventory's business.
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if self.sled.is_empty() || !self.sled.bytes().all(valid) {
            return Ok(());
        }
        rustix::system::sethostname(self.sled.as_bytes())?;
        replace(root, "etc/hostname", &format!("{}\n", self.sled))?;
        // Without its own name in it, every sudo of a job waits for DNS.
        let hosts = format!(
            "127.0.0.1 localhost\n127.0.1.1 {}\n::1 localhost ip6-localhost\n",
            self.sled
        );
        replace(root, "etc/hosts", &hosts)
    }
}

impl Root {
    /// Undoes [`Images::prepare`], so that another root can be made.
    ///
    /// # Errors
    /// Something in the root is still in use.
    pub(crate) fn tear_down(self) -> Result<(), ImageError> {
        for entry in JOB_MOUNTS.iter().rev() {
            let target = Path::new(ROOT).join(entry.target.trim_start_matches('/'));
            step(
                "unmount the root",
                unmount(target, UnmountFlags::empty()).map_err(Into::into),
            )?;
        }
        for target in [ROOT, LOWER] {
            step(
                "unmount the root",
                unmount(target, UnmountFlags::empty()).map_err(Into::into),
            )?;
        }
        step("detach the image", ioctls::detach_loop(&self.device))?;
        for layer in [UPPER, WORK] {
            step(
                "clear scratch",
                fs::remove_dir_all(Path::new(SCRATCH).join(layer)),
            )?;
        }
        Ok(())
    }
}

/// Attaches a file to a loop device, read-only. The page cache still holds
/// what was just written, so there is no direct IO: the runner starts from
/// memory.
fn attach(path: &Path) -> io::Result<(File, String)> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let name = format!("/dev/loop{}", ioctls::free_loop(&control)?);
    let device = File::open(&name)?;
    ioctls::attach_loop(&device, &File::open(path)?)?;
    Ok((device, name))
}

fn mount_layers(device: &str) -> io::Result<()> {
    let scratch = Path::new(SCRATCH);
    for folder in [
        Path::new(ROOT),
        Path::new(LOWER),
        &scratch.join(UPPER),
        &scratch.join(WORK),
    ] {
        fs::create_dir_all(folder)?;
    }
    mount(device, LOWER, "squashfs", MountFlags::RDONLY, None)?;
    let layers = c"lowerdir=/image,upperdir=/scratch/upper,workdir=/scratch/work";
    mount("overlay", ROOT, "overlay", MountFlags::NOATIME, layers)?;
    Ok(())
}

/// Writes a file of the root anew: what is there may be a symbolic link, which
/// would lead out of it.
fn replace(root: &Path, name: &str, text: &str) -> io::Result<()> {
    let path = root.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::create_new(&path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}
