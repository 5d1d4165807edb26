//! The rows of `/proc/net/{tcp,tcp6,udp,udp6,raw,raw6}`: the meaning of each field, and the
//! decoding of a row into a socket. Nothing here allocates.
//!
//! Fields are separated by blanks and are found by counting, never by byte offset, because
//! widths, padding and the number of fields differ between kernels. The kernel's
//! `Documentation/networking/proc_net_tcp.rst` describes the format.
//!
//! [`row_fields`] leaves the fields as text, because its two callers accept different rows. One
//! passes them to [`decode_row`], which rejects a listener whose local address cannot be read.
//! The other, the program under the name ss, accepts exactly the rows that ss accepts, so it
//! decodes the fields itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::kernel::socket::State;
use crate::listener::{Endpoint, Listener, Protocol};

/// The fields of a listener's row that this program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerRow {
    /// The local address and port.
    pub local: Endpoint,
    /// `rem_address`: the address and port of the peer. `None` if it cannot be read.
    pub peer: Option<Endpoint>,
    /// `tx_queue`: the bytes waiting to be sent. 0 for a TCP listener, unless it was connected
    /// before.
    pub tx_queue: u32,
    /// `rx_queue`: the bytes waiting to be read, or for a TCP listener, the connections
    /// waiting to be accepted.
    pub rx_queue: u32,
    /// The user id of the owner. `None` if the field is missing, or if it is -1 as in gVisor.
    pub uid: Option<u32>,
    /// The inode of the socket. 0 if the field is missing.
    pub inode: u64,
}

/// The socket that a row describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodedRow {
    /// A TCP socket in LISTEN, or a UDP socket that is not connected.
    Listener(ListenerRow),
    /// A TCP connection in SYN_RECV, whose handshake is not complete. Before Linux 4.4, such
    /// connections are mixed in with the listeners.
    SynRecv,
    /// A socket in any other state.
    Connection,
}

/// Why a row cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowError {
    /// The line does not start with digits and a colon.
    NotARow,
    /// The line does not fit into the buffer of the scanner.
    TooLong,
    /// The row ends before its fourth field, the state.
    TooFewFields,
    /// The local address has no colon.
    NoColon,
    /// The address does not have 8 or 32 digits, the port does not have 1 to 4, or the state
    /// does not have 1 or 2.
    WrongLength,
    /// A character is not a hexadecimal digit.
    NotHex,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowError::NotARow => "not a row",
            RowError::TooLong => "too long",
            RowError::TooFewFields => "too few fields",
            RowError::NoColon => "no colon in the local address",
            RowError::WrongLength => "an address, port or state of the wrong length",
            RowError::NotHex => "not hexadecimal",
        })
    }
}

impl std::error::Error for RowError {}

/// Splits a row into its fields. `None` if `line` does not start with digits and a colon, so
/// that it is a header, a blank line or other text instead of a row.
pub fn row_fields(line: &[u8]) -> Option<Fields<'_>> {
    let mut words = Words(line);
    let slot = words.next().strip_suffix(b":")?;
    let is_row = !slot.is_empty() && slot.iter().all(u8::is_ascii_digit);
    is_row.then(|| Fields {
        local: words.next(),
        remote: words.next(),
        state: words.next(),
        rest: words,
    })
}

/// The first fields of a row, as text. A missing field is empty.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    /// `local_address`: the local address and port, for [`decode_endpoint`].
    pub local: &'a [u8],
    /// `rem_address`: the address and port of the peer, for [`decode_endpoint`].
    pub remote: &'a [u8],
    /// `st`: the state.
    pub state: &'a [u8],
    rest: Words<'a>,
}

impl<'a> Fields<'a> {
    /// Whether another field follows the state. If so, the state is not cut off at the end of
    /// the line.
    pub fn has_field_after_state(&self) -> bool {
        !self.rest.clone().next().is_empty()
    }

    /// Splits the fields after the state. [`row_fields`] does not do that, because only the
    /// state is needed of most rows, which are connections.
    pub fn after_state(&self) -> MoreFields<'a> {
        let mut words = self.rest.clone();
        MoreFields {
            queues: words.next(),
            timer: words.next(),
            retransmissions: words.next(),
            uid: words.next(),
            probes: words.next(),
            inode: words.next(),
            rest: words,
        }
    }
}

/// The fields of a row after its state, as text. A missing field is empty.
#[derive(Clone, Debug)]
pub struct MoreFields<'a> {
    /// `tx_queue:rx_queue`, both in hex.
    pub queues: &'a [u8],
    /// `tr:tm->when`: the kind of the running timer, and the hundredths of a second until it
    /// expires, both in hex.
    pub timer: &'a [u8],
    /// `retrnsmt`: the number of retransmissions, in hex.
    pub retransmissions: &'a [u8],
    /// `uid`: the user id of the owner. gVisor writes -1 if there is none.
    pub uid: &'a [u8],
    /// `timeout`: the number of probes that were not answered.
    pub probes: &'a [u8],
    /// `inode`: the inode of the socket.
    pub inode: &'a [u8],
    rest: Words<'a>,
}

impl<'a> MoreFields<'a> {
    /// The address of the socket in the kernel's memory, in hex.
    pub fn pointer(&self) -> &'a [u8] {
        // The reference count comes before the pointer.
        self.rest.clone().nth(1)
    }

    /// The five fields after the pointer: the retransmission timeout and the ACK delay, both
    /// in hundredths of a second; twice the number of quick ACKs; the congestion window; and
    /// the slow start threshold. `None` if the row has no such fields, as in TIME-WAIT.
    pub fn congestion(&self) -> Option<[&'a [u8]; 5]> {
        let mut words = self.rest.clone();
        words.nth(1);
        let congestion = [(); 5].map(|()| words.next());
        (!congestion[0].is_empty()).then_some(congestion)
    }

    /// The text after the last field that Linux writes for TCP. The kernels of some vendors
    /// add fields of their own there.
    pub fn vendor_fields(&self) -> &'a [u8] {
        let mut words = self.rest.clone();
        // Skip the reference count, the pointer and the five fields of `congestion`.
        words.nth(6);
        words.0.trim_ascii_start()
    }
}

/// Yields the words of a line one by one, and then empty words without end.
#[derive(Clone, Debug)]
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a [u8] {
        let line = self.0.trim_ascii_start();
        let length = line
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(line.len());
        let (word, rest) = line.split_at(length);
        self.0 = rest;
        word
    }

    fn nth(&mut self, skipped: usize) -> &'a [u8] {
        (0..skipped).for_each(|_| {
            self.next();
        });
        self.next()
    }
}

/// Decodes the fields of a row in a table of `protocol`. A row is a listener if it is a TCP
/// socket in the state LISTEN, or a UDP socket in the state CLOSE, which is bound but not
/// connected.
///
/// # Errors
/// Fails if the state cannot be read, or if the row is a listener and its local address cannot
/// be read. If other fields of a listener are missing or unreadable, the queues and the inode
/// are 0, and the peer and the owner are `None`.
pub fn decode_row(fields: &Fields<'_>, protocol: Protocol) -> Result<DecodedRow, RowError> {
    if fields.state.is_empty() {
        return Err(RowError::TooFewFields);
    }
    match (protocol, decode_state(fields.state)?) {
        (Protocol::Tcp, state) if state == State::Listen as u8 => {}
        (Protocol::Udp, state) if state == State::Close as u8 => {}
        (Protocol::Tcp, state) if state == State::SynRecv as u8 => return Ok(DecodedRow::SynRecv),
        _ => return Ok(DecodedRow::Connection),
    }
    let local = decode_endpoint(fields.local)?;
    let more = fields.after_state();
    let (tx_queue, rx_queue) = decode_queues(more.queues).unwrap_or_default();
    Ok(DecodedRow::Listener(ListenerRow {
        local,
        peer: decode_endpoint(fields.remote).ok(),
        tx_queue,
        rx_queue,
        uid: decimal(more.uid).and_then(|uid| uid.try_into().ok()),
        inode: decimal(more.inode).unwrap_or_default(),
    }))
}

/// Decodes `ADDRESS:PORT` in hex. The address must have 8 digits for IPv4 or 32 for IPv6, and
/// the port must have 1 to 4 digits.
///
/// # Errors
/// Fails with [`RowError::NoColon`], [`RowError::WrongLength`] or [`RowError::NotHex`].
pub fn decode_endpoint(text: &[u8]) -> Result<Endpoint, RowError> {
    let colon = memchr::memchr(b':', text).ok_or(RowError::NoColon)?;
    let (address, port) = (&text[..colon], &text[colon + 1..]);
    if port.len() > 4 {
        return Err(RowError::WrongLength);
    }
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(decode_word(address)?)),
        32 => {
            let mut octets = [0; 16];
            for (word, digits) in octets.chunks_exact_mut(4).zip(address.chunks_exact(8)) {
                word.copy_from_slice(&decode_word(digits)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return Err(RowError::WrongLength),
    };
    let port = decode_hex(port)? as u16;
    Ok(Endpoint { port, address })
}

/// Decodes one 32-bit word of an address into its four octets, in network byte order.
///
/// In the kernel's memory, an address is in network byte order on every machine. The kernel
/// reads each word of it as a native integer and prints the integer with `%08X`. The octets
/// are therefore the bytes of that integer in native order.
fn decode_word(digits: &[u8]) -> Result<[u8; 4], RowError> {
    decode_hex(digits).map(u32::to_ne_bytes)
}

/// Decodes the state from its low four bits. Some Android phones set a higher bit and print
/// LISTEN as `8A`.
fn decode_state(text: &[u8]) -> Result<u8, RowError> {
    if text.len() > 2 {
        return Err(RowError::WrongLength);
    }
    decode_hex(text).map(|value| value as u8 & 0x0F)
}

fn decode_queues(text: &[u8]) -> Option<(u32, u32)> {
    let colon = memchr::memchr(b':', text)?;
    let queue = |digits| decode_hex(digits).ok();
    Some((queue(&text[..colon])?, queue(&text[colon + 1..])?))
}

/// Decodes 1 to 8 hex digits, in upper or lower case.
fn decode_hex(digits: &[u8]) -> Result<u32, RowError> {
    if digits.is_empty() || digits.len() > 8 {
        return Err(RowError::WrongLength);
    }
    digits.iter().try_fold(0, |value, &digit| {
        let digit = char::from(digit).to_digit(16).ok_or(RowError::NotHex)?;
        Ok(value << 4 | digit)
    })
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl ListenerRow {
    /// The listener that this row of a table of `protocol` describes.
    pub fn listener(&self, protocol: Protocol) -> Listener {
        let listener = Listener::new(protocol, self.local);
        Listener {
            recv_q: self.rx_queue,
            send_q: (protocol == Protocol::Udp).then_some(self.tx_queue),
            peer: self.peer.unwrap_or(listener.peer),
            inode: self.inode,
            uid: self.uid,
            ..listener
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Converts an endpoint as a little-endian kernel prints it to what the kernel of this
    /// machine would print. A big-endian kernel prints the bytes of each word in reverse order.
    fn native(text: &str) -> String {
        if cfg!(target_endian = "little") {
            return text.to_string();
        }
        let (address, port) = text.split_once(':').unwrap();
        let mut native = String::new();
        for word in address.as_bytes().chunks(8) {
            for byte in word.chunks(2).rev() {
                native.push_str(std::str::from_utf8(byte).unwrap());
            }
        }
        format!("{native}:{port}")
    }

    fn endpoint(text: &str) -> (String, u16) {
        let Endpoint { address, port } = decode_endpoint(native(text).as_bytes()).unwrap();
        (address.to_string(), port)
    }

    fn socket(line: &str, protocol: Protocol) -> Result<DecodedRow, RowError> {
        decode_row(&row_fields(line.as_bytes()).expect("a row"), protocol)
    }

    fn listener(line: &str, protocol: Protocol) -> ListenerRow {
        match socket(line, protocol) {
            Ok(DecodedRow::Listener(row)) => row,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    const TCP: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 \
                       00000000  1000        0 4294967296 1 00000000796ec5a1 100 0 0 10 0";
    const UDP: &str = "  512: 00000000:0035 00000000:0000 07 00000002:00000100 00:00000000 \
                       00000000   101        0 25091 2 0000000000000000 0";

    #[test]
    fn ipv4_endpoints_are_decoded() {
        assert_eq!(endpoint("0100007F:0050"), ("127.0.0.1".into(), 80));
        assert_eq!(endpoint("00000000:0016"), ("0.0.0.0".into(), 22));
        assert_eq!(endpoint("0100007F:1F90"), ("127.0.0.1".into(), 8080));
        assert_eq!(endpoint("0100007f:ffff"), ("127.0.0.1".into(), 65535));
    }

    #[test]
    fn ipv6_endpoints_are_decoded_word_by_word() {
        let zeros = "0".repeat(32);
        assert_eq!(endpoint(&format!("{zeros}:0016")), ("::".into(), 22));
        let loopback = "00000000000000000000000001000000:0050";
        assert_eq!(endpoint(loopback), ("::1".into(), 80));
        let mapped = "0000000000000000FFFF00000100007F:1F90";
        assert_eq!(endpoint(mapped), ("::ffff:127.0.0.1".into(), 8080));
        let global = "B80D0120020001000400030006000500:1F90";
        assert_eq!(endpoint(global), ("2001:db8:1:2:3:4:5:6".into(), 8080));
    }

    #[test]
    fn each_fault_of_an_endpoint_has_its_own_error() {
        let error = |text: &str| decode_endpoint(text.as_bytes()).unwrap_err();
        assert_eq!(error("0100007F0050"), RowError::NoColon);
        assert_eq!(error("0100007F:ZZZZ"), RowError::NotHex);
        assert_eq!(error("0100007G:0050"), RowError::NotHex);
        assert_eq!(error("0100:0050"), RowError::WrongLength);
        assert_eq!(error("0100007F:"), RowError::WrongLength);
        assert_eq!(error("0100007F:00050"), RowError::WrongLength);
        assert_eq!(error("+100007F:0050"), RowError::NotHex);
        assert_eq!(error(":"), RowError::WrongLength);
    }

    #[test]
    fn every_field_of_a_listener_is_decoded() {
        let tcp = listener(&TCP.replace("0100007F", "7F7F7F7F"), Protocol::Tcp);
        let expected = ListenerRow {
            peer: Some(Endpoint {
                port: 0,
                address: "0.0.0.0".parse().unwrap(),
            }),
            local: Endpoint {
                port: 8080,
                address: [127, 127, 127, 127].into(),
            },
            tx_queue: 0,
            rx_queue: 3,
            uid: Some(1000),
            inode: 1 << 32,
        };
        assert_eq!(tcp, expected);

        let udp = listener(UDP, Protocol::Udp);
        assert_eq!((udp.tx_queue, udp.rx_queue), (2, 256));
        assert_eq!(udp.inode, 25091);
    }

    #[test]
    fn owner_minus_one_means_unknown() {
        let row = listener(&TCP.replace("  1000 ", "  -1 "), Protocol::Tcp);
        assert_eq!((row.uid, row.inode), (None, 1 << 32));
    }

    #[test]
    fn rows_in_other_states_are_not_listeners() {
        let tcp = |state| socket(&TCP.replace(" 0A ", state), Protocol::Tcp);
        assert_eq!(tcp(" 01 "), Ok(DecodedRow::Connection));
        assert_eq!(tcp(" 06 "), Ok(DecodedRow::Connection));
        assert_eq!(tcp(" 07 "), Ok(DecodedRow::Connection));
        assert_eq!(tcp(" 03 "), Ok(DecodedRow::SynRecv));
        let udp = |state| socket(&UDP.replace(" 07 ", state), Protocol::Udp);
        assert_eq!(udp(" 01 "), Ok(DecodedRow::Connection));
        assert_eq!(udp(" 0A "), Ok(DecodedRow::Connection));
    }

    #[test]
    fn high_bits_of_the_state_are_ignored() {
        listener(&TCP.replace(" 0A ", " 8A "), Protocol::Tcp);
    }

    #[test]
    fn four_fields_are_enough_for_a_listener() {
        let row = listener("7: 00000000:0016 00000000:0000 0A", Protocol::Tcp);
        assert_eq!(row.local.port, 22);
        assert_eq!((row.inode, row.rx_queue, row.uid), (0, 0, None));
    }

    #[test]
    fn every_field_of_a_row_is_found() {
        let fields = row_fields(TCP.as_bytes()).unwrap();
        assert_eq!(fields.local, b"0100007F:1F90");
        assert_eq!(fields.remote, b"00000000:0000");
        assert_eq!(fields.state, b"0A");
        let more = fields.after_state();
        assert_eq!(more.queues, b"00000000:00000003");
        assert_eq!(more.timer, b"00:00000000");
        assert_eq!(more.retransmissions, b"00000000");
        assert_eq!(more.uid, b"1000");
        assert_eq!(more.probes, b"0");
        assert_eq!(more.inode, b"4294967296");
        assert_eq!(more.pointer(), b"00000000796ec5a1");
        assert_eq!(more.vendor_fields(), b"");
        let line = format!("{TCP}  more of it ");
        let more = row_fields(line.as_bytes()).unwrap().after_state();
        assert_eq!(more.vendor_fields(), b"more of it ");
    }

    #[test]
    fn missing_fields_are_empty() {
        let fields = row_fields(b"7: 00000000:0016 00000000:0000 0A").unwrap();
        assert!(!fields.has_field_after_state());
        let more = fields.after_state();
        assert_eq!((more.queues, more.inode), (&b""[..], &b""[..]));
        assert_eq!((more.pointer(), more.vendor_fields()), (&b""[..], &b""[..]));
        assert!(
            row_fields(b"7: 0:0 0:0 0A 0")
                .unwrap()
                .has_field_after_state()
        );
    }

    #[test]
    fn each_fault_of_a_row_has_its_own_error() {
        let error = |line: &str| socket(line, Protocol::Tcp).unwrap_err();
        assert_eq!(error("0:"), RowError::TooFewFields);
        assert_eq!(error("0: 0100007F:1F90 0:0"), RowError::TooFewFields);
        assert_eq!(error("0: 0100007F:1F90 0:0 zz"), RowError::NotHex);
        assert_eq!(error("0: 0100007F1F90 0:0 0A"), RowError::NoColon);
    }

    #[test]
    fn a_row_starts_with_digits_and_a_colon() {
        let is_row = |line: &str| row_fields(line.as_bytes()).is_some();
        assert!(is_row("123456: 0100007F:1F90"));
        assert!(is_row("0:"));
        assert!(!is_row("  sl  local_address rem_address   st"));
        assert!(!is_row(""));
        assert!(!is_row("   "));
        assert!(!is_row(": 0100007F:1F90"));
        assert!(!is_row("1a: 0100007F:1F90"));
        assert!(!is_row("12 0100007F:1F90"));
    }
}
