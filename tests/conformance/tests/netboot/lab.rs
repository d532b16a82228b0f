//! Two network namespaces joined by a veth pair: our servers run in the first,
//! independent clients in the second. It never touches the machine's own
//! network, and fails, never skips, where namespaces cannot be made.
//!
//! Each test runs itself again under `unshare`: with `-n` as root, with `-Urn`
//! where users may make namespaces.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use musher::netboot::{
    BootAnswer, BootAuthority, BootOffer, BootQuestion, BootToken, CommandLine, LeaseTable,
    MacAddress, dhcp, http, router_advertisement, serve_boot_file, tftp,
};
use protocols::dhcp::{AddressRange, Network};

const INSIDE: &str = "MUSHER_NETBOOT_INSIDE";
/// Our side of the pair.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Where boot files are served by HTTP.
pub(crate) const HTTP: SocketAddrV4 = SocketAddrV4::new(SERVER, 8480);
/// The sled's MAC address.
pub(crate) const MAC: MacAddress = MacAddress::new([0x52, 0x54, 0, 0x77, 0, 1]);
/// That of a machine on the other interface.
pub(crate) const OTHER_MAC: MacAddress = MacAddress::new([0x52, 0x54, 0, 0x88, 0, 1]);
/// The ticket's token.
pub(crate) const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// Answers from a table that the test writes; what is not there is unknown.
#[derive(Default)]
pub(crate) struct Authority {
    answers: Mutex<HashMap<MacAddress, BootAnswer>>,
    /// Every question, in order.
    pub(crate) questions: Mutex<Vec<BootQuestion>>,
}

impl Authority {
    /// Sets what `mac` gets from now on.
    pub(crate) fn set(&self, mac: MacAddress, answer: BootAnswer) {
        self.answers.lock().unwrap().insert(mac, answer);
    }
}

impl BootAuthority for Authority {
    async fn ask(&self, question: BootQuestion) -> BootAnswer {
        self.questions.lock().unwrap().push(question.clone());
        let answers = self.answers.lock().unwrap();
        let answer = match &question {
            BootQuestion::Dhcp { mac, .. }
            | BootQuestion::TftpFile { mac, .. }
            | BootQuestion::Script { mac, .. } => answers.get(mac),
            BootQuestion::File { token, .. } if token.as_str() == TOKEN => answers.get(&MAC),
            BootQuestion::File { .. } => None,
        };
        answer.cloned().unwrap_or(BootAnswer::Unknown)
    }
}

/// The running pair with our servers.
pub(crate) struct Lab {
    /// What the servers ask.
    pub(crate) authority: Arc<Authority>,
    /// What the servers lease.
    pub(crate) leases: LeaseTable,
    /// Scratch folder; holds `kernel`, `initramfs`, `undionly.kpxe`, `snponly.efi`.
    pub(crate) folder: tempfile::TempDir,
    peer: Child,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The peer namespace lives as long as this process and its clients.
        let _ = self.peer.kill();
        let _ = self.peer.wait();
    }
}

/// Runs `body` in namespaces of its own; `test` is the name of the test.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce(&Lab)) {
    if std::env::var_os(INSIDE).is_some() {
        body(&Lab::start());
        return;
    }
    let works = |flags: &&str| {
        let probe = Command::new("unshare").args([*flags, "true"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    let flags = ["-n", "-Urn"].into_iter().find(works).expect(
        "this test needs network namespaces: run it as root, or allow user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1); `unshare` is in package util-linux",
    );
    let myself = std::env::current_exe().expect("path of this test");
    let status = Command::new("unshare")
        .arg(flags)
        .arg(myself)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .expect("run unshare");
    assert!(status.success(), "{test} failed in its namespace");
}

/// Octets without a pattern that a transfer error could hide in.
pub(crate) fn content(bytes: u32, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        // xorshift32
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("run {program}: {error}; install its package"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
}

impl Lab {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("scratch folder");
        let write = |name: &str, bytes, seed| {
            std::fs::write(folder.path().join(name), content(bytes, seed)).expect("boot file");
        };
        write("kernel", 9_000_001, 1);
        write("initramfs", 3 * 256 * 1024, 2);
        // One that fills its last block, and one that does not.
        write("undionly.kpxe", 512 * 1468, 3);
        write("snponly.efi", 173_793, 4);
        let peer = Self::join_namespaces();
        let authority = Arc::new(Authority::default());
        let range = AddressRange::new([10, 77, 0, 50].into(), [10, 77, 0, 59].into());
        let leases = LeaseTable::new(range.expect("range"), &[SERVER], 600);
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let lab = Self {
            authority,
            leases,
            folder,
            peer,
            _runtime: runtime,
        };
        lab.serve();
        lab
    }

    /// Makes the second namespace and two pairs: `srv0` (here) and `sled0`
    /// (there), `srv1` and `other0`, on which nobody is to be served.
    fn join_namespaces() -> Child {
        let own = std::fs::read_link("/proc/self/ns/net").expect("own namespace");
        let peer = Command::new("unshare")
            .args(["-n", "sleep", "300"])
            .stdin(Stdio::null())
            .spawn()
            .expect("run unshare");
        let process = peer.id().to_string();
        let theirs = format!("/proc/{process}/ns/net");
        wait_until("the second namespace", Duration::from_secs(5), || {
            std::fs::read_link(&theirs).is_ok_and(|link| link != own)
        });
        let mac = MAC.to_string();
        let address = format!("{SERVER}/24");
        run("ip", &["link", "set", "lo", "up"]);
        let other = OTHER_MAC.to_string();
        for (here, there, mac, address) in [
            ("srv0", "sled0", &mac, &*address),
            ("srv1", "other0", &other, "10.88.0.1/24"),
        ] {
            let pair = ["link", "add", here, "type", "veth", "peer", "name", there];
            run(
                "ip",
                &[&pair[..], &["address", mac, "netns", &process]].concat(),
            );
            run("ip", &["address", "add", address, "dev", here]);
            run("ip", &["link", "set", here, "up"]);
        }
        let enter = format!("--net={theirs}");
        for link in ["lo", "sled0", "other0"] {
            run("nsenter", &[&enter, "ip", "link", "set", link, "up"]);
        }
        peer
    }

    fn serve(&self) {
        let interface = "srv0".to_owned();
        let network = Network {
            server: SERVER,
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: Some(SERVER),
            dns: vec![SERVER],
            lease_seconds: 600,
        };
        let dhcp = dhcp::Config {
            interface: interface.clone(),
            network,
            http: HTTP,
        };
        let files = tftp::BootPrograms::load(self.folder.path()).expect("boot programs");
        let tftp = tftp::Config {
            interface,
            server: SERVER,
            files,
        };
        let (authority, leases) = (&self.authority, &self.leases);
        let never = std::future::pending;
        let dhcp = dhcp::run(dhcp, Arc::clone(authority), leases.clone(), never());
        let tftp = tftp::run(tftp, Arc::clone(authority), leases.clone(), never());
        let runtime = &self._runtime;
        runtime.spawn(async { dhcp.await.expect("DHCP server") });
        runtime.spawn(async { tftp.await.expect("TFTP server") });
        let advertise = router_advertisement::run("srv0", never());
        runtime.spawn(async { advertise.await.expect("router advertisement") });
        let _entered = runtime.enter();
        let listener = http::listen("srv0", HTTP).expect("HTTP");
        runtime.spawn(serve_http(listener, Arc::clone(authority)));
    }

    /// A live ticket for the sled.
    pub(crate) fn offer(&self) -> BootAnswer {
        BootAnswer::Offer(BootOffer {
            token: BootToken::parse(TOKEN).expect("token"),
            kernel: self.path("kernel"),
            initramfs: self.path("initramfs"),
            command_line: CommandLine::parse("console=ttyS0").expect("command line"),
        })
    }

    /// A path in the scratch folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a client in the second namespace.
    pub(crate) fn client(&self, program: &str, arguments: &[&str]) -> Output {
        let output = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.peer.id()))
            .arg(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("run nsenter (package util-linux)");
        let missing = output.status.code() == Some(127);
        assert!(
            !missing,
            "{program} is not installed: this test needs the real client"
        );
        output
    }

    /// Runs a client that must succeed; gives its standard output.
    pub(crate) fn client_ok(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.client(program, arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {text}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs udhcpc once on `sled0` with more options; gives what its script saw.
    pub(crate) fn udhcpc(&self, options: &[&str]) -> Option<HashMap<String, String>> {
        self.udhcpc_on("sled0", options)
    }

    /// The same on any interface of the second namespace.
    pub(crate) fn udhcpc_on(
        &self,
        interface: &str,
        options: &[&str],
    ) -> Option<HashMap<String, String>> {
        let (script, result) = (self.path("udhcpc.sh"), self.path("udhcpc.result"));
        let text = format!(
            "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip address replace $ip/24 dev $interface\n\
             env > {}\n",
            result.display()
        );
        std::fs::write(&script, text).expect("write udhcpc script");
        run("chmod", &["0755", &script.to_string_lossy()]);
        let _ = std::fs::remove_file(&result);
        let script = script.to_string_lossy();
        let fixed = [
            "-i", interface, "-n", "-q", "-f", "-t", "4", "-T", "1", "-s", &script,
        ];
        let output = self.client("udhcpc", &[&fixed[..], options].concat());
        let seen = std::fs::read_to_string(&result).ok()?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let pairs = seen.lines().filter_map(|line| line.split_once('='));
        Some(
            pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// Gets the sled an address with the live ticket set.
    pub(crate) fn arm(&self) {
        self.authority.set(MAC, self.offer());
        self.udhcpc(&[]).expect("a lease by udhcpc");
    }
}

async fn serve_http(listener: tokio::net::TcpListener, authority: Arc<Authority>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let authority = Arc::clone(&authority);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let authority = Arc::clone(&authority);
                async move { Ok::<_, std::convert::Infallible>(answer(&authority, peer, request).await) }
            });
            let io = TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await;
        });
    }
}

async fn answer(
    authority: &Authority,
    peer: SocketAddr,
    request: hyper::Request<hyper::body::Incoming>,
) -> hyper::Response<musher::netboot::http::BootBody> {
    serve_boot_file(authority, peer, request).await
}

/// Waits for `condition`, and fails when it does not come true in time.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Fails unless both files are the same, octet by octet.
#[track_caller]
pub(crate) fn assert_same(ours: &Path, theirs: &Path) {
    let read = |path: &Path| {
        std::fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
    };
    let (left, right) = (read(ours), read(theirs));
    assert!(
        left == right,
        "{} and {} differ",
        ours.display(),
        theirs.display()
    );
}
