//! The messages of netlink(7): their layout, and which of them make a complete
//! answer.
//!
//! Headers and numbers are in the byte order of the machine. Every length in a
//! message is checked against the bytes that are there before it is used.

use std::fmt;
use std::io::{self, Read};

/// A buffer of this size takes any datagram of a dump whole: the kernel fills
/// at most 32 KiB less its own overhead (`netlink_recvmsg`).
pub const BUFFER_SIZE: usize = 32 * 1024;

/// The length of `struct nlmsghdr`.
pub const NLMSG_HDRLEN: usize = 16;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The bits of an attribute's type that are no flag.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Why an answer cannot be used.
#[derive(Debug)]
pub enum AnswerError {
    /// The request could not be sent, the answer could not be read, or the kernel
    /// answered with this error.
    Io(io::Error),
    /// It ends in the middle of a message, or it filled the whole buffer.
    Truncated,
    /// It holds a message that belongs to no such answer or cannot be read.
    Unexpected,
    /// The kernel says that the list changed while it was made, so it may lack
    /// something.
    Interrupted,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::Io(error) => error.fmt(f),
            AnswerError::Truncated => f.write_str("its answer is cut short"),
            AnswerError::Unexpected => f.write_str("its answer cannot be read"),
            AnswerError::Interrupted => f.write_str("its list changed whenever it was read"),
        }
    }
}

impl std::error::Error for AnswerError {}

impl From<io::Error> for AnswerError {
    fn from(error: io::Error) -> AnswerError {
        AnswerError::Io(error)
    }
}

/// What identifies the messages of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The type of the messages with a payload.
    pub kind: u16,
    /// The sequence number of the request.
    pub sequence: u32,
}

/// A request of `N` bytes, for one thing or, as a `dump`, for a list: the header,
/// followed by zeros.
pub fn request<const N: usize>(expected: Expected, dump: bool) -> [u8; N] {
    let flags = NLM_F_REQUEST | if dump { NLM_F_DUMP } else { 0 };
    let mut request = [0; N];
    request[..4].copy_from_slice(&(N as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&expected.kind.to_ne_bytes());
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request[8..12].copy_from_slice(&expected.sequence.to_ne_bytes());
    request
}

/// A request for one thing or, as a `dump`, for a list, with `payload` behind its
/// header.
pub fn request_with(expected: Expected, dump: bool, payload: &[u8]) -> Vec<u8> {
    let header: [u8; NLMSG_HDRLEN] = request(expected, dump);
    let mut request = [&header[..], payload].concat();
    let length = request.len() as u32;
    request[..4].copy_from_slice(&length.to_ne_bytes());
    request
}

/// Reads a dump to its end and passes the payload of each message to `take`.
/// `take` returns `None` if it cannot read one. Each read of `answer` must give
/// one datagram, or fail if there is none.
///
/// # Errors
/// If the dump is not complete or not as `expected`. What `take` got until then is
/// part of a list and must not be used.
pub fn read_dump(
    mut answer: impl Read,
    buffer: &mut [u8],
    expected: Expected,
    mut take: impl FnMut(&[u8]) -> Option<()>,
) -> Result<(), AnswerError> {
    let mut is_interrupted = false;
    loop {
        let mut datagram = read_datagram(&mut answer, buffer)?;
        while !datagram.is_empty() {
            let message = Message::take_from(&mut datagram, expected)?;
            is_interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            if message.kind != NLMSG_DONE {
                take(message.payload(expected)?).ok_or(AnswerError::Unexpected)?;
                continue;
            }
            message.check_status()?;
            return match is_interrupted {
                true => Err(AnswerError::Interrupted),
                false => Ok(()),
            };
        }
    }
}

/// Reads the answer to a request for one thing, and returns its payload.
///
/// # Errors
/// If the answer is not as `expected`.
pub fn read_one(
    mut answer: impl Read,
    buffer: &mut [u8],
    expected: Expected,
) -> Result<&[u8], AnswerError> {
    let mut datagram = read_datagram(&mut answer, buffer)?;
    Message::take_from(&mut datagram, expected)?.payload(expected)
}

/// Reads one datagram. One that fills the buffer may have been longer.
fn read_datagram<'a>(
    answer: &mut impl Read,
    buffer: &'a mut [u8],
) -> Result<&'a [u8], AnswerError> {
    match answer.read(buffer)? {
        0 => Err(AnswerError::Truncated),
        length if length == buffer.len() => Err(AnswerError::Truncated),
        length => Ok(&buffer[..length]),
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes the first message off `datagram`.
    fn take_from(datagram: &mut &'a [u8], expected: Expected) -> Result<Message<'a>, AnswerError> {
        let bytes = *datagram;
        let truncated = AnswerError::Truncated;
        let length = u32::from_ne_bytes(array_at(bytes, 0).ok_or(AnswerError::Truncated)?);
        let length = usize::try_from(length).map_err(|_| AnswerError::Truncated)?;
        let body = bytes.get(NLMSG_HDRLEN..length).ok_or(truncated)?;
        // The last message need not be padded.
        *datagram = bytes.get(aligned(length)..).unwrap_or_default();
        let header = |at| array_at(bytes, at).map(u16::from_ne_bytes);
        let sequence = array_at(bytes, 8).map(u32::from_ne_bytes);
        match (header(4), header(6)) {
            (Some(kind), Some(flags)) if sequence == Some(expected.sequence) => {
                Ok(Message { kind, flags, body })
            }
            _ => Err(AnswerError::Unexpected),
        }
    }

    fn payload(&self, expected: Expected) -> Result<&'a [u8], AnswerError> {
        if self.kind == NLMSG_ERROR {
            self.check_status()?;
        }
        match self.kind == expected.kind {
            true => Ok(self.body),
            false => Err(AnswerError::Unexpected),
        }
    }

    /// Checks the status that `NLMSG_ERROR` and `NLMSG_DONE` start with: 0, or a
    /// negated errno.
    fn check_status(&self) -> Result<(), AnswerError> {
        match array_at(self.body, 0).map(i32::from_ne_bytes) {
            None => Err(AnswerError::Truncated),
            Some(0) => Ok(()),
            Some(status) => Err(io::Error::from_raw_os_error(status.wrapping_neg()).into()),
        }
    }
}

/// The value of the first attribute of type `kind` in `bytes`. `None` if there is
/// none, or if one before it cannot be read.
pub fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    const NLA_HDRLEN: usize = 4;
    loop {
        let length = usize::from(u16::from_ne_bytes(array_at(bytes, 0)?));
        let value = bytes.get(NLA_HDRLEN..length)?;
        if u16::from_ne_bytes(array_at(bytes, 2)?) & NLA_TYPE_MASK == kind {
            return Some(value);
        }
        bytes = bytes.get(aligned(length)..)?;
    }
}

/// `N` bytes of `bytes` from `at` on, if there are that many.
pub fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Messages and attributes start at multiples of four bytes.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}
