//! Every mistake in a configuration is one message that names the file, the
//! line or key, and the way out; and exit code 2.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use musher_e2e::Standalone;

/// Makes a mistake, and checks what both commands say to it.
fn check(what: &str, spoil: impl Fn(&Path), expect: &[&str]) {
    let musher = Standalone::new().unwrap();
    with_sleds(musher.dir());
    let checked = [
        "check-config",
        "musher.toml",
        "--inventory",
        "inventory.toml",
    ];
    let served = [
        "serve",
        "--config",
        "musher.toml",
        "--inventory",
        "inventory.toml",
    ];
    let before = musher.run(&checked).unwrap();
    let said = String::from_utf8_lossy(&before.stderr).into_owned();
    assert_eq!(before.status.code(), Some(0), "before {what}: {said}");
    spoil(musher.dir());
    for command in [&checked[..], &served[..]] {
        let done = musher.run(command).unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{what}, {command:?}: {said}");
        assert_eq!(
            said.trim_end().lines().count(),
            1,
            "{what}, {command:?}: {said}"
        );
        let causes = said.matches("os error").count();
        assert!(causes <= 1, "{what}, {command:?}: told twice: {said}");
        for part in expect {
            assert!(
                said.contains(part),
                "{what}, {command:?}: no {part:?} in {said}"
            );
        }
    }
}

fn with_sleds(dir: &Path) {
    edit(
        dir,
        "musher.toml",
        "[server]\n",
        "[server]\nsled_interface = \"br-sled\"\nsled_listen = \"10.77.0.1:8480\"\n",
    );
    let path = dir.join("musher.toml");
    let text = fs::read_to_string(&path).unwrap();
    let dhcp = "\n[dhcp]\nmode = \"server\"\nrange = \"10.77.0.50-10.77.0.200\"\n";
    fs::write(&path, text + dhcp).unwrap();
    let path = dir.join("inventory.toml");
    let mut text = fs::read_to_string(&path).unwrap();
    for number in 1..=2 {
        text += &format!(
            "\n[[sled]]\nname = \"sled-0{number}\"\npools = [\"linux-x64\"]\n\
             mac = \"52:54:00:77:00:0{number}\"\n\
             power = {{ driver = \"ipmi\", address = \"10.78.0.1{number}\", \
             username = \"musher\", password_path = \"bmc-password\" }}\n"
        );
    }
    fs::write(&path, text).unwrap();
    musher_e2e::secret(&dir.join("bmc-password"), "a password").unwrap();
}

fn edit(dir: &Path, file: &str, from: &str, to: &str) {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} holds no {from:?}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

fn set_mode(dir: &Path, file: &str, mode: u32) {
    fs::set_permissions(dir.join(file), Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_unknown_key() {
    check(
        "an unknown key",
        |dir| {
            edit(
                dir,
                "musher.toml",
                "state_dir",
                "state_directory = \"x\"\nstate_dir",
            )
        },
        &["musher.toml:6", "state_directory", "state_dir"],
    );
    check(
        "an unknown key in the inventory",
        |dir| {
            edit(
                dir,
                "inventory.toml",
                "image = \"debian-12\"",
                "image = \"debian-12\"\nlable = []",
            )
        },
        &["inventory.toml:13", "lable", "labels"],
    );
}

#[test]
fn a_missing_key_file() {
    check(
        "a missing key file",
        |dir| fs::remove_file(dir.join("gh-app.pem")).unwrap(),
        &[
            "musher.toml",
            "private_key_path",
            "gh-app.pem",
            "create it with mode 0600",
        ],
    );
}

#[test]
fn a_missing_inventory() {
    check(
        "a missing inventory",
        |dir| fs::remove_file(dir.join("inventory.toml")).unwrap(),
        &["inventory.toml", "cannot be read", "name a file"],
    );
}

#[test]
fn a_wrong_file_mode() {
    for mode in [0o644, 0o640, 0o700] {
        check(
            "a wrong file mode",
            |dir| set_mode(dir, "webhook-secret", mode),
            &[
                "musher.toml",
                "webhook_secret_path",
                &format!("{mode:04o}"),
                "chmod 0600",
            ],
        );
    }
    check(
        "a wrong mode of a BMC's password",
        |dir| set_mode(dir, "bmc-password", 0o644),
        &["inventory.toml", "sled-01", "password_path", "chmod 0600"],
    );
}

#[test]
fn an_overlapping_dhcp_range() {
    check(
        "the appliance's own address in the range",
        |dir| edit(dir, "musher.toml", "10.77.0.50-", "10.77.0.1-"),
        &[
            "musher.toml",
            "dhcp.range",
            "overlaps",
            "sled_listen",
            "move or shorten the range",
        ],
    );
    check(
        "a BMC's address in the range",
        |dir| edit(dir, "inventory.toml", "10.78.0.11", "10.77.0.60"),
        &[
            "inventory.toml",
            "sled-01",
            "10.77.0.60",
            "overlaps",
            "move one of them",
        ],
    );
}

/// Each would be turned on, and proved off, in the other's place.
#[test]
fn one_bmc_for_two_sleds() {
    check(
        "one BMC for two sleds",
        |dir| edit(dir, "inventory.toml", "10.78.0.12", "10.78.0.11"),
        &["inventory.toml", "10.78.0.11", "sled-01", "sled-02", "mend"],
    );
}

#[test]
fn a_duplicate_mac() {
    check(
        "a duplicate MAC",
        |dir| {
            edit(
                dir,
                "inventory.toml",
                "52:54:00:77:00:02",
                "52:54:00:77:00:01",
            )
        },
        &["inventory.toml", "52:54:00:77:00:01", "sled-01", "sled-02"],
    );
}
