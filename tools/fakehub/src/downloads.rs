//! Release archives as github.com sends them: an address that leads on to a
//! signed one elsewhere, which takes no other credential.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

use crate::answer::{self, Answer, Request};
use crate::config::RunnerTarball;
use crate::hub::Hub;
use crate::state::Trouble;

/// Stands for the signature of a release asset's address.
const SIGNED: &str = "sig=fakehub";
/// What a huge archive says that it has.
const HUGE_BYTES: u64 = 1 << 40;

impl Hub {
    /// The runner that is offered now.
    #[must_use]
    pub fn runner(&self) -> Option<RunnerTarball> {
        let runner = self.config.runner.clone()?;
        Some(match &self.state().runner_version {
            Some(version) => runner.of_version(version),
            None => runner,
        })
    }
}

/// Answers below `/_download/`.
pub(crate) fn handle(hub: &Hub, request: &Request) -> Answer {
    let Some(runner) = hub.runner().filter(|_| request.method == "GET") else {
        return Answer::not_found();
    };
    let path = request.path.strip_prefix("/_download/").unwrap_or_default();
    if path == runner.filename {
        let asset = format!("{}/_download/asset/{path}?{SIGNED}", hub.urls.api);
        return Answer::empty(302).header("location", asset);
    }
    if path.strip_prefix("asset/") != Some(runner.filename.as_str()) {
        return Answer::not_found();
    }
    // As the storage behind github.com: it refuses a token beside the signature.
    if request.authorization.is_some() {
        return Answer::error(400, "Only one auth mechanism allowed");
    }
    if request.query.get("sig").map(String::as_str) != Some("fakehub") {
        return Answer::error(403, "AuthenticationFailed");
    }
    let trouble = hub.state().strike_archive();
    let body = match trouble {
        Some(Trouble::SpoiltArchive) => {
            let mut bytes = runner.bytes.to_vec();
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            answer::Body::File(Arc::new(bytes))
        }
        Some(Trouble::CutArchive) => answer::Body::Cut {
            says: runner.bytes.len() as u64,
            bytes: Arc::new(runner.bytes[..runner.bytes.len() / 2].to_vec()),
        },
        Some(Trouble::HugeArchive) => answer::Body::Cut {
            says: HUGE_BYTES,
            bytes: runner.bytes,
        },
        _ => answer::Body::File(runner.bytes),
    };
    Answer {
        status: 200,
        headers: vec![("content-type", "application/octet-stream".to_owned())],
        body,
    }
}

/// An answer's bytes on their way.
pub(crate) struct Outgoing {
    bytes: Option<Bytes>,
    /// Broken off where they end.
    cut: bool,
    /// What came before the cut had its turn to be sent.
    had_turn: bool,
}

impl Outgoing {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self {
            bytes,
            cut: false,
            had_turn: true,
        }
    }

    pub(crate) fn cut(bytes: Bytes) -> Self {
        Self {
            bytes: Some(bytes),
            cut: true,
            had_turn: false,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        Poll::Ready(match self.bytes.take() {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            None if !self.had_turn => {
                self.had_turn = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            None if self.cut => Some(Err(std::io::ErrorKind::BrokenPipe.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && !self.cut
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        match self.cut {
            true => SizeHint::default(),
            false => SizeHint::with_exact(bytes),
        }
    }
}
