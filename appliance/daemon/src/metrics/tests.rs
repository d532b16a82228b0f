use super::*;
use crate::page::fixture;

fn kept() -> Kept {
    let mut kept = Kept::default();
    kept.add_stages(&fixture::boot(1, "sled-01", 1_000).timeline);
    let drawn = Drawn {
        joules: 48_000,
        measured_ms: 61_250,
    };
    kept.energy.insert(("sled-01".into(), "dcmi"), drawn);
    kept.quarantined.insert("sled-01".into());
    *kept.conclusions.entry("success").or_default() += 2;
    kept
}

#[track_caller]
fn check(text: &str, line: &str) {
    assert!(text.lines().any(|one| one == line), "{line} not in\n{text}");
}

#[test]
fn figures() {
    let text = render(&fixture::fresh(), &kept());
    check(&text, "musher_pool_queued_jobs{pool=\"linux-x64\"} 0");
    check(
        &text,
        "musher_pool_sleds{pool=\"linux-x64\",state=\"Off\"} 2",
    );
    check(&text, "musher_sleds{state=\"Running\"} 0");
    check(&text, "musher_kept_jobs{conclusion=\"success\"} 2");
    check(
        &text,
        "musher_kept_energy_joules{sled=\"sled-01\",meter=\"dcmi\"} 48000",
    );
    check(
        &text,
        "musher_kept_energy_measured_seconds{sled=\"sled-01\",meter=\"dcmi\"} 61.250",
    );
}

#[test]
fn nothing_measured_is_absent() {
    let text = render(&fixture::fresh(), &Kept::default());
    assert!(!text.contains("musher_kept_energy_joules{"), "{text}");
    assert!(!text.contains("mean_seconds{"), "{text}");
}

#[test]
fn labels_are_escaped_and_bounded() {
    let mut view = fixture::hostile();
    view.sleds.truncate(1);
    view.sleds[0].name = "a\\b\"c\nd".into();
    let text = render(&view, &kept());
    check(&text, "musher_sled_quarantined{sled=\"a\\\\b\\\"c\\nd\"} 0");
    assert!(!text.contains("octo-org"), "a repository's name");
    let said = Conclusion::Said("a\"new\"one".into());
    assert_eq!(word(&said), OTHER);
    assert_eq!(word(&Conclusion::Silent), "unknown");
    assert_eq!(word(&Conclusion::Said("timed_out".into())), "timed_out");
}
