//! TFTP for reading: the packet codec and one transfer as a machine without
//! IO. It never writes a file, never reads a clock (time is an argument), and
//! never sends more than its window in answer to one datagram.
//!
//! Sources: RFC 1350 (TFTP), 1123 section 4.2.3.1 (sorcerer's apprentice),
//! 2347 (options), 2348 (blksize), 2349 (timeout, tsize), 7440 (windowsize).

mod packet;
mod request;
mod transfer;

pub use packet::{DecodeError, ErrorCode, MAX_REQUEST_BYTES, Packet, encode_error};
pub use request::{Negotiated, ReadRequest, RequestError};
pub use transfer::{FailReason, MAX_RETRIES, Status, Transfer};

#[cfg(test)]
mod tests;
