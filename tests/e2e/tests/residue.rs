//! No residue: what a job wrote cannot be read once its sled is off, or, where
//! root wrote past us to the raw disk, once the next boot has wiped it. The
//! disks' images are searched from outside. The second disk lies: it takes
//! discards and keeps the data, as some do. The appliance's own files are
//! searched for secrets.

use std::fs::{self, File};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use musher_demo::{Rig, wait_for};
use musher_e2e::{JOB_LIMIT, holds, rig_config, wait_for_end};
use musher_lab::{Firmware, SledConfig};
use serde_json::Value;

/// Bytes before the end of the disk where root writes: scratch's file system
/// keeps nothing there.
const FROM_END: u64 = 16 << 20;

/// The second disk; smaller, so that scratch goes to the first.
const LIAR_BYTES: u64 = 64 << 20;

/// Writes both marks from two halves each, so that neither the script nor the
/// runner that carries it holds one in one piece. The job is nobody of weight
/// until it asks for it.
fn script(scratch: &str, raw: &str, disk_bytes: u64) -> String {
    let (scratch_1, scratch_2) = scratch.split_at(scratch.len() / 2);
    let (raw_1, raw_2) = raw.split_at(raw.len() / 2);
    let sector = (disk_bytes - FROM_END) / 512;
    format!(
        r#"set -e
test "$(id -u)" -ne 0
test "$(sudo id -u)" -eq 0
i=0
while [ $i -lt 2000 ]; do
    printf '%s%s\n' '{scratch_1}' '{scratch_2}'
    i=$((i + 1))
done > "$HOME/marker"
sudo sh -c "printf '%s%s' '{raw_1}' '{raw_2}' > /tmp/raw"
sudo dd if=/tmp/raw of=/dev/vda bs=512 seek={sector} conv=fsync
sudo dd if=/tmp/raw of=/dev/vdb bs=512 seek=2048 conv=fsync
sudo rm /tmp/raw
sync
echo written
"#
    )
}

/// A sled with the lying disk beside its own.
fn sled(liar: &Path) -> SledConfig {
    let file = File::create(liar).unwrap();
    file.set_len(LIAR_BYTES).unwrap();
    let drive = format!(
        "if=none,id=liar,format=raw,discard=ignore,file={}",
        liar.display()
    );
    let extra = ["-drive", &drive, "-device", "virtio-blk-pci,drive=liar"];
    SledConfig {
        extra_arguments: extra.map(str::to_owned).to_vec(),
        ..Firmware::Bios.into()
    }
}

/// What Musher saw stands apart from what the sled said of its wipe.
fn receipt_says_how(rig: &Rig) {
    let list: Value = rig.musher_json(&["receipts", "list"]).unwrap();
    let signed = |receipt: &Value| receipt["signature"].is_string();
    assert!(list["receipts"].as_array().unwrap().iter().all(signed));
    let receipt: Value = rig.musher_json(&["receipts", "show", "2"]).unwrap();
    assert_eq!(receipt["assurance"], "netboot-forced", "{receipt}");
    let observed = &receipt["observed"];
    assert_eq!(observed["boot_override_confirmed"], true, "{receipt}");
    assert!(observed.get("wipe").is_none(), "{receipt}");
    let wipe = &receipt["reported"]["wipe"];
    for (number, name, method) in [(0, "vda", "Discard"), (1, "vdb", "ZeroOut")] {
        let disk = &wipe["disks"][number];
        assert_eq!(disk["name"], name, "{wipe}");
        assert_eq!(disk["method"], method, "{wipe}");
        assert!(disk["samples"].as_u64() > Some(0), "{wipe}");
        assert_eq!(disk["survivors"], 0, "{wipe}");
    }
    let scratch = &wipe["scratch"];
    assert_eq!(
        (&scratch["cipher"], &scratch["disk"]),
        (&"aes-xts-plain64".into(), &"vda".into())
    );
}

/// Prints the runner's registration, which root finds in its environment.
const TELLS_ITS_CONFIG: &str = r#"
sudo sh -c 'tr "\0" "\n" < /proc/$(pidof Runner.Listener)/environ' |
    sed -n 's/^ACTIONS_RUNNER_INPUT_JITCONFIG=/config=/p'
sleep 5
"#;

/// No secret stays with the appliance but in the files that it was given them
/// by; the runner's is in none at all.
fn nothing_is_told(rig: &Rig, log: &[String]) {
    let config = log.iter().find_map(|line| line.strip_prefix("config="));
    let config = config.expect("the runner has a registration");
    let sled = rig.lab_sleds().remove(0);
    let file = |path: &Path| fs::read_to_string(path).unwrap();
    let key = file(&rig.dir().join("gh-app.pem"));
    let secrets = [
        &config[config.len() / 2..][..64],
        file(&rig.dir().join("webhook-secret")).trim(),
        file(&sled.bmc_password_path).trim(),
        key.lines().nth(5).unwrap(),
    ]
    .map(str::to_owned);
    let mut folders = vec![rig.dir().join("state")];
    let mut files = vec![rig.dir().join("musher.log"), sled.console_path];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    assert!(files.iter().any(|path| path.ends_with("musher.redb")));
    for (path, secret) in files
        .iter()
        .flat_map(|path| secrets.iter().map(move |it| (path, it)))
    {
        assert!(secret.len() >= 16, "{secret:?} could be anything");
        assert!(
            !holds(path, secret.as_bytes()).unwrap(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let liar = folder.path().join("liar.raw");
    let rig = Rig::up(&rig_config("residue", vec![sled(&liar)]).unwrap()).unwrap();
    let sled = rig.lab_sleds().remove(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    let (scratch, raw) = (
        format!("scratch-marker-{now:x}"),
        format!("raw-marker-{now:x}"),
    );
    let disk_bytes = std::fs::metadata(&sled.disk_path).unwrap().len();
    let on_disk = |marker: &str| holds(&sled.disk_path, marker.as_bytes()).unwrap();
    let on_liar = |marker: &str| holds(&liar, marker.as_bytes()).unwrap();

    let first = rig
        .queue_job("leaves-marks", &script(&scratch, &raw, disk_bytes))
        .unwrap();
    let done = wait_for_end(&rig, first.id).unwrap();
    let log = rig.hub_job(first.id).unwrap().log.join("\n");
    assert_eq!(done.conclusion.as_deref(), Some("success"), "{log}");
    assert!(log.contains("written"), "{log}");
    assert!(!rig.is_on(&sled.name));
    let scratch_found = on_disk(&scratch) || on_liar(&scratch);
    assert!(!scratch_found, "scratch can be read with the power off");
    // Root's mark is there: the search works, and the wipe has work to do.
    let raw_found = on_disk(&raw) && on_liar(&raw);
    assert!(raw_found, "the raw marks were not written: {log}");

    let second = rig.queue_job("comes-after", TELLS_ITS_CONFIG).unwrap();
    wait_for("the second boot's wipe", JOB_LIMIT, || {
        let boot = rig.job(second.id)?.and_then(|job| job.boot);
        Ok(boot.and_then(|boot| boot.timeline.wiped))
    })
    .unwrap();
    assert!(!on_disk(&raw), "the raw mark outlived the wipe");
    assert!(!on_liar(&raw), "the disk that lies was believed");
    let done = wait_for_end(&rig, second.id).unwrap();
    assert_eq!(done.conclusion.as_deref(), Some("success"));
    for marker in [&raw, &scratch] {
        assert!(!on_disk(marker) && !on_liar(marker), "{marker} came back");
    }
    assert_eq!(rig.verified_receipts().unwrap(), [1, 2]);
    receipt_says_how(&rig);
    nothing_is_told(&rig, &rig.hub_job(second.id).unwrap().log);
    rig.down().unwrap();
}
