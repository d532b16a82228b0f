//! A file as an HTTP body, read in chunks of 256 KiB. It never holds more than
//! one chunk, and never ends early in silence: a file that shrank breaks the
//! connection, so that the client sees it.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeekExt, ReadBuf};

/// Octets per read: the size that serves a fast link best without holding much.
const CHUNK_BYTES: u64 = 256 * 1024;

/// What of an open file is still to be sent.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: File,
    left: u64,
    buffer: Vec<u8>,
}

impl FileBody {
    /// Opens a regular file; gives its length as well.
    pub(crate) async fn open(path: &Path) -> io::Result<(Self, u64)> {
        let file = File::open(path).await?;
        let metadata = file.metadata().await?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok((
            Self {
                file,
                left: metadata.len(),
                buffer: Vec::new(),
            },
            metadata.len(),
        ))
    }

    /// Narrows the body to `length` octets from `first` on.
    pub(crate) async fn select(&mut self, first: u64, length: u64) -> io::Result<()> {
        if first > 0 {
            self.file.seek(SeekFrom::Start(first)).await?;
        }
        self.left = length;
        Ok(())
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = usize::try_from(this.left.min(CHUNK_BYTES)).unwrap_or(usize::MAX);
        if this.buffer.len() != wanted {
            this.buffer = vec![0; wanted];
        }
        let mut read = ReadBuf::new(&mut this.buffer);
        if let Err(error) = ready!(Pin::new(&mut this.file).poll_read(context, &mut read)) {
            return Poll::Ready(Some(Err(error)));
        }
        let length = read.filled().len();
        if length == 0 {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the boot file shrank");
            return Poll::Ready(Some(Err(error)));
        }
        let mut chunk = std::mem::take(&mut this.buffer);
        chunk.truncate(length);
        this.left -= u64::try_from(length).unwrap_or(this.left);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
