//! Packs and boots the guest, and reads its console.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use musher_e2e::{Request, Standalone, program, workflow_job};
use musher_lab::{DirectBoot, direct_boot};

/// The end of the guest's console.
const END: &str = "the guest is done";
const LIMIT: Duration = Duration::from_secs(400);
const MEMORY_MIB: u32 = 512;
/// A kernel module and its parameters.
pub(crate) type Module = (&'static str, &'static str);
/// Of a guest that has an expander. In this order; what they need is put
/// before them.
const MODULES: [Module; 4] = [
    ("configfs", ""),
    ("gpio_sim", ""),
    ("i2c_dev", ""),
    ("i2c_stub", "chip_addr=0x20"),
];

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemon {
    /// The daemon's driver alone, on and off without a pause.
    Driver,
    /// `musher serve`, with jobs whose boots all fail.
    Whole,
}

/// What the guest wrote.
pub(crate) struct Console(pub(crate) String);

impl Console {
    /// What followed `word` on each line that it begins.
    pub(crate) fn all(&self, word: &str) -> Vec<&str> {
        let start = format!("{word} ");
        let lines = self.0.lines().map(str::trim_end);
        lines
            .filter_map(|line| line.strip_prefix(start.as_str()))
            .collect()
    }

    /// Every edge of a line that was at `level` before: when, in ms of the
    /// guest, and to which level.
    pub(crate) fn edges(&self, line: u32, mut level: bool) -> Vec<(f64, bool)> {
        let mut edges = Vec::new();
        for set in self.all("set") {
            let words: Vec<&str> = set.split(' ').collect();
            let [at, number, to] = words[..] else {
                panic!("no set: {set}");
            };
            let to = to == "1";
            if number.parse() == Ok(line) && to != level {
                edges.push((at.parse::<f64>().unwrap() * 1000.0, to));
                level = to;
            }
        }
        edges
    }

    /// For how many ms the guest stood still between two instants.
    pub(crate) fn stalled(&self, from: f64, to: f64) -> f64 {
        let overlap = |stall: &str| {
            let (start, end) = stall.split_once(' ').unwrap();
            let ms = |text: &str| text.parse::<f64>().unwrap() * 1000.0;
            (ms(end).min(to) - ms(start).max(from)).max(0.0)
        };
        self.all("stall").into_iter().map(overlap).sum()
    }
}

/// Boots the guest; it kills so many daemons, at instants that follow from
/// `seed`.
pub(crate) fn boot(daemon: Daemon, kills: usize, seed: &str) -> Console {
    let target = target();
    let kernel = kernel(&target);
    let stage = tempfile::tempdir().unwrap();
    let root = stage.path().join("root");
    programs(&root);
    let board = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../board/qemu-gpio-sim");
    fs::copy(board.join("lines.toml"), root.join("lines.toml")).unwrap();
    fs::write(root.join("kills"), kills.to_string()).unwrap();
    fs::write(root.join("seed"), seed).unwrap();
    if daemon == Daemon::Whole {
        appliance(&root.join("rig"));
    }
    modules(&kernel, &root, &MODULES);
    let initramfs = stage.path().join("initramfs");
    pack(&root, &initramfs);
    let report = direct_boot(
        &DirectBoot {
            kernel: kernel.join("vmlinuz"),
            initramfs,
            command_line: "console=ttyS0 quiet panic=-1".to_owned(),
            until: END.to_owned(),
            limit: LIMIT,
        },
        MEMORY_MIB,
    );
    let console = report.unwrap().console;
    let kept = target.join("ci");
    fs::create_dir_all(&kept).unwrap();
    fs::write(kept.join(format!("gpio-{seed}.console")), &console).unwrap();
    Console(console)
}

/// Where the workspace is built.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

/// The guest's `/init`, and Musher.
pub(crate) fn programs(root: &Path) {
    fs::create_dir(root).unwrap();
    install(
        Path::new(env!("CARGO_BIN_EXE_gpio-guest")),
        &root.join("init"),
    );
    install(&program("musher").unwrap(), &root.join("musher"));
}

/// Packs the guest's files.
pub(crate) fn pack(root: &Path, initramfs: &Path) {
    let pack = format!(
        "find . | cpio --quiet -o -H newc > '{}'",
        initramfs.display()
    );
    run(Command::new("sh").args(["-c", &pack]).current_dir(root));
}

/// An appliance with one sled behind the guest's button, and its deliveries.
fn appliance(rig: &Path) {
    let musher = Standalone::new().unwrap();
    let lines = "[gpio]\nlines = \"/lines.toml\"\nsocket = \"/run/gpio.sock\"\n\
         [deadlines]\npower_on_s = 5\nnetboot_s = 1\npower_off_s = 5\noff_dwell_s = 0\n";
    musher
        .configure("127.0.0.1:9".parse().unwrap(), lines)
        .unwrap();
    let inventory = musher.dir().join("inventory.toml");
    let sled = "\n[[sled]]\nname = \"sled-01\"\npools = [\"linux-x64\"]\n\
         mac = \"52:54:00:77:00:01\"\npower = { driver = \"button\", line = \"pwr-01\", \
         sense = \"sense-01\", press_ms = 200, force_ms = 1200, settle_ms = 2000 }\n";
    let text = fs::read_to_string(&inventory).unwrap() + sled;
    fs::write(inventory, text).unwrap();
    run(Command::new("cp").arg("-a").arg(musher.dir()).arg(rig));
    fs::write(rig.join("webhook"), musher.webhook().to_string()).unwrap();
    let deliveries = rig.join("deliveries");
    fs::create_dir(&deliveries).unwrap();
    for job in 1..=20 {
        let body = workflow_job("queued", job, &["self-hosted", "linux", "x64"]);
        let id = format!("00000000-0000-4000-8000-{job:012}");
        let request = Request::delivery(Standalone::SECRET, &id, "workflow_job", body);
        fs::write(deliveries.join(job.to_string()), request.to_bytes()).unwrap();
    }
}

/// Debian sid's kernel and modules, fetched once: no other suite has gpio-sim.
pub(crate) fn kernel(target: &Path) -> PathBuf {
    let folder = target.join("images/kernel-sid");
    let mut fetch = Command::new(program("musher-image").unwrap());
    run(fetch
        .args(["kernel", "--suite", "sid", "--out"])
        .arg(&folder));
    folder
}

/// A program without its symbols, and the libraries it needs where it looks
/// for them.
pub(crate) fn install(program: &Path, to: &Path) {
    run(Command::new("strip").arg("-o").arg(to).arg(program));
    let root = to.parent().unwrap();
    for line in run(Command::new("ldd").arg(program)).lines() {
        // NAME => PATH (ADDRESS), PATH (ADDRESS), or a name without a file.
        let path = line.split("=>").last().unwrap_or_default();
        let path = path.split_whitespace().next().unwrap_or_default();
        if let Some(inside) = path.strip_prefix('/') {
            let copy = root.join(inside);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(path, copy).unwrap();
        }
    }
}

/// The modules and what they need, in order, and the list of them.
pub(crate) fn modules(kernel: &Path, root: &Path, modules: &[Module]) {
    let tree = fs::read_dir(kernel.join("modules/lib/modules")).unwrap();
    let tree = tree.map(|entry| entry.unwrap().path()).next().unwrap();
    let index = fs::read_to_string(tree.join("modules.dep")).unwrap();
    let mut list: Vec<(String, String)> = Vec::new();
    for &(name, parameters) in modules {
        let is_it = |line: &&str| {
            let path = line.split(':').next().unwrap_or_default();
            let file = path.rsplit('/').next().unwrap_or_default();
            file.split(".ko")
                .next()
                .unwrap_or_default()
                .replace('-', "_")
                == name
        };
        let line = index.lines().find(is_it);
        let line = line.unwrap_or_else(|| panic!("sid's kernel has no module {name}"));
        let (path, needs) = line.split_once(':').unwrap();
        let needs = needs.split_whitespace().rev().map(|path| (path, ""));
        for (path, parameters) in needs.chain([(path, parameters)]) {
            let file = format!(
                "/{}",
                path.rsplit('/').next().unwrap().trim_end_matches(".xz")
            );
            if list.iter().all(|(known, _)| *known != file) {
                let unpack = format!("xz -dc '{}'", tree.join(path).display());
                let output = Command::new("sh").args(["-c", &unpack]).output().unwrap();
                assert!(output.status.success(), "{unpack}");
                fs::write(root.join(&file[1..]), output.stdout).unwrap();
                list.push((file, parameters.to_owned()));
            }
        }
    }
    let lines = list
        .iter()
        .map(|(file, parameters)| format!("{file} {parameters}\n"));
    fs::write(root.join("modules"), lines.collect::<String>()).unwrap();
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
