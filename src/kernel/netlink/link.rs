//! rtnetlink(7): the name of the interface with an index.

use std::io::Read;

use super::message::{self, AnswerError, Expected, NLMSG_HDRLEN, array_at, attribute};
use crate::listener::Interface;

/// The length of a request: a header and `struct ifinfomsg`.
pub const REQUEST_SIZE: usize = NLMSG_HDRLEN + IFINFOMSG_SIZE;
/// The length of `struct ifinfomsg`; attributes follow.
const IFINFOMSG_SIZE: usize = 16;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;

/// The request for the interface with this index.
pub fn request(index: u32, sequence: u32) -> [u8; REQUEST_SIZE] {
    let kind = RTM_GETLINK;
    let mut request = message::request(Expected { kind, sequence }, false);
    request[NLMSG_HDRLEN + 4..NLMSG_HDRLEN + 8].copy_from_slice(&index.to_ne_bytes());
    request
}

/// The name in the answer to this request.
///
/// # Errors
/// Those of [`message::read_one`]. [`AnswerError::Unexpected`] if the answer is
/// about another interface, or the name is not an [`Interface`].
pub fn read_name(
    index: u32,
    sequence: u32,
    answer: impl Read,
    buffer: &mut [u8],
) -> Result<Interface, AnswerError> {
    let kind = RTM_NEWLINK;
    let link = message::read_one(answer, buffer, Expected { kind, sequence })?;
    let name = || {
        if array_at(link, 4).map(u32::from_ne_bytes) != Some(index) {
            return None;
        }
        let name = attribute(link.get(IFINFOMSG_SIZE..)?, IFLA_IFNAME)?;
        Interface::new(name.strip_suffix(b"\0")?)
    };
    name().ok_or(AnswerError::Unexpected)
}
