//! An appliance in a guest with `gpio-sim` lines, and a sled of the lab that
//! stands behind them: what the guest's relay line does, the supply of
//! the sled's machine follows, and the guest's sense line shows the machine, as
//! its power LED does: dark when it turned itself off behind a closed relay. Or
//! the machine sleeps behind the relay until a magic packet comes.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use musher_e2e::{Standalone, program};
use musher_lab::{BRIDGE, Firmware, Lab, LabConfig, LabSled};
use serde_json::{Value, json};

use crate::guest::{self, Console, Module};

const END: &str = "the guest is done";
const LIMIT: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(100);
const MODULES: [Module; 3] = [("configfs", ""), ("gpio_sim", ""), ("virtio_net", "")];
const TAP: &str = "appliance";
/// The stand-in, on the lab's bridge.
const HUB: &str = "10.77.0.1:9400";
const HUB_SLEDS: &str = "10.77.0.1:9401";
/// The same, as the guest's Musher reaches it.
const HUB_HERE: &str = "127.0.0.1:9400";
/// The guest, on the bridge too.
const WEBHOOK: &str = "10.77.0.2:8400";
const NETWORK: &str = "link set lo up\naddress add 10.77.0.2/24 dev eth0\nlink set eth0 up\n";

/// How the machine stands behind the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// It starts with its supply.
    Relay,
    /// It sleeps behind its supply until it is woken.
    Woken,
}

impl Wiring {
    fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Woken => "woken",
        }
    }

    /// The sled's power settings.
    fn driver(self) -> String {
        let lines =
            "driver = \"relay\", line = \"relay-02\", sense = \"sense-02\", settle_ms = 20000";
        match self {
            Self::Relay => format!("{{ {lines} }}"),
            Self::Woken => format!("{{ driver = \"wol\", off = {{ {lines} }} }}"),
        }
    }

    /// `lines.toml`. What stays closed must be latching, or its holder would
    /// not end.
    fn lines(self) -> String {
        let latching = self == Self::Woken;
        format!(
            "[[line]]\nname = \"relay-02\"\nuse = \"relay\"\nchip = \"sled\"\noffset = 2\n\
             latching = {latching}\n\
             [[line]]\nname = \"sense-02\"\nuse = \"sense\"\nchip = \"sled\"\noffset = 3\n"
        )
    }

    /// The line whose fall ends the job: behind a closed relay only a machine
    /// that a packet must wake is off.
    fn last(self) -> &'static str {
        match self {
            Self::Relay => "2",
            Self::Woken => "3",
        }
    }
}

/// What Wake-on-LAN sends to a card (AMD, "Magic Packet Technology", 1995).
fn magic_packet(mac: &str) -> Vec<u8> {
    let mac: Vec<u8> = mac
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    [vec![0xff; 6], mac.repeat(16)].concat()
}

/// The machine's network card on the bridge: how many packets came that are
/// for it.
struct Card {
    heard: PathBuf,
    packet: Vec<u8>,
    _ear: Running,
}

impl Card {
    fn listen(lab: &Lab, sled: &LabSled, dir: &Path) -> Self {
        let heard = dir.join("packets");
        let file = File::create(&heard).unwrap();
        let mut socat = lab.command("socat");
        socat.args(["-u", "UDP4-RECV:9", "STDOUT"]);
        let ear = socat.stdin(Stdio::null()).stdout(file).spawn().unwrap();
        Self {
            heard,
            packet: magic_packet(&sled.mac),
            _ear: Running(ear),
        }
    }

    fn packets(&self) -> usize {
        let heard = fs::read(&self.heard).unwrap();
        let packets = heard.chunks(self.packet.len());
        packets.filter(|bytes| *bytes == self.packet).count()
    }
}

/// What is left when the job is done.
pub(crate) struct JobEnd {
    pub(crate) console: Console,
    pub(crate) hub_job: Value,
    pub(crate) power_log: String,
}

impl JobEnd {
    /// What the guest's Musher said, after `word`.
    pub(crate) fn said(&self, word: &str) -> Value {
        let said = self.console.all(word);
        assert_eq!(said.len(), 1, "{word}: {said:?}");
        serde_json::from_str(said[0]).unwrap()
    }
}

/// A program that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs one job and waits for its receipt.
pub(crate) fn run(wiring: Wiring) -> JobEnd {
    let target = guest::target().canonicalize().unwrap();
    let images = target.join("images");
    let dir = target.join(format!("e2e/gpio-job-{}", wiring.name()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let mut config = LabConfig::new(dir.join("lab"));
    config.sleds = vec![Firmware::Bios.into()];
    config.lab_binary = Some(program("musher-lab").unwrap());
    config.probe_kernel = Some(images.join("kernel/vmlinuz"));
    let lab = Lab::up(&config).unwrap();
    let sled = lab.sleds().remove(0);

    let files = Standalone::new().unwrap();
    let _hub = start_hub(&lab, files.dir(), &images, &dir);
    configure(files.dir(), &images, &sled, wiring);
    let mut guest = start_guest(&lab, files.dir(), &target, &dir, wiring);
    let job = play(&lab, &sled, &mut guest, &dir, wiring);

    let console = fs::read(dir.join("console.log")).unwrap();
    let console = Console(String::from_utf8_lossy(&console).into_owned());
    let hub_job = ask_hub(&lab, &format!("jobs/{job}"), None);
    let power_log = fs::read_to_string(&sled.power_log_path).unwrap();
    drop(guest);
    lab.down().unwrap();
    JobEnd {
        console,
        hub_job,
        power_log,
    }
}

/// Plays the wiring until the guest is done. The job's number.
fn play(lab: &Lab, sled: &LabSled, guest: &mut Running, dir: &Path, wiring: Wiring) -> u64 {
    let start = Instant::now();
    let console = || {
        let bytes = fs::read(dir.join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let look_after = |guest: &mut Running| {
        let ended = guest.0.try_wait().unwrap();
        let said = console();
        assert!(ended.is_none() || said.contains(END), "{ended:?}: {said}");
        assert!(start.elapsed() < LIMIT, "too late: {said}");
        said
    };
    // A socket's path is short (unix(7)): it is reached through /proc.
    let folder = File::open(dir).unwrap();
    let path = {
        use std::os::fd::AsRawFd as _;
        PathBuf::from(format!("/proc/self/fd/{}/wire", folder.as_raw_fd()))
    };
    let mut wire = loop {
        look_after(guest);
        match UnixStream::connect(&path) {
            Ok(wire) => break wire,
            Err(_) => std::thread::sleep(LOOK),
        }
    };
    wire.set_read_timeout(Some(LOOK)).unwrap();
    let card = (wiring == Wiring::Woken).then(|| Card::listen(lab, sled, dir));
    // A card without supply hears nothing.
    let mut deaf_to = None;
    let (mut job, mut heard, mut lit) = (None, String::new(), false);
    loop {
        let said = look_after(guest);
        if said.contains(END) {
            return job.unwrap_or_else(|| panic!("the guest never served: {said}"));
        }
        if job.is_none() && said.lines().any(|line| line.trim_end() == "serving") {
            let wish = json!({
                "repo": "octo-org/demo", "labels": ["self-hosted", "linux", "x64"],
                "name": "by-relay", "script": "echo powered",
            });
            job = ask_hub(lab, "jobs", Some(&wish))["id"].as_u64();
        }
        let mut bytes = [0; 256];
        let read = wire.read(&mut bytes).unwrap_or_default();
        heard += &String::from_utf8_lossy(&bytes[..read]);
        while let Some((line, rest)) = heard.split_once('\n') {
            match (line.trim().strip_prefix("level "), &card) {
                (Some("1"), Some(card)) => deaf_to = Some(card.packets()),
                (Some(level), _) => chassis(lab, sled, level),
                (None, _) => {}
            }
            heard = rest.to_owned();
        }
        if let (Some(card), Some(missed)) = (&card, deaf_to)
            && card.packets() > missed
        {
            deaf_to = None;
            chassis(lab, sled, "1");
        }
        if is_lit(sled) != lit {
            lit = !lit;
            writeln!(wire, "rail {}", u8::from(lit)).unwrap();
        }
    }
}

/// Whether the machine runs, by what the lab wrote down of it.
fn is_lit(sled: &LabSled) -> bool {
    let log = fs::read_to_string(&sled.power_log_path).unwrap_or_default();
    let count = |word: &str| log.lines().filter(|line| line.contains(word)).count();
    count("started") > count("exited")
}

/// What the relay does to the machine's supply.
fn chassis(lab: &Lab, sled: &LabSled, level: &str) {
    let mut command = lab.command(program("musher-lab").unwrap());
    command
        .arg("chassis")
        .arg(sled.power_log_path.parent().unwrap());
    guest::run(command.args(["set", "power", level]));
}

fn ask_hub(lab: &Lab, path: &str, body: Option<&Value>) -> Value {
    let mut curl = lab.command("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body"]);
    curl.args(["--max-time", "10"]);
    if let Some(body) = body {
        curl.args(["--json", &body.to_string()]);
    }
    let said = guest::run(curl.arg(format!("http://{HUB}/_fakehub/{path}")));
    serde_json::from_str(&said).unwrap()
}

fn start_hub(lab: &Lab, files: &Path, images: &Path, dir: &Path) -> Running {
    let key = ["rsa", "-in", "gh-app.pem", "-pubout", "-out", "gh-app.pub"];
    guest::run(Command::new("openssl").args(key).current_dir(files));
    let text = format!(
        "[api]\nlisten = \"{HUB}\"\n[sled]\nlisten = \"{HUB_SLEDS}\"\n\
         [runner]\npath = \"{runner}\"\nversion = \"2.335.0\"\n\
         [[app]]\napp_id = 123456\npublic_key_path = \"gh-app.pub\"\n\
         webhook_url = \"http://{WEBHOOK}/api/webhook\"\n\
         webhook_secret_path = \"webhook-secret\"\n\
         [[app.installation]]\nid = 1001\naccount = \"octo-org\"\nrepositories = [\"demo\"]\n",
        runner = images.join("runner.tar.gz").display()
    );
    let file = files.join("fakehub.toml");
    fs::write(&file, text).unwrap();
    let log = File::create(dir.join("fakehub.log")).unwrap();
    let mut command = lab.command(program("fakehub").unwrap());
    command.arg("--config").arg(file).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    Running(command.spawn().unwrap())
}

/// The appliance's own files, as they lie in the guest's `/rig`.
fn configure(files: &Path, images: &Path, sled: &LabSled, wiring: Wiring) {
    let text = format!(
        "[server]\npublic_url = \"https://10.77.0.2:8443\"\nwebhook_listen = \"{WEBHOOK}\"\n\
         admin_listen = \"127.0.0.1:8443\"\nsled_interface = \"eth0\"\n\
         sled_listen = \"10.77.0.2:8480\"\nstate_dir = \"state\"\n\
         ipxe_dir = \"ipxe\"\n\
         [dhcp]\nmode = \"server\"\nrange = \"10.77.0.50-10.77.0.60\"\n\
         [deadlines]\npower_off_s = {off}\n\
         [gpio]\nlines = \"/lines.toml\"\nsocket = \"/run/gpio.sock\"\n\
         [[github]]\nname = \"main\"\napi_url = \"http://{HUB_HERE}\"\n\
         web_url = \"http://{HUB_SLEDS}\"\napp_id = 123456\n\
         private_key_path = \"gh-app.pem\"\nwebhook_secret_path = \"webhook-secret\"\n",
        off = LIMIT.as_secs()
    );
    fs::write(files.join("musher.toml"), text).unwrap();
    let text = format!(
        "[[image]]\nname = \"runner\"\nkernel = \"vmlinuz\"\ninitramfs = \"initramfs.img\"\n\
         rootfs = \"runner.squashfs\"\ncmdline = \"console=ttyS0\"\n\
         [[pool]]\nname = \"linux-x64\"\ngithub = \"main\"\nscope = {{ org = \"octo-org\" }}\n\
         labels = [\"self-hosted\", \"linux\", \"x64\"]\nimage = \"runner\"\n\
         [[sled]]\nname = \"{name}\"\npools = [\"linux-x64\"]\nmac = \"{mac}\"\n\
         power = {driver}\n",
        name = sled.name,
        mac = sled.mac,
        driver = wiring.driver()
    );
    fs::write(files.join("inventory.toml"), text).unwrap();
    fs::write(files.join("webhook"), WEBHOOK).unwrap();
    guest::run(Command::new("cp").args(["-rL", "/usr/lib/ipxe"]).arg(files));
    for image in ["kernel/vmlinuz", "initramfs.img", "runner.squashfs"] {
        let from = images.join(image);
        let to = files.join(from.file_name().unwrap());
        fs::copy(&from, to).unwrap_or_else(|error| {
            panic!("{image} is not built; run `./tools/just images`: {error}")
        });
    }
}

/// Boots the guest on the lab's bridge, with the wiring as its second port.
fn start_guest(lab: &Lab, files: &Path, target: &Path, dir: &Path, wiring: Wiring) -> Running {
    let kernel = guest::kernel(target);
    let root = dir.join("root");
    guest::programs(&root);
    guest::install(Path::new("/usr/sbin/ip"), &root.join("ip"));
    guest::modules(&kernel, &root, &MODULES);
    for (name, text) in [
        ("lines.toml", wiring.lines().as_str()),
        ("network", NETWORK),
        ("hub", HUB),
        ("kills", "0"),
        ("last", wiring.last()),
    ] {
        fs::write(root.join(name), text).unwrap();
    }
    guest::run(
        Command::new("cp")
            .arg("-a")
            .arg(files)
            .arg(root.join("rig")),
    );
    let initramfs = dir.join("initramfs");
    guest::pack(&root, &initramfs);
    for words in [
        format!("tuntap add dev {TAP} mode tap"),
        format!("link set {TAP} master {BRIDGE} up"),
    ] {
        guest::run(lab.command("ip").args(words.split(' ')));
    }
    let mut qemu = lab.command("qemu-system-x86_64");
    qemu.args(["-machine", "q35,graphics=off", "-nodefaults"])
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024"])
        .args(["-display", "none", "-no-reboot"])
        .args(["-serial", "file:console.log"])
        .args(["-chardev", "socket,id=wire,path=wire,server=on,wait=off"])
        .args(["-serial", "chardev:wire"])
        .arg("-netdev")
        .arg(format!("tap,id=net,ifname={TAP},script=no,downscript=no"))
        .args(["-device", "virtio-net-pci,netdev=net,romfile="])
        .arg("-kernel")
        .arg(kernel.join("vmlinuz"))
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .current_dir(dir)
        .stdin(Stdio::null());
    Running(qemu.spawn().unwrap())
}
