//! Independent clients against our network boot servers, in network namespaces
//! of their own: udhcpc and dhclient for DHCP, curl for HTTP, curl, atftp and
//! tftp-hpa for TFTP, the kernel for the router advertisement. A missing
//! client or namespace fails; nothing is skipped.

#[path = "netboot/lab.rs"]
mod lab;

use std::time::Duration;

use lab::{HTTP, Lab, MAC, OTHER_MAC, SERVER, TOKEN, assert_same, in_namespace, wait_until};
use musher::netboot::{BootAnswer, BootQuestion, Stage};

fn url(path: &str) -> String {
    format!("http://{HTTP}{path}")
}

/// Fetches by curl; gives the HTTP status.
fn curl(lab: &Lab, path: &str, file: &str, more: &[&str]) -> String {
    let url = url(path);
    let fixed = ["-s", "-o", file, "-w", "%{http_code}", &url];
    lab.client_ok("curl", &[&fixed[..], more].concat())
}

#[test]
fn udhcpc_gets_a_lease() {
    in_namespace("udhcpc_gets_a_lease", |lab| {
        lab.authority.set(MAC, BootAnswer::LeaseOnly);
        let seen = lab.udhcpc(&[]).expect("a lease");
        let get = |name: &str| seen.get(name).map(String::as_str);
        assert_eq!(get("subnet"), Some("255.255.255.0"));
        assert_eq!(get("router"), Some("10.77.0.1"));
        assert_eq!(get("dns"), Some("10.77.0.1"));
        assert_eq!(get("lease"), Some("600"));
        assert_eq!(get("boot_file"), None);
        let address = get("ip")
            .expect("an address")
            .parse()
            .expect("an IPv4 address");
        assert_eq!(lab.leases.holder(address), Some(MAC));
        let again = lab.udhcpc(&[]).expect("a second lease");
        assert_eq!(
            again.get("ip").map(String::as_str),
            get("ip"),
            "the same address"
        );
    });
}

#[test]
fn each_boot_stage_gets_its_file() {
    in_namespace("each_boot_stage_gets_its_file", |lab| {
        lab.authority.set(MAC, lab.offer());
        let check = |options: &[&str], stage, architecture, file: Option<&str>| {
            let seen = lab.udhcpc(options).expect("a lease");
            assert_eq!(
                seen.get("boot_file").map(String::as_str),
                file,
                "{options:?}"
            );
            let questions = lab.authority.questions.lock().expect("questions");
            let expect = BootQuestion::Dhcp {
                mac: MAC,
                stage,
                architecture,
            };
            assert_eq!(questions.last(), Some(&expect));
        };
        let pxe = ["-V", "PXEClient:Arch:00000:UNDI:002001"];
        let with = |more: &[&'static str]| [&pxe[..], more].concat();
        let firmware = Stage::Firmware;
        check(
            &with(&["-x", "0x5d:0000"]),
            firmware,
            Some(0),
            Some("undionly.kpxe"),
        );
        check(
            &with(&["-x", "0x5d:0007"]),
            firmware,
            Some(7),
            Some("snponly.efi"),
        );
        check(
            &with(&["-x", "0x5d:0009"]),
            firmware,
            Some(9),
            Some("snponly.efi"),
        );
        check(&with(&["-x", "0x5d:000b"]), firmware, Some(11), None);
        let script = url(&format!("/boot/script?mac={MAC}"));
        let ipxe = with(&["-x", "0x5d:0000", "-x", "0x4d:69505845"]);
        check(&ipxe, Stage::Ipxe, Some(0), Some(&script));
        check(&[], Stage::System, None, None);
    });
}

#[test]
fn a_machine_without_ticket_gets_nothing_to_boot() {
    in_namespace("a_machine_without_ticket_gets_nothing_to_boot", |lab| {
        let firmware = ["-V", "PXEClient", "-x", "0x5d:0000"];
        assert_eq!(lab.udhcpc(&firmware), None, "an unknown MAC gets no lease");
        lab.authority.set(
            MAC,
            BootAnswer::Refused {
                reason: "quarantined".to_owned(),
            },
        );
        assert_eq!(lab.udhcpc(&firmware), None, "a refused MAC gets no lease");
        assert_eq!(lab.leases.leases(), []);
        // With the address of an earlier lease it still gets no file.
        lab.arm();
        lab.authority.set(MAC, BootAnswer::LeaseOnly);
        let seen = lab.udhcpc(&firmware).expect("a lease");
        assert_eq!(seen.get("boot_file"), None);
        let tftp = format!("tftp://{SERVER}/undionly.kpxe");
        let output = lab.client("curl", &["-s", "-o", "refused", &tftp]);
        assert_eq!(
            output.status.code(),
            Some(69),
            "curl's code for TFTP ERROR 2"
        );
        let (kernel, script) = (
            format!("/boot/{TOKEN}/kernel"),
            format!("/boot/script?mac={MAC}"),
        );
        assert_eq!(curl(lab, &kernel, "refused", &[]), "403");
        assert_eq!(curl(lab, &script, "refused", &[]), "403");
        let unknown = "/boot/ffffffffffffffffffffffffffffffff/kernel";
        assert_eq!(curl(lab, unknown, "refused", &[]), "404");
        lab.authority.set(
            MAC,
            BootAnswer::Held {
                reason: "no boot ticket".to_owned(),
            },
        );
        assert_eq!(curl(lab, &kernel, "refused", &[]), "403");
        assert_eq!(curl(lab, &script, "held", &[]), "200");
        let held = std::fs::read_to_string(lab.path("held")).expect("held script");
        assert!(
            held.contains("no boot ticket") && !held.contains("kernel"),
            "{held}"
        );
    });
}

#[test]
fn tftp_without_a_lease_is_refused() {
    in_namespace("tftp_without_a_lease_is_refused", |lab| {
        lab.authority.set(MAC, lab.offer());
        lab.client_ok("ip", &["address", "add", "10.77.0.99/24", "dev", "sled0"]);
        let tftp = format!("tftp://{SERVER}/undionly.kpxe");
        let output = lab.client("curl", &["-s", "-o", "refused", &tftp]);
        assert_eq!(
            output.status.code(),
            Some(69),
            "curl's code for TFTP ERROR 2"
        );
    });
}

/// One of ours on the uplink or the admin network would be a rogue server there.
#[test]
fn other_interfaces_hear_nothing() {
    in_namespace("other_interfaces_hear_nothing", |lab| {
        for mac in [MAC, OTHER_MAC] {
            lab.authority.set(mac, lab.offer());
        }
        assert_eq!(lab.udhcpc_on("other0", &[]), None, "a lease");
        let other = ["address", "add", "10.88.0.2/24", "dev", "other0"];
        lab.client_ok("ip", &other);
        let route = ["route", "add", "10.77.0.1/32", "dev", "other0"];
        lab.client_ok("ip", &route);
        for server in ["10.88.0.1", "10.77.0.1"] {
            let tftp = format!("tftp://{server}/undionly.kpxe");
            let http = format!("http://{server}:{}/", HTTP.port());
            for url in [tftp, http] {
                let get = ["-s", "--max-time", "3", "-o", "fetched", &url];
                let output = lab.client("curl", &get);
                assert!(!output.status.success(), "{url}");
            }
        }
        assert_eq!(*lab.authority.questions.lock().expect("questions"), []);
        assert_eq!(lab.leases.leases(), []);
        lab.client_ok("ip", &["route", "del", "10.77.0.1/32", "dev", "other0"]);
        lab.udhcpc(&[]).expect("a lease where sleds are");
    });
}

#[test]
fn dhclient_gets_and_releases_a_lease() {
    in_namespace("dhclient_gets_and_releases_a_lease", |lab| {
        lab.authority.set(MAC, BootAnswer::LeaseOnly);
        let (leases, process) = (lab.path("dhclient.leases"), lab.path("dhclient.pid"));
        let (leases, process) = (leases.to_string_lossy(), process.to_string_lossy());
        let files = ["-4", "-lf", &leases, "-pf", &process, "-sf", "/bin/true"];
        lab.client_ok("dhclient", &[&files[..], &["-1", "sled0"]].concat());
        let text = std::fs::read_to_string(&*leases).expect("dhclient's leases");
        for line in [
            "dhcp-server-identifier 10.77.0.1;",
            "subnet-mask 255.255.255.0;",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(lab.leases.leases().len(), 1);
        // dhclient releases by unicast, from the address that its script
        // would have set.
        let (_, address, _) = lab.leases.leases()[0];
        let address = format!("{address}/24");
        lab.client_ok("ip", &["address", "add", &address, "dev", "sled0"]);
        lab.client_ok("dhclient", &[&files[..], &["-r", "sled0"]].concat());
        let released = || lab.leases.leases().is_empty();
        wait_until("the release", Duration::from_secs(5), released);
    });
}

#[test]
fn curl_fetches_boot_files_by_http() {
    in_namespace("curl_fetches_boot_files_by_http", |lab| {
        lab.arm();
        for name in ["kernel", "initramfs"] {
            let path = format!("/boot/{TOKEN}/{name}");
            assert_eq!(curl(lab, &path, "fetched", &[]), "200");
            assert_same(&lab.path("fetched"), &lab.path(name));
        }
        let kernel = format!("/boot/{TOKEN}/kernel");
        assert_eq!(curl(lab, &kernel, "head", &["-I"]), "200");
        let head = std::fs::read_to_string(lab.path("head")).expect("headers");
        assert!(
            head.to_ascii_lowercase()
                .contains("content-length: 9000001"),
            "{head}"
        );
        // A broken fetch that is taken up again.
        let begin = ["-r", "0-4000000"];
        assert_eq!(curl(lab, &kernel, "resumed", &begin), "206");
        assert_eq!(curl(lab, &kernel, "resumed", &["-C", "-"]), "206");
        assert_same(&lab.path("resumed"), &lab.path("kernel"));
        // Two files over one connection.
        let (first, second) = (url(&kernel), url(&format!("/boot/{TOKEN}/initramfs")));
        let both = [
            "-s",
            "-o",
            "a",
            "-o",
            "b",
            "-w",
            "%{num_connects} ",
            &first,
            &second,
        ];
        assert_eq!(lab.client_ok("curl", &both), "1 0 ");
        assert_same(&lab.path("b"), &lab.path("initramfs"));
    });
}

#[test]
fn curl_fetches_boot_files_by_tftp() {
    in_namespace("curl_fetches_boot_files_by_tftp", |lab| {
        lab.arm();
        // 8 octets: the block number rolls over. 65464: cut to what fits.
        for block in ["8", "512", "1468", "65464"] {
            for name in ["undionly.kpxe", "snponly.efi"] {
                let tftp = format!("tftp://{SERVER}/{name}");
                lab.client_ok(
                    "curl",
                    &["-s", "--tftp-blksize", block, "-o", "fetched", &tftp],
                );
                assert_same(&lab.path("fetched"), &lab.path(name));
            }
        }
        let tftp = format!("tftp://{SERVER}/snponly.efi");
        lab.client_ok("curl", &["-s", "--tftp-no-options", "-o", "fetched", &tftp]);
        assert_same(&lab.path("fetched"), &lab.path("snponly.efi"));
        let missing = format!("tftp://{SERVER}/autoexec.ipxe");
        let output = lab.client("curl", &["-s", "-o", "missing", &missing]);
        assert_eq!(
            output.status.code(),
            Some(68),
            "curl's code for TFTP ERROR 1"
        );
        let upload = format!("tftp://{SERVER}/snponly.efi");
        let output = lab.client("curl", &["-s", "-T", "initramfs", &upload]);
        assert!(!output.status.success(), "an upload was taken");
    });
}

#[test]
fn atftp_fetches_boot_files() {
    in_namespace("atftp_fetches_boot_files", |lab| {
        lab.arm();
        let server = SERVER.to_string();
        let options: [&[&str]; 4] = [
            &[],
            &["--option", "blksize 1428"],
            &[
                "--option",
                "blksize 1468",
                "--option",
                "windowsize 16",
                "--option",
                "tsize 0",
            ],
            &["--option", "timeout 3", "--option", "windowsize 4"],
        ];
        for more in options {
            for name in ["undionly.kpxe", "snponly.efi"] {
                let _ = std::fs::remove_file(lab.path("fetched"));
                let fixed = ["--get", "-r", name, "-l", "fetched", &server];
                lab.client_ok("atftp", &[more, &fixed[..]].concat());
                assert_same(&lab.path("fetched"), &lab.path(name));
            }
        }
    });
}

#[test]
fn tftp_hpa_fetches_boot_files() {
    in_namespace("tftp_hpa_fetches_boot_files", |lab| {
        lab.arm();
        for name in ["undionly.kpxe", "snponly.efi"] {
            let server = SERVER.to_string();
            let get = ["-m", "binary", &server, "-c", "get", name, "fetched"];
            lab.client_ok("tftp", &get);
            assert_same(&lab.path("fetched"), &lab.path(name));
        }
    });
}

#[test]
fn the_kernel_takes_the_router_advertisement_and_no_route() {
    in_namespace(
        "the_kernel_takes_the_router_advertisement_and_no_route",
        |lab| {
            let count = || {
                let text = lab.client_ok("cat", &["/proc/net/snmp6"]);
                let line = text
                    .lines()
                    .find(|line| line.starts_with("Icmp6InRouterAdvertisements"));
                let value = line.and_then(|line| line.split_whitespace().nth(1));
                value
                    .and_then(|value| value.parse::<u32>().ok())
                    .expect("the kernel's counter")
            };
            // Both link-local addresses are checked for duplicates first, for 1 to
            // 2 s, then the kernel solicits.
            wait_until("a router advertisement", Duration::from_secs(15), || {
                count() > 0
            });
            let routes = lab.client_ok("ip", &["-6", "route", "show", "default"]);
            assert_eq!(routes.trim(), "", "lifetime 0 makes no default route");
        },
    );
}
