//! The messages of netlink(7): their layout, and the check that an answer is complete.
//!
//! Headers and numbers are in the byte order of the machine. Every length in a message is
//! checked against the size of the buffer before it is used.

use std::fmt;
use std::io::{self, Read};

use super::layout::{Value, layout};

/// The size of a buffer that is large enough for any datagram of a dump. The kernel fills at
/// most 32 KiB minus its own overhead (`netlink_recvmsg`).
pub const BUFFER_SIZE: usize = 32 * 1024;

layout! {
    /// `struct nlmsghdr`: the header of a message.
    Header, 16 bytes:
    nlmsg_len: u32 = 0..4,
    nlmsg_type: u16 = 4..6,
    nlmsg_flags: u16 = 6..8,
    nlmsg_seq: u32 = 8..12,
    nlmsg_pid: u32 = 12..16,
}

layout! {
    /// `struct nlattr`: the header of an attribute.
    AttributeHeader, 4 bytes:
    nla_len: u16 = 0..2,
    nla_type: u16 = 2..4,
}

pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
/// The bits of an attribute's type that are not flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Why an answer cannot be used.
#[derive(Debug)]
pub enum AnswerError {
    /// The request could not be sent, the answer could not be read, or the kernel
    /// answered with this error.
    Io(io::Error),
    /// The answer ends in the middle of a message, or a datagram filled the whole buffer and
    /// may have been longer.
    Truncated,
    /// The answer contains a message that does not belong to it or cannot be read.
    Unexpected,
    /// The kernel reports that the list changed while it was dumped, so the answer may be
    /// incomplete.
    Interrupted,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::Io(error) => error.fmt(f),
            AnswerError::Truncated => f.write_str("the answer is truncated"),
            AnswerError::Unexpected => f.write_str("the answer has an unexpected form"),
            AnswerError::Interrupted => f.write_str("the list changed during every read"),
        }
    }
}

impl std::error::Error for AnswerError {}

impl From<io::Error> for AnswerError {
    fn from(error: io::Error) -> AnswerError {
        AnswerError::Io(error)
    }
}

/// The type of a request, and of the messages in its answer.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct MessageTypes {
    pub request: u16,
    pub answer: u16,
}

impl MessageTypes {
    /// The types of a request whose answer has the same type as the request.
    pub const fn same(kind: u16) -> MessageTypes {
        MessageTypes {
            request: kind,
            answer: kind,
        }
    }
}

/// The number of messages in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// One message.
    One,
    /// Any number of messages, followed by a message that ends the list.
    Dump,
}

/// The type and sequence number that the messages of an answer must have.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The type of the messages that have a payload.
    pub kind: u16,
    /// The sequence number of the request.
    pub sequence: u32,
}

/// Replaces the contents of `request` with a header of this type and sequence number, followed
/// by `payload`.
pub fn write_request(
    request: &mut Vec<u8>,
    kind: u16,
    sequence: u32,
    amount: Amount,
    payload: &[u8],
) {
    let dump = match amount {
        Amount::One => 0,
        Amount::Dump => NLM_F_DUMP,
    };
    let header = Header {
        nlmsg_len: (Header::SIZE + payload.len()) as u32,
        nlmsg_type: kind,
        nlmsg_flags: NLM_F_REQUEST | dump,
        nlmsg_seq: sequence,
        nlmsg_pid: 0,
    };
    request.clear();
    request.extend(header.bytes());
    request.extend(payload);
}

/// The possible sizes of the buffer that the kernel fills with the rows of one datagram: a page
/// or 8 KiB by default, and 32 KiB (16 KiB in old kernels) once the socket has been read with a
/// larger buffer.
const DATAGRAM_SIZES: [usize; 4] = [4096, 8192, 16 * 1024, 32 * 1024];
/// The most bytes of that buffer that a full datagram leaves unused: the kernel's overhead
/// (`SKB_WITH_OVERHEAD`), and the space that was too small for the next row.
const MOST_ROOM_LEFT: usize = 768;

/// Whether a datagram of `length` bytes may have had no room for another row.
fn is_full(length: usize) -> bool {
    let mut sizes = DATAGRAM_SIZES.into_iter();
    sizes.any(|size| (size - MOST_ROOM_LEFT..size).contains(&length))
}

/// Reads an answer to its end, and calls `take` with the payload of each message. `take`
/// returns `None` if it cannot read a payload. Each read of `answer` must return one datagram,
/// or fail if there is none.
///
/// Returns true if some rows may be missing because rows may have moved during the reads.
/// This can happen if the rows came in several datagrams. It can also happen if the only
/// datagram with rows was full and the end of the list came in another datagram, because a row
/// may have moved away between the two.
///
/// # Errors
/// Fails if the answer is not complete, or if a message is not as `expected`. The caller must
/// then discard the rows that `take` has received.
pub fn read_answer(
    answer: &mut dyn Read,
    buffer: &mut [u8],
    expected: Expected,
    amount: Amount,
    take: &mut dyn FnMut(&[u8]) -> Option<()>,
) -> Result<bool, AnswerError> {
    let mut is_interrupted = false;
    let (mut is_split, mut was_full) = (false, false);
    let mut had_rows = false;
    loop {
        let mut datagram = read_datagram(answer, buffer)?;
        let (length, had_rows_before) = (datagram.len(), had_rows);
        while !datagram.is_empty() {
            let message = Message::split_off(&mut datagram, expected)?;
            is_interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            if amount == Amount::Dump && message.kind == NLMSG_DONE {
                message.check_status()?;
                return match is_interrupted {
                    true => Err(AnswerError::Interrupted),
                    false => Ok(was_full || is_split),
                };
            }
            is_split |= had_rows_before;
            had_rows = true;
            take(message.payload(expected)?).ok_or(AnswerError::Unexpected)?;
            if amount == Amount::One {
                return Ok(false);
            }
        }
        was_full = is_full(length);
    }
}

/// Reads one datagram. A datagram that fills the buffer is an error, because it may have been
/// longer.
fn read_datagram<'a>(answer: &mut dyn Read, buffer: &'a mut [u8]) -> Result<&'a [u8], AnswerError> {
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
    /// Removes the first message from `datagram` and returns it.
    fn split_off(datagram: &mut &'a [u8], expected: Expected) -> Result<Message<'a>, AnswerError> {
        let bytes = *datagram;
        let message = || {
            let header = Header::read(bytes)?;
            let length = usize::try_from(header.nlmsg_len).ok()?;
            Some((header, length, bytes.get(Header::SIZE..length)?))
        };
        let (header, length, body) = message().ok_or(AnswerError::Truncated)?;
        // The padding may be missing after the last message.
        *datagram = bytes.get(aligned(length)..).unwrap_or_default();
        if header.nlmsg_seq != expected.sequence {
            return Err(AnswerError::Unexpected);
        }
        Ok(Message {
            kind: header.nlmsg_type,
            flags: header.nlmsg_flags,
            body,
        })
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

    /// Checks the status at the start of an `NLMSG_ERROR` or `NLMSG_DONE` message. The status
    /// is 0 or a negated errno.
    fn check_status(&self) -> Result<(), AnswerError> {
        match i32::read(self.body) {
            None => Err(AnswerError::Truncated),
            Some(0) => Ok(()),
            Some(status) => Err(io::Error::from_raw_os_error(status.wrapping_neg()).into()),
        }
    }
}

/// The attributes that follow a structure in a message, or that are nested in the value of
/// another attribute.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of type `kind`. `None` if there is no such attribute,
    /// or if an attribute before it cannot be read.
    pub fn get(self, kind: u16) -> Option<&'a [u8]> {
        let mut bytes = self.0;
        loop {
            let header = AttributeHeader::read(bytes)?;
            let length = usize::from(header.nla_len);
            let value = bytes.get(AttributeHeader::SIZE..length)?;
            if header.nla_type & NLA_TYPE_MASK == kind {
                return Some(value);
            }
            bytes = bytes.get(aligned(length)..)?;
        }
    }

    /// Reads a `T` from the start of the first attribute of type `kind`. `Some(None)` if there
    /// is no such attribute, and `None` if the attribute is too short.
    pub fn read<T: Value>(self, kind: u16) -> Option<Option<T>> {
        match self.get(kind) {
            Some(value) => Some(Some(T::read(value)?)),
            None => Some(None),
        }
    }

    /// Reads a `T` from the start of the first attribute of type `kind`. `None` if there is no
    /// such attribute, or if the attribute is too short.
    pub fn number<T: Value>(self, kind: u16) -> Option<T> {
        T::read(self.get(kind)?)
    }
}

/// The bytes of an attribute whose value is `number`.
pub fn number_attribute(kind: u16, number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    let header = AttributeHeader {
        nla_len: 8,
        nla_type: kind,
    };
    header.write(&mut bytes);
    number.write(&mut bytes[AttributeHeader::SIZE..]);
    bytes
}

/// Appends an attribute to a request. The length of the request must be a multiple of four
/// bytes. Another attribute can follow only if the length of `value` is also a multiple of
/// four.
pub fn push_attribute(request: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let header = AttributeHeader {
        nla_len: (AttributeHeader::SIZE + value.len()) as u16,
        nla_type: kind,
    };
    request.extend(header.bytes());
    request.extend(value);
}

/// The text in the value of an attribute, without its terminating zero.
pub fn without_zero(value: &[u8]) -> &[u8] {
    value.strip_suffix(b"\0").unwrap_or(value)
}

/// The offset of the next message or attribute after `length` bytes: a multiple of four.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected bytes are written out as netlink(7) describes them. The flags are those of
    /// a dump.
    #[test]
    fn a_request_starts_with_its_header() {
        let mut request = vec![1; 7];
        write_request(&mut request, 20, 5, Amount::Dump, b"body");
        let expected = [
            &20u32.to_ne_bytes()[..],
            &20u16.to_ne_bytes(),
            &0x301u16.to_ne_bytes(),
            &5u32.to_ne_bytes(),
            &[0; 4],
            b"body",
        ];
        assert_eq!(request, expected.concat());
    }

    #[test]
    fn an_attribute_is_found_after_a_padded_one() {
        let mut bytes = Vec::new();
        push_attribute(&mut bytes, 8, &[0]);
        bytes.resize(8, 0);
        bytes.extend(number_attribute(NLA_TYPE_MASK + 1 + 11, 7));
        let attributes = Attributes(&bytes);
        assert_eq!(attributes.get(8), Some(&[0][..]));
        assert_eq!(attributes.number::<u32>(11), Some(7));
        assert_eq!(attributes.read::<u64>(11), None, "too short");
        assert_eq!(attributes.read::<u64>(12), Some(None), "absent");
        assert_eq!(Attributes(&bytes[..9]).get(11), None, "cut");
    }
}
