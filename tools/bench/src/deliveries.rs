//! Signed `workflow_job` deliveries as bytes on the wire, made before the
//! clock starts. It sends nothing.

use std::collections::{BTreeMap, VecDeque};

use fakehub::config::{Installation, Repository};
use fakehub::shapes::workflow_job;
use fakehub::state::{Conclusion, Job, Status, TakenBy};
use fakehub::{ids, webhook};

/// The webhook's secret on both sides.
pub(crate) const SECRET: &[u8] = b"0f1e2d3c4b5a69788796a5b4c3d2e1f000112233";
/// Labels of the pool, and of every job.
pub(crate) const LABELS: [&str; 3] = ["self-hosted", "linux", "x64"];
/// The account of every job.
pub(crate) const ORGANIZATION: &str = "octo-org";
/// The hook's header, the same in each delivery.
const HOOK_ID: &str = "400123456";
/// Stands for the job's number in a body until that is known. GitHub's have
/// eleven digits at this time.
const NUMBER: u64 = 77_777_777_777;

/// One request and the answer that it must get.
pub(crate) struct Request {
    /// Head and body.
    pub(crate) bytes: Vec<u8>,
    /// The body of the answer.
    pub(crate) expect: &'static [u8],
}

/// What a receiver is to answer to both deliveries of a job.
#[derive(Clone, Copy)]
pub(crate) struct Receiver {
    /// The path it listens on.
    pub(crate) path: &'static str,
    /// To a job that is queued.
    pub(crate) queued: &'static [u8],
    /// To a job that completed.
    pub(crate) completed: &'static [u8],
}

/// Makes deliveries of jobs with distinct numbers.
pub(crate) struct Maker {
    queued: String,
    completed: String,
    next: u64,
}

impl Maker {
    /// Numbers begin at the same one in each run.
    pub(crate) fn new() -> Self {
        Self::beginning(30_000_000_000)
    }

    /// Numbers begin at this one.
    pub(crate) fn beginning(next: u64) -> Self {
        Self {
            queued: body(&job(NUMBER, Status::Queued, &LABELS, None)),
            completed: body(&job(
                NUMBER,
                Status::Completed,
                &LABELS,
                Some((4_242, "somebody-elses-runner")),
            )),
            next,
        }
    }

    /// For each of `senders`, `jobs` jobs: each one queued, then completed.
    /// Numbers rise in the order of sending over all senders, as GitHub's do:
    /// jobs of one moment are neighbours in an ordered table.
    pub(crate) fn make(
        &mut self,
        receiver: Receiver,
        senders: usize,
        jobs: usize,
    ) -> Vec<Vec<Request>> {
        let mut made: Vec<Vec<Request>> =
            (0..senders).map(|_| Vec::with_capacity(jobs * 2)).collect();
        for _ in 0..jobs {
            for sender in &mut made {
                sender.extend(self.job(receiver));
            }
        }
        made
    }

    fn job(&mut self, receiver: Receiver) -> [Request; 2] {
        let [queued, completed] = self.payloads();
        [
            request(receiver.path, &queued, receiver.queued),
            request(receiver.path, &completed, receiver.completed),
        ]
    }

    /// What is said of the next job: it is queued, it completed.
    pub(crate) fn payloads(&mut self) -> [String; 2] {
        let number = self.next.to_string();
        self.next += 1;
        let mark = NUMBER.to_string();
        [&self.queued, &self.completed].map(|text| text.replace(&mark, &number))
    }
}

/// The delivery that says how one job stands, and on which runner, by id and
/// name.
pub(crate) fn about(
    path: &str,
    number: u64,
    status: Status,
    labels: &[&str],
    runner: Option<(u64, &str)>,
    expect: &'static [u8],
) -> Request {
    request(path, &body(&job(number, status, labels, runner)), expect)
}

/// GitHub's request (GitHub Docs, "Webhook events and payloads", delivery
/// headers) over HTTP/1.1, on a connection that stays open.
fn request(path: &str, body: &str, expect: &'static [u8]) -> Request {
    let head = format!(
        "POST {path} HTTP/1.1\r\n\
         Host: ci.example.org\r\n\
         User-Agent: GitHub-Hookshot/a1b2c3d\r\n\
         Accept: */*\r\n\
         Content-Type: application/json\r\n\
         X-GitHub-Delivery: {}\r\n\
         X-GitHub-Event: workflow_job\r\n\
         X-GitHub-Hook-ID: {HOOK_ID}\r\n\
         X-GitHub-Hook-Installation-Target-ID: 123456\r\n\
         X-GitHub-Hook-Installation-Target-Type: integration\r\n\
         X-Hub-Signature-256: {}\r\n\
         Content-Length: {}\r\n\r\n",
        ids::guid(),
        webhook::signature(SECRET, body.as_bytes()),
        body.len()
    );
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.as_bytes());
    Request { bytes, expect }
}

/// The body in GitHub's shape, with every address and the repository's whole
/// description in it.
fn body(job: &Job) -> String {
    let place = Repository {
        id: 7_001,
        name: "app".to_owned(),
        private: true,
    };
    let installation = Installation {
        id: 1_001,
        account: ORGANIZATION.to_owned(),
        account_id: 9_001,
        account_type: "Organization".to_owned(),
        repositories: vec![place.clone()],
        permissions: BTreeMap::new(),
        runner_groups: Vec::new(),
    };
    workflow_job("https://api.github.com", &installation, &place, job).to_string()
}

fn job(number: u64, status: Status, labels: &[&str], runner: Option<(u64, &str)>) -> Job {
    const SINCE_MS: i64 = 1_790_000_000_000;
    let ended = status == Status::Completed;
    Job {
        id: number,
        run_id: number,
        run_attempt: 1,
        name: "build (linux, x64)".to_owned(),
        account: ORGANIZATION.to_owned(),
        repo: "app".to_owned(),
        public: false,
        labels: labels.iter().copied().map(str::to_owned).collect(),
        script: String::new(),
        head_sha: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        status,
        conclusion: ended.then_some(Conclusion::Success),
        created_ms: SINCE_MS,
        started_ms: runner.map(|_| SINCE_MS + 9_000),
        completed_ms: ended.then_some(SINCE_MS + 60_000),
        cancel_ms: None,
        runner: runner.map(|(id, name)| TakenBy {
            id,
            name: name.to_owned(),
            group_id: 1,
            group_name: "Default".to_owned(),
        }),
        log: VecDeque::new(),
        log_dropped: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delivery_differs_and_is_signed_over_its_own_body() {
        let receiver = Receiver {
            path: "/hook",
            queued: b"q",
            completed: b"c",
        };
        let made = Maker::new().make(receiver, 2, 2);
        let requests: Vec<&Request> = made.iter().flatten().collect();
        assert_eq!(requests.len(), 8);
        let mut seen = std::collections::BTreeSet::new();
        for request in requests {
            let text = String::from_utf8(request.bytes.clone()).expect("ASCII");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            let signature = webhook::signature(SECRET, body.as_bytes());
            assert!(head.contains(&format!("X-Hub-Signature-256: {signature}\r\n")));
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
            assert!(!body.contains(&NUMBER.to_string()));
            assert!(seen.insert(signature), "two bodies are the same");
        }
    }
}
