//! BMCs that lie about power, through [`Checked`]: for each lie, what the
//! driver does and says. What becomes of the sled is the core's business.

use std::time::Duration;

use musher::power::{Checked, Driver, PowerErrorKind, PowerReading, Proof, Switched};

use crate::standin::{Lie, Quirks, Standin};

/// Short, so that tests are; nothing is asserted about times.
fn checked(bmc: &Standin) -> Checked {
    let mut config = bmc.config(None);
    config.patience.connect = Duration::from_millis(500);
    let proof = Proof {
        settle: Duration::from_millis(100),
        poll: Duration::from_millis(10),
        off_time: Duration::from_millis(10),
        ..Proof::default()
    };
    Checked::with_proof(Driver::redfish(config, Some("sled-01".to_owned())), proof)
}

fn lying(lie: Lie, power: &'static str) -> Standin {
    let bmc = Standin::start(Quirks {
        lie,
        ..Quirks::default()
    });
    bmc.state().power = power;
    bmc
}

#[tokio::test]
async fn an_honest_one_is_believed() {
    let bmc = lying(Lie::None, "Off");
    let mut checked = checked(&bmc);
    assert_eq!(checked.power_on().await.unwrap(), Switched::Commanded);
    checked.cycle().await.unwrap();
    assert_eq!(checked.read().await.unwrap(), PowerReading::On);
    assert_eq!(checked.power_off().await.unwrap(), Switched::Commanded);
    assert_eq!(bmc.state().resets, ["On", "ForceOff", "On", "ForceOff"]);
}

#[tokio::test]
async fn on_when_off_never_passes_for_off() {
    let bmc = lying(Lie::Says("On"), "Off");
    let mut checked = checked(&bmc);
    // Not started, as it seems to run: the boot's deadline finds that out.
    assert_eq!(checked.power_on().await.unwrap(), Switched::AlreadySo);
    let error = checked.power_off().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Contradiction, "{error}");
    assert!(error.to_string().contains("reads on, then on"), "{error}");
    assert_eq!(bmc.state().resets, ["ForceOff", "ForceOff"]);
}

#[tokio::test]
async fn off_when_on_never_passes_for_on() {
    let bmc = lying(Lie::Says("Off"), "On");
    let mut checked = checked(&bmc);
    let error = checked.power_on().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Contradiction, "{error}");
    assert!(error.to_string().contains("reads off, then off"), "{error}");
    // That it is on after all, only a second signal can tell.
    assert_eq!(checked.power_off().await.unwrap(), Switched::AlreadySo);
}

#[tokio::test]
async fn what_is_accepted_and_ignored_is_reported() {
    for (power, other) in [("Off", PowerReading::Off), ("On", PowerReading::On)] {
        let bmc = lying(Lie::Ignores, power);
        let mut checked = checked(&bmc);
        let error = match other {
            PowerReading::On => checked.power_off().await,
            _ => checked.power_on().await,
        };
        let error = error.unwrap_err();
        assert_eq!(error.kind(), PowerErrorKind::Contradiction, "{error}");
        assert_eq!(bmc.state().resets.len(), 2);
        assert_eq!(checked.read().await.unwrap(), other);
    }
}

#[tokio::test]
async fn off_that_is_taken_back_is_reported() {
    let bmc = lying(Lie::Reverts(Duration::from_millis(200)), "On");
    let mut checked = checked(&bmc);
    assert_eq!(checked.power_off().await.unwrap(), Switched::Commanded);
    let error = loop {
        match checked.read().await {
            Ok(PowerReading::Off) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(error.kind(), PowerErrorKind::Contradiction, "{error}");
    assert!(error.to_string().contains("read off, and"), "{error}");
}

#[tokio::test]
async fn on_that_is_taken_back_reads_off() {
    let bmc = lying(Lie::Reverts(Duration::from_millis(200)), "Off");
    let mut checked = checked(&bmc);
    assert_eq!(checked.power_on().await.unwrap(), Switched::Commanded);
    // A machine may go off by itself: for the core to judge.
    while checked.read().await.unwrap() == PowerReading::On {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn death_in_the_middle_is_neither_on_nor_off() {
    let bmc = lying(Lie::Dies, "On");
    let mut checked = checked(&bmc);
    let error = checked.power_off().await.unwrap_err();
    assert_eq!(error.kind(), PowerErrorKind::Dead, "{error}");
    assert_eq!(bmc.state().resets, ["ForceOff"]);
}
