//! The body of a delivery whose signature was right: still not trusted.
#![no_main]

// The module alone: a fuzz build of everything the daemon depends on would
// take minutes.
#[rustfmt::skip]
#[path = "../../../appliance/daemon/src/payload.rs"]
#[allow(dead_code, unused_imports)]
mod payload;

use libfuzzer_sys::fuzz_target;
use payload::{Payload, parse};

fuzz_target!(|body: &[u8]| {
    for event in [
        "workflow_job",
        "workflow_run",
        "ping",
        "installation",
        "installation_repositories",
    ] {
        match parse(event, body) {
            Ok(Payload::WorkflowJob(job)) => {
                assert_eq!(event, "workflow_job");
                assert!(job.labels.len() <= 100);
                assert!(job.name.len() <= 1024);
            }
            Ok(Payload::WorkflowRun(run)) => {
                assert_eq!(event, "workflow_run");
                assert!(run.run_attempt > 0);
                assert!(run.repository.len() <= 1024);
            }
            Ok(Payload::Installation(it)) => {
                assert!(event.starts_with("installation"));
                assert!(it.action.len() <= 1024 && it.account.len() <= 1024);
            }
            Ok(Payload::Ping | Payload::Other) => {}
            // Every refusal can be put into a log line.
            Err(error) => assert!(error.to_string().len() < 1024),
        }
    }
});
