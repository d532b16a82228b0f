//! What the page must hold, whatever it looks like.

use control::StatusView;

use super::{CONTENT_SECURITY_POLICY, MOST_JOBS, SCRIPT, STYLE, document, fixture, sentence};
use crate::releases::{ImageView, ReleasesView};
use crate::ways::WaysView;

fn page(view: &StatusView) -> String {
    document(view, &fixture::direct(), &[])
}

fn live(view: &StatusView) -> String {
    super::live(view, &fixture::direct(), &[])
}

#[test]
fn text_from_outside_is_never_html() {
    let html = page(&fixture::hostile());
    assert!(
        !html.contains("<script>"),
        "only the page's own, with a src"
    );
    assert!(!html.contains("<img"), "an element of a stranger's");
    assert_eq!(html.matches("<script").count(), 1);
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    // An attribute cannot be left either: every quote in it is escaped.
    assert!(!html.contains("</script>\"'>"));
}

#[test]
fn the_policy_holds() {
    for view in [fixture::empty(), fixture::crowded(), fixture::hostile()] {
        let html = page(&view);
        for forbidden in [
            " style=",
            " onclick=",
            " onload=",
            "http://",
            "https://",
            "<style",
            "javascript:",
        ] {
            let ours = html.replace("onerror=alert(2)", "");
            assert!(!ours.contains(forbidden), "{forbidden}");
        }
    }
    for text in [STYLE, SCRIPT] {
        for forbidden in [
            "@import",
            "url(",
            "http://",
            "https://",
            "innerHTML",
            "eval(",
        ] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
    }
    assert!(CONTENT_SECURITY_POLICY.starts_with("default-src 'none'; "));
    assert!(!CONTENT_SECURITY_POLICY.contains("unsafe"));
}

#[test]
fn the_live_part_is_in_the_document() {
    let view = fixture::typical();
    let part = live(&view);
    assert!(part.starts_with("<main "), "{part:.60}");
    assert!(part.contains(" id=\"live\""));
    assert!(part.ends_with("</main>"));
    assert!(page(&view).contains(&part));
    assert_eq!(part.matches("<main").count(), 1);
}

#[test]
fn an_empty_appliance_says_so() {
    let html = page(&fixture::empty());
    for text in [
        "No sleds yet",
        "No pools yet",
        "No jobs yet",
        "no job waiting",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("class=\"unit"));
    assert!(!html.contains("<h2>1 problem"));
    let html = page(&fixture::fresh());
    assert!(html.contains("runs-on: [self-hosted, linux, x64]"));
    assert!(html.contains("not booted yet"));
}

#[test]
fn problems_come_first_with_their_way_out() {
    let html = page(&fixture::troubled());
    for text in [
        "sled-03 is quarantined",
        "3 boots in a row failed",
        "musher sled release sled-03",
        "sled-04 has unknown power",
        "did not answer within 4 tries",
        "GitHub refuses runners for pool arm64",
        "Resource not accessible by integration",
        "Do what the reason says.",
        "1 job waits for pool arm64, which has no sleds",
        "The power driver of sled-05 complains",
        "refused the password",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(html.find("sled-03 is quarantined") < html.find("id=\"rack\""));
    assert!(html.contains("<h2>") && html.contains("5 problems"));
    assert!(!live(&fixture::typical()).contains("problem-"));
}

#[test]
fn a_paused_pool_is_not_put_down_to_github() {
    let mut view = fixture::typical();
    view.pools[0].paused = true;
    view.pools[0].problem = Some("paused: new switch".into());
    let html = live(&view);
    let name = &view.pools[0].name;
    assert!(html.contains(&format!("Pool {name} is paused")), "{html}");
    assert!(html.contains(&format!("<code>musher pool resume {name}</code>")));
    assert!(!html.contains("GitHub refuses"), "{html}");
}

#[test]
fn an_old_runner_is_a_problem_with_its_mend() {
    let image = ImageView {
        image: "debian-12".into(),
        runner_version: "2.334.0".parse().ok(),
        outdated_by: "2.335.0".parse().ok(),
        outdated_since: Some(fixture::fresh().now.0),
        days_left: Some(9),
        warning: Some("9 days are left".into()),
        mend: Some("Build it: `musher-image runner`".into()),
    };
    let quiet = ImageView {
        warning: None,
        ..image.clone()
    };
    let releases = |image| ReleasesView {
        github: "main".into(),
        images: vec![image],
        ..ReleasesView::default()
    };
    let html = |image| document(&fixture::fresh(), &fixture::direct(), &[releases(image)]);
    let told = html(image);
    for text in [
        "1 problem",
        "The runner in image debian-12 is old",
        "9 days are left",
        "<code>musher-image runner</code>",
    ] {
        assert!(told.contains(text), "{text}: {told}");
    }
    assert!(!html(quiet).contains("is old"));
}

#[test]
fn the_way_in_tells_how_it_does() {
    #[track_caller]
    fn check(ways: &WaysView, expect: &[&str]) {
        let html = document(&fixture::fresh(), ways, &[]);
        for text in expect {
            assert!(html.contains(text), "{text}: {html}");
        }
        let blocked = html.contains("class=\"pool blocked\"");
        assert_eq!(blocked, ways.delivery_log[0].problem.is_some(), "{html}");
    }
    check(
        &fixture::direct(),
        &[
            "Deliveries come to the webhook's address.",
            "Delivery log of main: <strong>3</strong> recovered, read ",
            "Sweep of main: <strong>0</strong> recovered, not read yet",
        ],
    );
    check(
        &fixture::tunnel_down(),
        &[
            "<strong>down</strong> for ",
            "opened again 2 times",
            "it ended with exit status: 1",
            "It said last: <code>&lt;b&gt;refused&lt;/b&gt;</code>",
            "1 could not be read",
            "still reading",
            "no answer from api.github.com",
        ],
    );
}

#[test]
fn every_sled_and_job_stands_there_once() {
    let view = fixture::typical();
    let html = page(&view);
    for sled in &view.sleds {
        let id = format!("id=\"sled-{}\"", sled.name);
        assert_eq!(html.matches(&id).count(), 1, "{id}");
    }
    for job in &view.jobs {
        let place = if job.state == "queued" {
            "waiting"
        } else {
            "job"
        };
        let id = format!("id=\"{place}-{}-{}\"", job.github, job.id);
        assert_eq!(html.matches(&id).count(), 1, "{id}");
        assert_eq!(
            html.matches(&format!("-{}-{}\"", job.github, job.id))
                .count(),
            1
        );
    }
    assert!(html.contains("/api/v1/boots/1045/log"));
    assert!(html.contains("netboot-forced"));
    assert!(html.contains("receipt 1045"));
}

#[test]
fn the_page_is_bounded() {
    let view = fixture::crowded();
    assert!(view.jobs.len() > MOST_JOBS);
    let html = page(&view);
    let rows = html.matches("id=\"job-").count();
    assert!(rows < MOST_JOBS, "{rows} rows");
    assert_eq!(html.matches("id=\"waiting-").count(), 25);
    assert!(html.contains("not listed here"));
    assert!(html.len() < 1_000_000, "{} bytes", html.len());
}

#[test]
fn a_sentence_tells_what_goes_on() {
    let check = |view: StatusView, expect: &str| assert_eq!(sentence::sentence(&view), expect);
    check(fixture::empty(), "No sleds yet; no job waiting");
    check(fixture::fresh(), "2 sleds, all off; no job waiting");
    check(
        fixture::typical(),
        "2 sleds, 1 running a job, 1 booting; 4 jobs waiting to run",
    );
    check(
        fixture::troubled(),
        "5 sleds, 1 running a job, 1 booting, 1 off, 1 with unknown power, 1 quarantined; 5 jobs waiting to run",
    );
}

#[test]
fn extreme_times_do_no_harm() {
    let mut view = fixture::troubled();
    view.now = messages::Millis(u64::MAX);
    let _ = page(&view);
    view.now = messages::Millis(0);
    let _ = page(&view);
    for sled in &mut view.sleds {
        sled.since = Some(messages::Millis(u64::MAX));
        sled.deadline = Some(messages::Millis(0));
    }
    for job in &mut view.jobs {
        job.delivered = messages::Millis(u64::MAX);
    }
    let _ = page(&view);
}
