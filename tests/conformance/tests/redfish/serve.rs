//! `musher serve` in front of the stand-in: a BMC whose settings changed.

use std::fs;

use musher_e2e::{Standalone, secret};
use serde_json::json;

use super::served::{adopted, run, sled, view, wait};
use super::standin::{PASSWORD, Quirks, Standin};

fn started(bmc: &Standin) -> Standalone {
    let mut musher = Standalone::new().unwrap();
    secret(&musher.dir().join("bmc-01"), PASSWORD).unwrap();
    let inventory = musher.dir().join("inventory.toml");
    let text = fs::read_to_string(&inventory).unwrap();
    let url = format!("http://{}", bmc.address);
    let sled = format!(
        r#"
[[sled]]
name = "sled-01"
pools = ["linux-x64"]
mac = "52:54:00:77:00:01"
power = {{ driver = "redfish", url = "{url}", username = "musher", password_path = "bmc-01" }}
"#
    );
    fs::write(&inventory, text + &sled).unwrap();
    musher.start().unwrap();
    musher
}

#[test]
fn a_bmc_that_changed_while_nobody_looked_is_withheld() {
    let bmc = Standin::start(Quirks::default());
    let mut musher = started(&bmc);
    adopted(&musher);
    wait("off", || view(&musher)["state"] == "Off");
    assert_eq!(bmc.state().restore.as_deref(), Some("AlwaysOff"));
    musher.kill().unwrap();
    // A root job writes boot entries, and its BMC's policy.
    bmc.state().boot["BootOrder"] = json!(["Boot0000"]);
    bmc.state().restore = Some("AlwaysOn".to_owned());
    musher.start().unwrap();
    wait("the quarantine", || view(&musher)["state"] == "Quarantined");
    let reason = view(&musher)["reason"].as_str().unwrap().to_owned();
    for part in [
        "system.Boot.BootOrder: was [\"Boot0001\",\"Boot0000\"], is [\"Boot0000\"]",
        "system.PowerRestorePolicy: was AlwaysOff, is AlwaysOn",
        "musher sled readopt",
    ] {
        assert!(reason.contains(part), "{reason:?} lacks {part:?}");
    }
    // It was seen before it was put right.
    wait("the policy", || {
        bmc.state().restore.as_deref() == Some("AlwaysOff")
    });
    // There is no password that could be changed over Redfish, and that is said.
    let words = [
        "bmc",
        "rotate-password",
        "sled-01",
        "--config",
        "musher.toml",
    ];
    let refused = musher.run(&words).unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && why.contains("over IPMI only"),
        "{why}"
    );
    sled(&musher, &["readopt", "sled-01"]);
    wait("service", || view(&musher)["state"] == "Off");
    let status = run(
        &musher,
        &[
            "sled",
            "power",
            "status",
            "sled-01",
            "--config",
            "musher.toml",
        ],
    );
    assert!(status.contains("sled-01  off"), "{status}");
    assert_eq!(bmc.state().resets, Vec::<String>::new());
}
