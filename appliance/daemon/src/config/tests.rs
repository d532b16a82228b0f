//! Bad configuration: one message each, with file, line or key, and the way out.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;

mod gpio;

const CONFIG: &str = r#"
[server]
webhook_listen = "127.0.0.1:8400"
admin_listen = "192.0.2.10:8443"
sled_interface = "br-sled"
sled_listen = "10.77.0.1:8480"
state_dir = "state"

[dhcp]
mode = "server"
range = "10.77.0.50-10.77.0.200"
gateway = "10.77.0.1"
dns = ["10.77.0.1"]

[[github]]
name = "main"
app_id = 123456
private_key_path = "app.pem"
webhook_secret_path = "webhook-secret"
token_path = "token"
"#;

const INVENTORY: &str = r#"
[[image]]
name = "debian-12"
kernel = "vmlinuz"
initramfs = "initramfs"
rootfs = "rootfs"

[[pool]]
name = "linux-x64"
github = "main"
scope = { org = "octo-org" }
labels = ["self-hosted", "linux", "x64"]
image = "debian-12"

[[sled]]
name = "sled-01"
pools = ["linux-x64"]
mac = "52:54:00:77:00:01"
power = { driver = "ipmi", address = "10.78.0.11:623", username = "musher", password_path = "bmc-01", cipher = 3 }
"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in [
            ("app.pem", "key"),
            ("webhook-secret", "secret\n"),
            ("token", "ghp_classic\n"),
            ("bmc-01", "password"),
            ("vmlinuz", "kernel"),
            ("initramfs", "agent"),
            ("rootfs", "runner"),
        ] {
            folder.write(name, text);
            folder.mode(name, 0o600);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self, config: &str, inventory: &str) -> Result<LoadedInventory, ConfigError> {
        let config = load_config(&self.write("musher.toml", config))?;
        load_inventory(&config, &self.write("inventory.toml", inventory))
    }
}

#[test]
fn a_good_configuration_is_read() {
    let folder = Folder::new();
    let config = load_config(&folder.write("musher.toml", CONFIG)).unwrap();
    assert_eq!(config.server.state_dir, folder.path("state"));
    assert_eq!(config.github[0].api_url, "https://api.github.com");
    assert_eq!(*config.github[0].webhook_secret, *b"secret");
    let shown = format!("{config:?}");
    assert!(!shown.contains("115, 101, 99"), "{shown}");
    let loaded = folder.load(CONFIG, INVENTORY).unwrap();
    assert_eq!(loaded.inventory.sleds.len(), 1);
    assert_eq!(loaded.images[0].digests.rootfs.bytes, 6);
    let [weak] = loaded.warnings.as_slice() else {
        panic!("{:?}", loaded.warnings);
    };
    assert!(weak.contains("power.cipher 3"), "{weak}");
    assert_eq!(weak.matches("sled-01").count(), 1, "{weak}");
}

/// Replaces `old` in the configuration; the message must hold every part.
fn check_config(old: &str, new: &str, parts: &[&str]) {
    assert!(CONFIG.contains(old), "{old}");
    check(&CONFIG.replacen(old, new, 1), INVENTORY, parts);
}

/// As [`check_config`], for the inventory.
fn check_inventory(old: &str, new: &str, parts: &[&str]) {
    assert!(INVENTORY.contains(old), "{old}");
    check(CONFIG, &INVENTORY.replacen(old, new, 1), parts);
}

fn check(config: &str, inventory: &str, parts: &[&str]) {
    let folder = Folder::new();
    let error = folder
        .load(config, inventory)
        .expect_err("this must be refused")
        .to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
    assert!(!error.contains('\n'), "one line: {error}");
    assert!(
        !error.contains("password\n") && !error.contains("secret\n"),
        "no secret: {error}"
    );
}

#[test]
fn acceptance_is_read_and_checked() {
    let with = |lines: &str| {
        let pool = "image = \"debian-12\"\n\n[[sled]]";
        INVENTORY.replacen(
            pool,
            &format!("image = \"debian-12\"\n[pool.acceptance]\n{lines}\n\n[[sled]]"),
            1,
        )
    };
    let good = r#"
        repository = "octo-org/infra"
        workflow = "accept.yml"
        ref = "main"
        inputs = { sled = "{{sled.name}}", runner = "{{label}}" }"#;
    let loaded = Folder::new().load(CONFIG, &with(good)).unwrap();
    let spec = loaded.inventory.pools[0].acceptance.as_ref().unwrap();
    assert_eq!((spec.reference.as_str(), spec.inputs.len()), ("main", 2));
    for (old, new, parts) in [
        (
            "octo-org/infra",
            "other/infra",
            ["linux-x64", "does not cover"],
        ),
        ("octo-org/infra", "infra", ["linux-x64", "owner/name"]),
        ("{{label}}", "none", ["linux-x64", "runs-on"]),
        (
            "{{sled.name}}",
            "{{sled.rack}}",
            ["linux-x64", "{{sled.rack}}"],
        ),
        ("ref =", "branch =", ["inventory.toml", "branch"]),
    ] {
        check(CONFIG, &with(&good.replacen(old, new, 1)), &parts);
    }
}

#[test]
fn an_enterprise_needs_a_classic_token() {
    let enterprise = INVENTORY.replacen("{ org = \"octo-org\" }", "{ enterprise = \"octo\" }", 1);
    let without = CONFIG.replacen("token_path = \"token\"\n", "", 1);
    check(&without, &enterprise, &["pool[0].scope", "token_path"]);
    let loaded = Folder::new().load(CONFIG, &enterprise).unwrap();
    assert_eq!(
        loaded.inventory.pools[0].scope,
        control::Scope::Enterprise("octo".into())
    );
}

#[test]
fn bad_configurations_are_refused() {
    check_config(
        "[dhcp]",
        "colour = 1\n[dhcp]",
        &["musher.toml:9:", "colour", "expected"],
    );
    check_config(
        "app_id = 123456",
        "app_id = \"x\"",
        &["musher.toml:17:", "u64"],
    );
    check_config(
        "\"app.pem\"",
        "\"gone.pem\"",
        &[
            "musher.toml",
            "github[0].private_key_path",
            "gone.pem",
            "0600",
        ],
    );
    check_config(
        "10.77.0.50-",
        "10.77.0.1-",
        &["dhcp.range", "overlaps", "10.77.0.1", "move"],
    );
    check_config(
        "10.77.0.50-10.77.0.200",
        "10.77.0.200-10.77.0.50",
        &["dhcp.range", "swap"],
    );
    check_config(
        "10.77.0.50-10.77.0.200",
        "10.77.9.5-10.77.9.9",
        &["dhcp.range", "netmask"],
    );
    check_config(
        "10.77.0.50-10.77.0.200",
        "all",
        &["dhcp.range", "FIRST-LAST"],
    );
    check_config("\"server\"", "\"proxy\"", &["dhcp.mode", "server"]);
    check_config(
        "192.0.2.10:8443",
        "0.0.0.0:8443",
        &["server.admin_listen", "sleds could reach"],
    );
    check_config(
        "192.0.2.10:8443",
        "10.77.0.1:8443",
        &["server.admin_listen", "sled network"],
    );
    check_config(
        "sled_interface = \"br-sled\"\n",
        "",
        &["server.sled_listen", "both or neither"],
    );
    check_config(
        "[[github]]",
        "[tunnel]\nkind = \"carrier pigeon\"\n[[github]]",
        &["tunnel.kind", "direct", "pull"],
    );
    check_config(
        "[[github]]",
        "[tunnel]\nkind = \"pull\"\npoll_s = 0\n[[github]]",
        &["tunnel.poll_s", "between"],
    );
    check_tunnel(
        "kind = \"direct\"\nsweep_s = 3601",
        &["tunnel.sweep_s", "0 (never) and 3600"],
    );
    check_tunnel(
        "kind = \"pull\"\nurl = \"https://smee.io/x\"",
        &["tunnel.url", "smee"],
    );
    check_tunnel("kind = \"pull\"\nurls = 1", &["musher.toml:", "urls"]);
    check_tunnel("kind = \"direct\"\ncommand = [\"x\"]", &["tunnel.command"]);
    check_tunnel("kind = \"command\"", &["tunnel.command", "cloudflared"]);
    check_tunnel("kind = \"command\"\ncommand = []", &["tunnel.command"]);
    check_tunnel(
        "kind = \"command\"\ncommand = \"ssh -N\"",
        &["musher.toml:"],
    );
    check_tunnel(
        "kind = \"command\"\ncommand = [\"x\"]\nenvironment = [\"A=b\"]",
        &["tunnel.environment", "names"],
    );
    check_tunnel("kind = \"smee\"", &["tunnel.url", "missing"]);
    check_tunnel(
        "kind = \"smee\"\nurl = \"http://smee.io/x\"",
        &["tunnel.url", "https"],
    );
    check_tunnel(
        "kind = \"smee\"\nurl = \"https://smee.io\"",
        &["tunnel.url", "channel"],
    );
    check_tunnel(
        "kind = \"smee\"\nurl = \"https://u:p@smee.io/x\"",
        &["tunnel.url", "password"],
    );
    check_tunnel(
        "kind = \"smee\"\nurl = \"smee.io/x\"",
        &["tunnel.url", "https"],
    );
    check_config(
        "name = \"main\"",
        "name = \"a/b\"",
        &["github[0].name", "webhook"],
    );
}

#[track_caller]
fn check_tunnel(lines: &str, expect: &[&str]) {
    check_config(
        "[[github]]",
        &format!("[tunnel]\n{lines}\n[[github]]"),
        expect,
    );
}

#[test]
fn bad_inventories_are_refused() {
    check_inventory(
        "[[sled]]",
        "[[sled]]\nslot = 3",
        &["inventory.toml:16:", "slot"],
    );
    check_inventory(
        "52:54:00:77:00:01",
        "52:54:00:77:00",
        &["sled-01", "mac", "six bytes"],
    );
    let twin = INVENTORY[INVENTORY.find("[[sled]]").unwrap()..].replace("sled-01", "sled-02");
    check(
        CONFIG,
        &format!("{INVENTORY}{twin}"),
        &[
            "inventory.toml",
            "sled-01",
            "sled-02",
            "52:54:00:77:00:01",
            "its own",
        ],
    );
    check_inventory(
        "52:54:00:77:00:01",
        "53:54:00:77:00:01",
        &["sled-01", "53:54:00:77:00:01", "no card's own"],
    );
    check_inventory(
        "[\"linux-x64\"]",
        "[\"arm\"]",
        &["sled-01", "arm", "[[pool]]"],
    );
    check_inventory(
        "github = \"main\"",
        "github = \"other\"",
        &["linux-x64", "other", "[[github]]"],
    );
    check_inventory(
        "image = \"debian-12\"",
        "image = \"x\"",
        &["pool[0].image", "[[image]]"],
    );
    check_inventory("\"vmlinuz\"", "\"gone\"", &["image[0].kernel", "gone"]);
    check_inventory(
        "[\"self-hosted\", \"linux\", \"x64\"]",
        "[]",
        &["linux-x64", "labels"],
    );
    check_inventory("cipher = 3", "cipher = 0", &["sled-01", "cipher 0", "17"]);
    check_inventory(
        "10.78.0.11:623",
        "10.77.0.60:623",
        &["overlaps dhcp.range", "10.77.0.60"],
    );
    check_inventory(
        "\"ipmi\"",
        "\"magic\"",
        &[
            "inventory.toml:19:",
            "magic",
            "`ipmi`",
            "`relay`",
            "`button`",
            "`redfish`",
        ],
    );
    check_inventory(
        "name = \"sled-01\"",
        "name = \"Sled_1\"",
        &["Sled_1", "a-z"],
    );
    check_inventory(
        "org = \"octo-org\"",
        "team = \"x\"",
        &["inventory.toml:11:", "team"],
    );
}

/// Sets the power settings of the sled.
fn with_power(power: &str) -> String {
    let (start, old) = INVENTORY.split_once("power = ").unwrap();
    let rest = old.split_once('\n').map_or("", |(_, rest)| rest);
    format!("{start}power = {power}\n{rest}")
}

fn check_power(power: &str, parts: &[&str]) {
    check(CONFIG, &with_power(power), parts);
}

#[test]
fn a_password_of_several_sleds_is_known_as_such() {
    let folder = Folder::new();
    folder.write("bmc-02", "password");
    folder.mode("bmc-02", 0o600);
    let second = INVENTORY
        .split_once("[[sled]]")
        .map(|(_, sled)| sled.replace("sled-01", "sled-02").replace("00:01", "00:02"))
        .map(|sled| sled.replace("10.78.0.11", "10.78.0.12"))
        .unwrap();
    let check = |path: &str, expect: bool| {
        let sled = second.replace("bmc-01", path);
        let text = format!("{INVENTORY}\n[[sled]]{sled}");
        let loaded = folder.load(CONFIG, &text).unwrap();
        for sled in &loaded.power {
            let DriverConfig::Ipmi { password_file, .. } = &sled.driver else {
                panic!("{:?}", sled.driver);
            };
            assert_eq!(password_file.is_shared(), expect, "{path} {}", sled.sled);
        }
    };
    check("bmc-02", false);
    check("bmc-01", true);
    // By whatever way it is named.
    check("./bmc-01", true);
}

/// A sled that another one's BMC stands for would be proved off by it.
#[test]
fn a_bmc_serves_one_sled() {
    let twin = |power: &str| {
        let sled = INVENTORY.split_once("[[sled]]").unwrap().1;
        let sled = sled.replace("sled-01", "sled-02").replace("00:01", "00:02");
        let start = sled.find("power =").unwrap();
        format!(
            "{}\n[[sled]]{}power = {power}\n",
            with_power(power),
            &sled[..start]
        )
    };
    let redfish = |system: &str| {
        format!(
            "{{ driver = \"redfish\", url = \"https://10.78.0.11\", username = \"a\", \
             password_path = \"bmc-01\", certificate_sha256 = \"{PIN}\"{system} }}"
        )
    };
    let ipmi = "{ driver = \"ipmi\", address = \"10.78.0.11\", username = \"a\", password_path = \"bmc-01\" }";
    for (power, named) in [
        (ipmi.to_owned(), "power.address 10.78.0.11:623"),
        (redfish(""), "power.url https://10.78.0.11"),
        (redfish(", system = \"1\""), "system 1"),
    ] {
        check(
            CONFIG,
            &twin(&power),
            &["sled-01", "sled-02", named, "mend"],
        );
    }
    let (one, other) = (redfish(", system = \"1\""), redfish(", system = \"2\""));
    let both = twin(&one);
    let at = both.rfind(&one).unwrap();
    let both = format!("{}{other}\n", &both[..at]);
    Folder::new().load(CONFIG, &both).unwrap();
}

const PIN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn redfish_is_read() {
    let folder = Folder::new();
    let login = "username = \"musher\", password_path = \"bmc-01\"";
    let with = |rest: &str| format!("{{ driver = \"redfish\", {login}, {rest} }}");
    let https = "url = \"https://10.78.0.11\"";
    let pinned = with(&format!(
        "{https}, certificate_sha256 = \"{PIN}\", system = \"1\""
    ));
    let loaded = folder.load(CONFIG, &with_power(&pinned)).unwrap();
    let DriverConfig::Redfish(redfish) = &loaded.power[0].driver else {
        panic!("{:?}", loaded.power[0].driver);
    };
    assert_eq!(redfish.system.as_deref(), Some("1"));
    let shown = format!("{redfish:?}");
    assert!(!shown.contains("password\""), "{shown}");
    folder
        .load(
            CONFIG,
            &with_power(&with("url = \"http://127.0.0.1:8000\"")),
        )
        .unwrap();
    check_power(
        &with(https),
        &["sled-01", "power.certificate_sha256", "openssl"],
    );
    check_power(
        &with(&format!("{https}, certificate_sha256 = \"12\"")),
        &["power.certificate_sha256", "64 hexadecimal digits"],
    );
    check_power(
        &with(&format!("{https}, ca_file = \"vmlinuz\"")),
        &["power.ca_file", "no certificate in PEM form"],
    );
    check_power(
        &with(&format!(
            "{https}, ca_file = \"x\", certificate_sha256 = \"{PIN}\""
        )),
        &["keep one"],
    );
    check_power(
        &with(&format!(
            "url = \"https://10.77.0.60\", certificate_sha256 = \"{PIN}\""
        )),
        &["power.url 10.77.0.60", "overlaps dhcp.range"],
    );
    check_power(
        &with("url = \"http://10.78.0.11\""),
        &["power.url", "plain http"],
    );
    check_power(
        &with(&format!("{https}, cipher = 3")),
        &["inventory.toml:", "cipher"],
    );
}

#[test]
fn programs_are_looked_at() {
    let folder = Folder::new();
    let program = folder.write("pdu", "#!/bin/sh");
    folder.mode("pdu", 0o755);
    let shown = program.display();
    let command = |rest: &str| {
        format!("{{ driver = \"command\", program = [\"{shown}\", \"--outlet\", \"4\"]{rest} }}")
    };
    let loaded = folder.load(CONFIG, &with_power(&command(""))).unwrap();
    let DriverConfig::Plain(PlainConfig::Command(read)) = &loaded.power[0].driver else {
        panic!("{:?}", loaded.power[0].driver);
    };
    assert_eq!((&read.program, read.deadline.as_secs()), (&program, 10));
    assert_eq!(read.arguments, ["--outlet", "4"]);
    check_power(
        &command(", deadline_s = 61"),
        &["sled-01", "power.deadline_s"],
    );
    check_power("{ driver = \"command\", program = [] }", &["power.program"]);
    check_power(
        "{ driver = \"command\", program = [\"pdu\"] }",
        &["not absolute"],
    );
    check_power(
        "{ driver = \"command\", program = [\"/nowhere/pdu\"] }",
        &["/nowhere/pdu"],
    );
    folder.mode("pdu", 0o644);
    check_power(&command(""), &["chmod 0755"]);
    folder.mode("pdu", 0o777);
    check_power(&command(""), &["chmod o-w"]);
}

#[test]
fn waking_needs_a_proof_of_off() {
    let folder = Folder::new();
    let program = folder.write("pdu", "#!/bin/sh");
    folder.mode("pdu", 0o755);
    let off = format!(
        "off = {{ driver = \"command\", program = [\"{}\"] }}",
        program.display()
    );
    let wol = |rest: &str| format!("{{ driver = \"wol\", {rest} }}");
    let read = |power: &str| {
        let loaded = folder.load(CONFIG, &with_power(power)).unwrap();
        match &loaded.power[0].driver {
            DriverConfig::Wake {
                wake,
                off: PlainConfig::Command(_),
            } => (wake.mac.to_string(), wake.broadcast.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let own = ("52:54:00:77:00:01".to_owned(), "10.77.0.255:9".to_owned());
    assert_eq!(read(&wol(&off)), own);
    let named = format!("mac = \"52:54:00:77:00:99\", broadcast = \"10.9.255.255:7\", {off}");
    let named = read(&wol(&named));
    assert_eq!(
        named,
        ("52:54:00:77:00:99".to_owned(), "10.9.255.255:7".to_owned())
    );
    check_power("{ driver = \"wol\" }", &["power.off", "only turns on"]);
    let circle = format!("off = {{ driver = \"wol\", {off} }}");
    check_power(&wol(&circle), &["power.off", "only turns on"]);
    for turns_on in [
        "{ driver = \"ipmi\", address = \"10.78.0.11\", username = \"a\", password_path = \"bmc-01\" }",
        "{ driver = \"redfish\", url = \"http://127.0.0.1\", username = \"a\", password_path = \"bmc-01\" }",
        "{ driver = \"button\", line = \"pwr-01\" }",
    ] {
        check_power(
            &wol(&format!("off = {turns_on}")),
            &["sled-01", "power.off", "use it alone"],
        );
    }
    check_power(
        &wol(&format!("broadcast = \"x\", {off}")),
        &["power.broadcast"],
    );
    check_power(&wol(&format!("mac = \"x\", {off}")), &["power.mac"]);
}

#[test]
fn serial_lines_belong_to_one_sled() {
    let sled = |name: &str, number: u8, more: &str| {
        format!(
            "\n[[sled]]\nname = \"{name}\"\npools = [\"linux-x64\"]\n\
             mac = \"52:54:00:77:00:{number:02}\"\n\
             power = {{ driver = \"ipmi\", address = \"10.78.0.{number}\", \
             username = \"musher\", password_path = \"bmc-01\" {more} }}\n"
        )
    };
    let usb = "console = { device = \"/dev/ttyUSB0\" }\n";
    let loaded = Folder::new().load(CONFIG, &format!("{INVENTORY}{usb}"));
    let device = loaded.unwrap().power.remove(0).console.unwrap();
    assert_eq!(device.path, Path::new("/dev/ttyUSB0"));
    assert_eq!(device.baud, 115_200);
    let second = sled("sled-02", 2, "");
    check(
        CONFIG,
        &format!("{INVENTORY}{usb}{second}{usb}"),
        &["sled-02", "/dev/ttyUSB0", "that of sled-01 too"],
    );
    let both = sled("sled-02", 2, ", console = true");
    check(
        CONFIG,
        &format!("{INVENTORY}{both}{usb}"),
        &["power.console", "keep one"],
    );
    for (wrong, part) in [
        ("{ device = \"ttyUSB0\" }", "not absolute"),
        ("{ device = \"/dev/ttyUSB0\", baud = 1 }", "console.baud"),
    ] {
        check(CONFIG, &format!("{INVENTORY}console = {wrong}\n"), &[part]);
    }
}

#[test]
fn secrets_that_others_can_read_are_refused() {
    for (file, key) in [
        ("app.pem", "github[0].private_key_path"),
        ("webhook-secret", "github[0].webhook_secret_path"),
        ("token", "github[0].token_path"),
        ("bmc-01", "power.password_path"),
    ] {
        let folder = Folder::new();
        folder.mode(file, 0o644);
        let error = folder.load(CONFIG, INVENTORY).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
        assert!(
            error.contains("0644") && error.contains("chmod 0600"),
            "{error}"
        );
    }
}

#[test]
fn what_cannot_be_a_token_is_refused() {
    for text in ["", "ghp_a ghp_b\n", "ghp_ü"] {
        let folder = Folder::new();
        folder.write("token", text);
        folder.mode("token", 0o600);
        let error = folder.load(CONFIG, INVENTORY).unwrap_err().to_string();
        assert!(
            error.contains("github[0].token_path: names a file that is no token"),
            "{error}"
        );
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = load_config(Path::new("/nowhere/musher.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/nowhere/musher.toml: cannot be read"),
        "{error}"
    );
    assert_eq!(error.matches("os error").count(), 1, "{error}");
    let folder = Folder::new();
    std::fs::remove_file(folder.path("app.pem")).unwrap();
    std::fs::create_dir(folder.path("app.pem")).unwrap();
    let error = folder.load(CONFIG, INVENTORY).unwrap_err().to_string();
    assert!(error.contains("is no file"), "{error}");
}
