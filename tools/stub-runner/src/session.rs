//! The runner protocol of fakehub, with bounded retries. It decides nothing
//! about jobs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Answer, Client, HttpError};
use crate::jit::Settings;

/// Longest wait of one poll, in seconds. Short, so that a signal is seen soon.
const POLL_S: u64 = 2;
/// How often a request is tried before the connection counts as lost.
const TRIES: u32 = 6;

/// Why the session ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// Somebody else uses this registration.
    #[error("A session for this runner already exists.")]
    Conflict,
    /// The registration is gone.
    #[error("The runner registration has been deleted from the server, please re-configure.")]
    Unknown,
    /// The server wants a newer runner.
    #[error("{0}")]
    Deprecated(String),
    /// No answer after every try.
    #[error(transparent)]
    Network(#[from] HttpError),
    /// An answer that the protocol does not have.
    #[error("the server answered {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the server said.
        message: String,
    },
}

/// A job as the server hands it out.
#[derive(Debug)]
pub(crate) struct Job {
    /// Number.
    pub(crate) id: u64,
    /// Number of its workflow run.
    pub(crate) run_id: u64,
    /// Display name.
    pub(crate) name: String,
    /// `owner/name`.
    pub(crate) repository: String,
    /// Commit.
    pub(crate) sha: String,
    /// Run by `/bin/sh -e`.
    pub(crate) script: String,
}

/// An open session.
pub(crate) struct Session {
    client: Client,
    path: String,
}

fn refused(answer: &Answer) -> SessionError {
    let message = answer
        .body
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    match (
        answer.status,
        answer.body.get("code").and_then(Value::as_str),
    ) {
        (409, Some("session_conflict")) => SessionError::Conflict,
        (401 | 410, _) => SessionError::Unknown,
        (403, Some("version_deprecated")) => SessionError::Deprecated(message),
        (status, _) => SessionError::Refused { status, message },
    }
}

fn tried(
    client: &Client,
    method: &str,
    path: &str,
    body: Option<&Value>,
    extra_s: u64,
) -> Result<Answer, SessionError> {
    let mut wait = Duration::from_millis(250);
    let mut left = TRIES;
    loop {
        left -= 1;
        match client.send(method, path, body, Duration::from_secs(extra_s)) {
            Ok(answer) if answer.status < 300 => return Ok(answer),
            Ok(answer) if answer.status < 500 || left == 0 => return Err(refused(&answer)),
            Err(error @ HttpError::Address(_)) => return Err(error.into()),
            Err(error) if left == 0 => return Err(error.into()),
            Ok(_) | Err(_) => {
                std::thread::sleep(wait);
                wait *= 2;
            }
        }
    }
}

impl Session {
    /// Opens the one session of the registration.
    pub(crate) fn open(settings: &Settings, version: &str) -> Result<Self, SessionError> {
        let client = Client::new(&settings.server, &settings.secret)?;
        let path = format!("/{}/sessions", settings.runner);
        let answer = tried(
            &client,
            "POST",
            &path,
            Some(&json!({ "version": version })),
            0,
        )?;
        let id =
            answer
                .body
                .get("session")
                .and_then(Value::as_str)
                .ok_or(SessionError::Refused {
                    status: answer.status,
                    message: "no session".into(),
                })?;
        Ok(Self {
            path: format!("{path}/{id}"),
            client,
        })
    }

    /// Waits a short while for a job.
    pub(crate) fn poll(&self) -> Result<Option<Job>, SessionError> {
        let path = format!("{}/job?wait_s={POLL_S}", self.path);
        let answer = tried(&self.client, "GET", &path, None, POLL_S)?;
        if answer.status == 204 {
            return Ok(None);
        }
        let text = |name: &str| {
            answer
                .body
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let number = |name: &str| answer.body.get(name).and_then(Value::as_u64);
        let id = number("id").ok_or(SessionError::Refused {
            status: answer.status,
            message: "a job without a number".into(),
        })?;
        Ok(Some(Job {
            id,
            run_id: number("run_id").unwrap_or_default(),
            name: text("name"),
            repository: text("repository"),
            sha: text("sha"),
            script: text("script"),
        }))
    }

    /// Uploads lines, or none as a sign of life; says whether to stop.
    pub(crate) fn log(&self, job: u64, lines: &[String]) -> Result<bool, SessionError> {
        let body = json!({ "job": job, "lines": lines });
        let answer = tried(
            &self.client,
            "POST",
            &format!("{}/log", self.path),
            Some(&body),
            0,
        )?;
        Ok(answer
            .body
            .get("cancelled")
            .and_then(Value::as_bool)
            .unwrap_or(false))
    }

    /// Reports the end: `succeeded`, `failed` or `canceled`.
    pub(crate) fn complete(&self, job: u64, result: &str) -> Result<(), SessionError> {
        let body = json!({ "job": job, "result": result });
        tried(
            &self.client,
            "POST",
            &format!("{}/complete", self.path),
            Some(&body),
            0,
        )?;
        Ok(())
    }

    /// Ends an idle session; a failure changes nothing for the caller.
    pub(crate) fn close(&self) {
        let _ = self.client.send("DELETE", &self.path, None, Duration::ZERO);
    }
}
