//! Where the runner's release archives are: not GitHub's API, but addresses
//! that it names and that lead on to others.
//!
//! Asked as nobody: no token of ours goes there. Redirects are followed one by
//! one, and only to https (plain HTTP stays on this machine, as for the API).
//! Addresses may hold signatures, so messages name their host alone.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::http::header::{CONTENT_LENGTH, LOCATION};
use ureq::http::{Request, Uri};

use super::GithubClient;
use super::endpoint::is_loopback;
use super::error::GithubError;
use super::http::{Call, failure};

/// Addresses that one archive may lead through; github.com needs two.
const HOPS: usize = 5;
/// Deadline of a whole archive of a few hundred MB.
pub(super) const ARCHIVE: Duration = Duration::from_secs(30 * 60);

/// An archive that is being sent.
pub struct Archive {
    /// How many bytes it has, if told.
    pub bytes: Option<u64>,
    /// What comes: at most as many bytes as were allowed, or an error.
    pub body: Box<dyn Read + Send>,
}

/// Fetches archives, as nobody.
pub(super) struct Archives {
    agent: Agent,
    /// Whether plain HTTP to this machine will do.
    plain: bool,
}

impl Archives {
    pub(super) fn new(agent: Agent, plain: bool) -> Self {
        Self { agent, plain }
    }

    fn open(&self, address: &str, most: u64) -> Result<Archive, GithubError> {
        let mut address = self.checked(address)?;
        for _ in 0..HOPS {
            let host = address.host().unwrap_or_default().to_owned();
            let refuse = |reason| refused(&host, reason);
            let request = Request::get(&address)
                .header("Accept", "application/octet-stream")
                .body(())
                .map_err(|error| refuse(error.to_string()))?;
            let place = place(&host);
            let failed = |error| failure(&host, &Call::get(&place), error);
            let response = self.agent.run(request).map_err(failed)?;
            let header = |name| response.headers().get(name)?.to_str().ok();
            match response.status().as_u16() {
                200 => {
                    let bytes = header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
                    if bytes.is_some_and(|bytes: u64| bytes > most) {
                        return Err(refuse(format!("it is larger than {most} bytes")));
                    }
                    let body = response.into_body().into_with_config().limit(most);
                    return Ok(Archive {
                        bytes,
                        body: Box::new(body.reader()),
                    });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let Some(next) = header(LOCATION) else {
                        return Err(refuse("it leads on to nowhere".to_owned()));
                    };
                    address = self.checked(next)?;
                }
                status => return Err(refuse(format!("answered with status {status}"))),
            }
        }
        let host = address.host().unwrap_or_default();
        Err(refused(host, format!("more than {HOPS} redirects")))
    }

    fn checked(&self, address: &str) -> Result<Uri, GithubError> {
        let uri: Uri = address
            .parse()
            .map_err(|_| refused("an unknown host", "its address is none".to_owned()))?;
        let host = uri.host().unwrap_or_default().to_owned();
        let safe = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => self.plain && is_loopback(&host),
            _ => false,
        };
        let named = uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        match safe && !named && !host.is_empty() {
            true => Ok(uri),
            false => Err(refused(&host, "its address is not https".to_owned())),
        }
    }
}

fn place(host: &str) -> String {
    format!("runner archive at {host}")
}

fn refused(host: &str, reason: String) -> GithubError {
    GithubError::Answer {
        method: "GET",
        path: place(host),
        reason,
    }
}

impl GithubClient {
    /// Opens a release archive that [`runner_downloads`](Self::runner_downloads)
    /// named. Blocks, and so does reading it: not for an async task. What it
    /// says of itself is not believed: compare its digest.
    ///
    /// # Errors
    /// [`GithubError`]: an address that is not https, a size beyond `most`
    /// bytes, any status but 200.
    pub fn open_archive(&self, address: &str, most: u64) -> Result<Archive, GithubError> {
        self.shared.auth.archives().open(address, most)
    }
}
