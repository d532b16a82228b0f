//! Brings the chain up, drives it, and takes it down again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use musher_lab::{Lab, LabConfig, LabSled, Mode, SledConfig};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::files::{ADMIN_LISTEN, Deadlines, Files, Github, RUNNER_LABELS, WEBHOOK_LISTEN, Way};
use crate::power_log::{self, PowerLine};
use crate::uplink::Uplink;
use crate::{HubJob, JobView, REPOSITORY, SledView, forward, hub, ssh};

/// How long a program may take to answer for the first time.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(250);

/// A rig to be brought up.
#[derive(Clone, Debug)]
pub struct RigConfig {
    /// Where its files live. What an earlier rig left there is removed.
    pub dir: PathBuf,
    /// Its sleds.
    pub sleds: Vec<SledConfig>,
    /// The folder that `just images` fills.
    pub images: PathBuf,
    /// The folder with the programs `musher`, `fakehub`, `musher-lab`,
    /// `musher-demo`.
    pub programs: PathBuf,
    /// How the lab's network namespace is made.
    pub mode: Mode,
    /// Where jobs come from.
    pub github: Github,
    /// How deliveries of the stand-in come in.
    pub way: Way,
    /// Deadlines that differ from Musher's defaults.
    pub deadlines: Deadlines,
    /// Further tables of the stand-in's configuration, such as `[limits]`.
    pub hub_lines: String,
    /// Further lines of the pool in the inventory, such as `max_sleds = 1`.
    pub pool_lines: String,
    /// Names of sleds for which the inventory has a MAC that no machine has, as
    /// after a card was changed: these never netboot.
    pub miswired: Vec<String>,
    /// Names of sleds that a program powers, as an operator's would, instead of
    /// their BMC.
    pub programmed: Vec<String>,
    /// Whether all of it outlives the [`Rig`] value and this process.
    pub keep: bool,
}

impl RigConfig {
    /// A rig in `dir`, with the programs beside the running one (or one folder
    /// above it, where cargo puts tests) and the images of this checkout.
    ///
    /// # Errors
    /// The running program cannot be found.
    pub fn new(dir: impl Into<PathBuf>, sleds: Vec<SledConfig>) -> Result<Self> {
        let me = std::env::current_exe().context("find the running program")?;
        let programs = me
            .ancestors()
            .skip(1)
            .take(2)
            .find(|folder| folder.join("musher-lab").is_file())
            .context("cannot find musher-lab; run `cargo build --workspace --bins`")?;
        Ok(Self::with_programs(programs, dir, sleds))
    }

    /// The same with the programs of this folder.
    pub fn with_programs(
        programs: impl Into<PathBuf>,
        dir: impl Into<PathBuf>,
        sleds: Vec<SledConfig>,
    ) -> Self {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/images");
        Self {
            dir: dir.into(),
            sleds,
            images,
            programs: programs.into(),
            mode: Mode::Auto,
            github: Github::StandIn,
            way: Way::Direct,
            deadlines: Deadlines::new(),
            hub_lines: String::new(),
            pool_lines: String::new(),
            miswired: Vec::new(),
            programmed: Vec::new(),
            keep: false,
        }
    }
}

/// A chain that is up. Dropping it takes it down, unless it is to be kept.
#[derive(Debug)]
pub struct Rig {
    files: Files,
    programs: PathBuf,
    page: String,
    keep: bool,
    // In this order: programs go before the namespace that they run in.
    musher: Option<Child>,
    hub: Option<Child>,
    sshd: Option<Child>,
    forwarders: Vec<Child>,
    webhook: Option<String>,
    uplink: Option<Uplink>,
    lab: Lab,
}

impl Rig {
    /// Brings lab, stand-in and Musher up; all sleds are off.
    ///
    /// # Errors
    /// Images or programs that are not built, a rig that is up in the folder
    /// already, or a program that does not start; the message says what helps.
    pub fn up(config: &RigConfig) -> Result<Self> {
        let images = config.images.canonicalize().unwrap_or_default();
        for name in [
            "kernel/vmlinuz",
            "initramfs.img",
            "runner.squashfs",
            "runner.tar.gz",
        ] {
            ensure!(
                images.join(name).is_file(),
                "{name} is not built; run `./tools/just images`"
            );
        }
        let dir = prepare_dir(&config.dir)?;
        let mut lab_config = LabConfig::new(dir.join("lab"));
        lab_config.sleds.clone_from(&config.sleds);
        lab_config.lab_binary = Some(config.programs.join("musher-lab"));
        lab_config.probe_kernel = Some(images.join("kernel/vmlinuz"));
        lab_config.mode = config.mode;
        lab_config.keep = config.keep;
        let mut rig = Self {
            files: Files { dir },
            programs: config.programs.clone(),
            page: String::new(),
            keep: false,
            musher: None,
            hub: None,
            sshd: None,
            forwarders: Vec::new(),
            webhook: None,
            uplink: None,
            lab: Lab::up(&lab_config)?,
        };
        rig.page = format!("https://{}", rig.forward(ADMIN_LISTEN)?);
        rig.write_files(config, &images)?;
        match &config.github {
            Github::StandIn => rig.start_hub(&images, config.way, &config.hub_lines)?,
            Github::Real(_) => {
                rig.uplink = Some(Uplink::up(&rig.lab, &rig.files.dir)?);
                let address = rig.forward(WEBHOOK_LISTEN)?;
                rig.webhook = Some(format!("http://{address}/api/webhook"));
            }
        }
        if config.way == Way::Command {
            rig.start_sshd()?;
        }
        rig.start_musher()?;
        rig.wait_for_way(config.way)?;
        rig.keep = config.keep;
        Ok(rig)
    }

    fn forward(&mut self, target: &str) -> Result<SocketAddr> {
        let listener = forward::listen()?;
        let address = listener.local_addr().context("ask for a port")?;
        let demo = self.programs.join("musher-demo");
        let forwarder = forward::start(&demo, listener, self.lab.dir(), target)?;
        self.forwarders.push(forwarder);
        Ok(address)
    }

    fn write_files(&self, config: &RigConfig, images: &Path) -> Result<()> {
        let github = &config.github;
        self.files
            .write_musher_config(&self.page, github, config.way, &config.deadlines)?;
        let mut sleds = self.lab.sleds();
        for sled in &mut sleds {
            if config.miswired.contains(&sled.name) {
                sled.mac = sled.mac.replacen("52:54:00", "52:54:01", 1);
            }
        }
        self.files.write_inventory(&sleds, images, config)
    }

    /// The program that powers a sled, where one does.
    #[must_use]
    pub fn power_program(&self, sled: &str) -> PathBuf {
        self.files.power_program(sled)
    }

    fn start_hub(&mut self, images: &Path, way: Way, lines: &str) -> Result<()> {
        self.files.write_secrets()?;
        self.files
            .write_hub_config(&images.join("runner.tar.gz"), way, lines)?;
        let log = self.files.path("fakehub.log");
        let mut command = self.lab.command(self.programs.join("fakehub"));
        command.arg("--config").arg(self.files.hub_config());
        let child = self.hub.insert(start(&mut command, &log)?);
        let lab = &self.lab;
        wait_for("the GitHub stand-in", START_LIMIT, || {
            child.alive("fakehub", &log)?;
            Ok(hub::get::<Value>(lab, "jobs").ok())
        })?;
        Ok(())
    }

    fn start_sshd(&mut self) -> Result<()> {
        let dir = self.files.path("ssh");
        ssh::prepare(&dir)?;
        let log = self.files.path("sshd.log");
        self.sshd = Some(start(&mut ssh::server(&self.lab, &dir)?, &log)?);
        Ok(())
    }

    /// Waits until a delivery that is sent now would arrive at once.
    fn wait_for_way(&self, way: Way) -> Result<()> {
        if matches!(way, Way::Direct | Way::Pull) {
            return Ok(());
        }
        wait_for("the tunnel", START_LIMIT, || {
            let status: Value = self.musher_json(&["status"])?;
            let up = status["ways"]["tunnel"]["state"] == "up";
            let open =
                way != Way::Command || self.answers(&format!("http://{}/healthz", ssh::PUBLIC))?;
            Ok((up && open).then_some(()))
        })
    }

    /// Whether something inside the rig's namespace answers well.
    fn answers(&self, url: &str) -> Result<bool> {
        let mut curl = self.lab.command("curl");
        curl.args(["--silent", "--fail", "--max-time", "5", url]);
        let done = curl.stdin(Stdio::null()).output();
        Ok(done
            .context("cannot run curl; install the package curl")?
            .status
            .success())
    }

    /// How many deliveries Musher has taken by each way, in its own words.
    ///
    /// # Errors
    /// Its log cannot be read.
    pub fn deliveries_by_way(&self) -> Result<BTreeMap<String, usize>> {
        let log = fs::read_to_string(self.files.path("musher.log")).context("read musher.log")?;
        let mut ways = BTreeMap::new();
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            if let (Some("delivery"), Some(way)) =
                (line["message"].as_str(), line["source"].as_str())
            {
                *ways.entry(way.to_owned()).or_default() += 1;
            }
        }
        Ok(ways)
    }

    /// Where deliveries of the real GitHub are to be sent on this machine.
    #[must_use]
    pub fn webhook(&self) -> Option<&str> {
        self.webhook.as_deref()
    }

    /// The status page's address on this machine.
    #[must_use]
    pub fn page(&self) -> &str {
        &self.page
    }

    /// The rig's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.files.dir
    }

    /// The sleds, in order.
    #[must_use]
    pub fn lab_sleds(&self) -> Vec<LabSled> {
        self.lab.sleds()
    }

    /// Whether a sled's machine runs, asked of the machine and of nobody else.
    #[must_use]
    pub fn is_on(&self, sled: &str) -> bool {
        let status = self.lab.status();
        status.iter().any(|it| it.sled.name == sled && it.on)
    }

    /// A sled's power log so far.
    ///
    /// # Errors
    /// An unknown sled, or a log that cannot be read.
    pub fn power_log(&self, sled: &str) -> Result<Vec<PowerLine>> {
        let sleds = self.lab.sleds();
        let sled = sleds.iter().find(|it| it.name == sled);
        power_log::read(&sled.context("there is no such sled")?.power_log_path)
    }

    /// Queues a job at the stand-in, which sends the signed delivery.
    ///
    /// # Errors
    /// The stand-in refuses it.
    pub fn queue_job(&self, name: &str, script: &str) -> Result<HubJob> {
        let job = json!({
            "repo": REPOSITORY, "labels": RUNNER_LABELS, "name": name, "script": script,
        });
        hub::post(&self.lab, "jobs", &job)
    }

    /// A job as the stand-in keeps it.
    ///
    /// # Errors
    /// The stand-in does not know it.
    pub fn hub_job(&self, id: u64) -> Result<HubJob> {
        hub::get(&self.lab, &format!("jobs/{id}"))
    }

    /// Cancels a job at the stand-in.
    ///
    /// # Errors
    /// The stand-in does not know it.
    pub fn cancel_job(&self, id: u64) -> Result<HubJob> {
        hub::post(&self.lab, &format!("jobs/{id}/cancel"), &json!({}))
    }

    /// The runners that are registered at the stand-in.
    ///
    /// # Errors
    /// The stand-in does not answer.
    pub fn hub_runners(&self) -> Result<Vec<Value>> {
        let answer: Value = hub::get(&self.lab, "runners")?;
        let runners = answer.get("runners").and_then(Value::as_array);
        Ok(runners.cloned().unwrap_or_default())
    }

    /// Deliveries that the stand-in sent, newest first, with their answers.
    ///
    /// # Errors
    /// The stand-in does not answer.
    pub fn hub_deliveries(&self) -> Result<Vec<Value>> {
        let answer: Value = hub::get(&self.lab, "deliveries")?;
        let deliveries = answer.get("deliveries").and_then(Value::as_array);
        Ok(deliveries.cloned().unwrap_or_default())
    }

    /// Holds the stand-in still, or lets it go on: requests that come meanwhile
    /// are taken up then, even if nobody waits for their answers any more.
    ///
    /// # Errors
    /// It does not run.
    pub fn hold_hub(&self, still: bool) -> Result<()> {
        let hub = self.hub.as_ref().context("the stand-in is not running")?;
        let signal = if still { "-STOP" } else { "-CONT" };
        let done = Command::new("kill")
            .args([signal, &hub.id().to_string()])
            .status()
            .context("run kill")?;
        ensure!(done.success(), "kill {signal} of the stand-in: {done}");
        Ok(())
    }

    /// What Musher logged since the rig came up.
    #[must_use]
    pub fn musher_log(&self) -> String {
        fs::read_to_string(self.files.path("musher.log")).unwrap_or_default()
    }

    /// Starts Musher, and waits until it answers.
    ///
    /// # Errors
    /// It runs already, or ends at once; the message holds its last words.
    pub fn start_musher(&mut self) -> Result<()> {
        ensure!(self.musher.is_none(), "musher is running already");
        let log = self.files.path("musher.log");
        let program = self.programs.join("musher");
        let mut command = match &self.uplink {
            Some(uplink) => uplink.command(&self.lab, &program),
            None => self.lab.command(&program),
        };
        command
            .arg("serve")
            .arg("--config")
            .arg(self.files.musher_config());
        command.arg("--inventory").arg(self.files.inventory());
        let child = start(&mut command, &log)?;
        let child = self.musher.insert(child);
        let config = self.files.musher_config();
        wait_for("musher", START_LIMIT, || {
            child.alive("musher", &log)?;
            let done = ask(&program, &config, &["status", "--json"])?;
            Ok(done.status.success().then_some(()))
        })
    }

    /// Kills Musher without a warning, as a power cut would.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_musher(&mut self) -> Result<()> {
        let mut child = self.musher.take().context("musher is not running")?;
        child.kill().context("kill musher")?;
        child.wait().context("wait for musher")?;
        Ok(())
    }

    /// Runs a `musher` command against the running appliance.
    ///
    /// # Errors
    /// The program cannot be started; its exit code is the caller's to judge.
    pub fn musher(&self, arguments: &[&str]) -> Result<Output> {
        ask(
            &self.programs.join("musher"),
            &self.files.musher_config(),
            arguments,
        )
    }

    /// Runs a `musher` command with `--json` and reads what it prints.
    ///
    /// # Errors
    /// The command fails, or prints something else.
    pub fn musher_json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let done = self.musher(&[arguments, &["--json"]].concat())?;
        ensure!(
            done.status.success(),
            "musher {arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        );
        serde_json::from_slice(&done.stdout)
            .with_context(|| format!("read what musher {arguments:?} printed"))
    }

    /// Jobs that Musher knows, newest first.
    ///
    /// # Errors
    /// Musher does not answer.
    pub fn jobs(&self) -> Result<Vec<JobView>> {
        self.musher_json(&["jobs", "--limit", "1000"])
    }

    /// One job that Musher knows.
    ///
    /// # Errors
    /// Musher does not answer.
    pub fn job(&self, id: u64) -> Result<Option<JobView>> {
        Ok(self.jobs()?.into_iter().find(|job| job.id == id))
    }

    /// Sleds as Musher sees them.
    ///
    /// # Errors
    /// Musher does not answer.
    pub fn sleds(&self) -> Result<Vec<SledView>> {
        self.musher_json(&["sleds"])
    }

    /// Numbers of the receipts whose signatures and chain `musher receipts
    /// verify` found right.
    ///
    /// # Errors
    /// It found one that is not.
    pub fn verified_receipts(&self) -> Result<Vec<u64>> {
        let report: Value = self.musher_json(&["receipts", "verify"])?;
        ensure!(report.get("ok") == Some(&json!(true)), "receipts: {report}");
        let numbers = report.get("receipts").context("verify names no receipts")?;
        serde_json::from_value(numbers.clone()).context("read the receipts' numbers")
    }

    /// Takes everything down and says what failed, if anything did.
    ///
    /// # Errors
    /// The lab does not end.
    pub fn down(mut self) -> Result<()> {
        self.keep = false;
        self.end_programs();
        Lab::open(self.lab.dir())?.down()
    }

    fn end_programs(&mut self) {
        let programs = self.musher.iter_mut().chain(&mut self.hub);
        let programs = programs.chain(&mut self.sshd);
        for child in programs.chain(&mut self.forwarders) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !self.keep {
            self.end_programs();
        }
    }
}

/// Asks again and again until there is an answer.
///
/// # Errors
/// No answer in time, or an error of the question itself; both name `what`.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut question: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = question().with_context(|| format!("wait for {what}"))? {
            return Ok(answer);
        }
        if start.elapsed() >= limit {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

/// Removes what an earlier rig left, unless that one still runs.
fn prepare_dir(dir: &Path) -> Result<PathBuf> {
    let shown = dir.display();
    if Lab::open(&dir.join("lab")).is_ok() {
        bail!("{shown} is in use by a rig that runs; take it down: ./tools/just demo-down {shown}");
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {shown}"));
        }
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(dir).with_context(|| format!("make {shown}"))?;
    dir.canonicalize().with_context(|| format!("find {shown}"))
}

/// Starts a program that goes on in the background, past a ctrl-c in the
/// terminal, and writes to a log.
fn start(command: &mut Command, log: &Path) -> Result<Child> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open {}", log.display()))?;
    let again = file.try_clone().context("share the log")?;
    command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(again)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {:?}", command.get_program()))
}

fn ask(program: &Path, config: &Path, arguments: &[&str]) -> Result<Output> {
    // The control socket is a path, so it is reached from outside as well.
    Command::new(program)
        .args(arguments)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", program.display()))
}

trait Alive {
    /// # Errors
    /// The program ended; the message holds its last words.
    fn alive(&mut self, name: &str, log: &Path) -> Result<()>;
}

impl Alive for Child {
    fn alive(&mut self, name: &str, log: &Path) -> Result<()> {
        let Some(status) = self.try_wait().context("look after a program")? else {
            return Ok(());
        };
        let text = fs::read_to_string(log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        bail!("{name} ended ({status}): {}", last.join("\n"));
    }
}
