//! TFTP packets (RFC 1350 section 5, RFC 2347). It never owns what it reads.

use alloc::vec::Vec;

/// Longest request or acknowledgement that is read, in octets (RFC 2347: a
/// request is at most 512).
pub const MAX_REQUEST_BYTES: usize = 512;
/// More options than any client sends.
const MAX_OPTIONS: usize = 16;

/// One packet, borrowed from its datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ or WRQ.
    Request {
        /// WRQ.
        write: bool,
        /// File name.
        name: &'a str,
        /// `octet`, `netascii` or `mail`, any case.
        mode: &'a str,
        /// Option names and values as sent.
        options: Vec<(&'a str, &'a str)>,
    },
    /// DATA.
    Data {
        /// Block number, which rolls over.
        block: u16,
        /// Content of the block.
        data: &'a [u8],
    },
    /// ACK.
    Ack {
        /// Block number, which rolls over.
        block: u16,
    },
    /// ERROR.
    Error {
        /// Error code as sent.
        code: u16,
        /// Text, with what is not UTF-8 left out.
        text: &'a str,
    },
    /// OACK.
    OptionAck {
        /// Option names and values.
        options: Vec<(&'a str, &'a str)>,
    },
}

/// Error codes (RFC 1350 appendix, RFC 2347).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ErrorCode {
    /// See the text.
    NotDefined = 0,
    /// There is no such file.
    NotFound = 1,
    /// There may be such a file, but not for you.
    AccessViolation = 2,
    /// Not a TFTP operation.
    IllegalOperation = 4,
    /// Options were refused.
    OptionsRefused = 8,
}

/// Why bytes are not a TFTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer octets than the packet needs.
    #[error("decode TFTP packet: truncated")]
    Truncated,
    /// Unknown opcode.
    #[error("decode TFTP packet: opcode {0} is unknown")]
    Opcode(u16),
    /// A string without its end, or not UTF-8.
    #[error("decode TFTP packet: a string is not terminated or not text")]
    Text,
    /// More than 16 options.
    #[error("decode TFTP packet: more than {MAX_OPTIONS} options")]
    TooManyOptions,
    /// Request above 512 octets.
    #[error("decode TFTP packet: request of {bytes} bytes is longer than 512")]
    RequestTooLong {
        /// Length seen.
        bytes: usize,
    },
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`DecodeError`]; such a datagram is dropped.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let (opcode, rest) = split_word(datagram)?;
        match opcode {
            1 | 2 => {
                if datagram.len() > MAX_REQUEST_BYTES {
                    return Err(DecodeError::RequestTooLong {
                        bytes: datagram.len(),
                    });
                }
                let (name, rest) = split_text(rest)?;
                let (mode, rest) = split_text(rest)?;
                let options = split_options(rest)?;
                Ok(Self::Request {
                    write: opcode == 2,
                    name,
                    mode,
                    options,
                })
            }
            3 => split_word(rest).map(|(block, data)| Self::Data { block, data }),
            4 => split_word(rest).map(|(block, _)| Self::Ack { block }),
            5 => {
                let (code, text) = split_word(rest)?;
                // Some clients leave the terminating zero out; the code counts.
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                Ok(Self::Error {
                    code,
                    text: core::str::from_utf8(text).unwrap_or_default(),
                })
            }
            6 => Ok(Self::OptionAck {
                options: split_options(rest)?,
            }),
            other => Err(DecodeError::Opcode(other)),
        }
    }

    /// Writes the packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Request {
                write,
                name,
                mode,
                options,
            } => {
                put_word(&mut out, if *write { 2 } else { 1 });
                put_text(&mut out, name);
                put_text(&mut out, mode);
                put_options(&mut out, options);
            }
            Self::Data { block, data } => {
                out.reserve_exact(4 + data.len());
                put_word(&mut out, 3);
                put_word(&mut out, *block);
                out.extend_from_slice(data);
            }
            Self::Ack { block } => {
                put_word(&mut out, 4);
                put_word(&mut out, *block);
            }
            Self::Error { code, text } => {
                put_word(&mut out, 5);
                put_word(&mut out, *code);
                put_text(&mut out, text);
            }
            Self::OptionAck { options } => {
                put_word(&mut out, 6);
                put_options(&mut out, options);
            }
        }
        out
    }
}

/// An ERROR datagram.
#[must_use]
pub fn encode_error(code: ErrorCode, text: &str) -> Vec<u8> {
    Packet::Error {
        code: code as u16,
        text,
    }
    .encode()
}

fn split_word(bytes: &[u8]) -> Result<(u16, &[u8]), DecodeError> {
    let (word, rest) = bytes
        .split_first_chunk::<2>()
        .ok_or(DecodeError::Truncated)?;
    Ok((u16::from_be_bytes(*word), rest))
}

fn split_text(bytes: &[u8]) -> Result<(&str, &[u8]), DecodeError> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(DecodeError::Text)?;
    let (text, rest) = bytes.split_at_checked(end).ok_or(DecodeError::Text)?;
    let text = core::str::from_utf8(text).map_err(|_| DecodeError::Text)?;
    Ok((text, rest.get(1..).unwrap_or_default()))
}

fn split_options(mut rest: &[u8]) -> Result<Vec<(&str, &str)>, DecodeError> {
    let mut options = Vec::new();
    while !rest.is_empty() {
        // Some boot ROMs pad the request with zeros.
        if rest.iter().all(|byte| *byte == 0) {
            break;
        }
        if options.len() == MAX_OPTIONS {
            return Err(DecodeError::TooManyOptions);
        }
        let (name, tail) = split_text(rest)?;
        let (value, tail) = split_text(tail)?;
        options.push((name, value));
        rest = tail;
    }
    Ok(options)
}

fn put_word(out: &mut Vec<u8>, word: u16) {
    out.extend_from_slice(&word.to_be_bytes());
}

/// A zero inside would end the string early: what follows it is left out.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().take_while(|byte| *byte != 0));
    out.push(0);
}

fn put_options(out: &mut Vec<u8>, options: &[(&str, &str)]) {
    for (name, value) in options {
        put_text(out, name);
        put_text(out, value);
    }
}
