//! Reads any bytes as answers of netlink. Nothing may panic, and lntu must accept only the table
//! that it asked for. Also writes dumps and reads them back. Reading a complete dump must return
//! the listeners that were written. lntu must reject a dump that is cut short or contains a message
//! from another dump.
#![no_main]

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use lntu::kernel::netlink::diag::Listeners;
use lntu::kernel::netlink::link;
use lntu::kernel::netlink::message::{self, Amount, AnswerError, BUFFER_SIZE, Expected};
use lntu::listener::{Endpoint, Family, Listener, Protocol, SocketTable};

const SEQUENCE: u32 = 7;

// Numbers from the kernel's headers. They are repeated here, so that this test finds a wrong number
// in `src`.
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_MULTI: u16 = 2;
const NLM_F_DUMP_INTR: u16 = 0x10;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP_ESTABLISHED: u8 = 1;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;
const INET_DIAG_SKV6ONLY: u16 = 11;
const INET_DIAG_CGROUP_ID: u16 = 21;

fuzz_target!(|input: &[u8]| {
    let datagrams: Vec<&[u8]> = Datagrams(input).collect();
    for table in SocketTable::ALL {
        if let Ok((listeners, _)) = read(table.into(), &datagrams) {
            for listener in listeners {
                let found = (listener.protocol, listener.family());
                assert_eq!(found, (table.protocol, table.family));
            }
        }
    }
    let _ = read_one(&datagrams);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let both = Listeners {
            protocol,
            family: None,
        };
        if let Ok((listeners, _)) = read(both, &datagrams) {
            let is_wanted = |listener: &Listener| listener.protocol == protocol;
            assert!(listeners.iter().all(is_wanted));
        }
    }
    let mut bytes = Unstructured::new(input);
    if let Ok(table) = bytes.choose(&SocketTable::ALL) {
        let _ = read_back(*table, &mut bytes);
    }
});

/// Splits bytes into datagrams. The two bytes before each datagram are its length.
struct Datagrams<'a>(&'a [u8]);

impl<'a> Iterator for Datagrams<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (datagram, rest) = rest.split_at(length);
        self.0 = rest;
        Some(datagram)
    }
}

/// A reader that returns one datagram per read, truncated to the buffer. After the last datagram,
/// reads fail.
struct Kernel<'a, D>(std::slice::Iter<'a, D>);

impl<D: AsRef<[u8]>> Read for Kernel<'_, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.0.next().ok_or(ErrorKind::WouldBlock)?.as_ref();
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }
}

type Rows = (Vec<Listener>, Vec<(usize, u32)>);

fn read<D: AsRef<[u8]>>(wanted: Listeners, datagrams: &[D]) -> Result<Rows, AnswerError> {
    let (mut listeners, mut bound) = (Vec::new(), Vec::new());
    let mut take = |row: &[u8]| wanted.take(row, &mut listeners, &mut bound);
    read_answer(datagrams, wanted.kind(), Amount::Dump, &mut take)?;
    Ok((listeners, bound))
}

/// Reads the datagrams as the answer with the name of an interface.
fn read_one<D: AsRef<[u8]>>(datagrams: &[D]) -> Result<(), AnswerError> {
    let mut take = |row: &[u8]| link::name_of(1, row).map(|_| ());
    read_answer(datagrams, link::LINK.answer, Amount::One, &mut take)
}

fn read_answer<D: AsRef<[u8]>>(
    datagrams: &[D],
    kind: u16,
    amount: Amount,
    take: &mut dyn FnMut(&[u8]) -> Option<()>,
) -> Result<(), AnswerError> {
    let expected = Expected {
        kind,
        sequence: SEQUENCE,
    };
    let (mut kernel, mut buffer) = (Kernel(datagrams.iter()), [0; BUFFER_SIZE]);
    message::read_answer(&mut kernel, &mut buffer, expected, amount, take).map(|_| ())
}

/// A fault in a dump. The numbers choose a message or a byte, and replace a field.
#[derive(Arbitrary)]
enum Fault {
    None,
    Interrupted(usize),
    Sequence(usize, u32),
    Kind(usize, u16),
    Status(i32),
    Cut(usize),
}

fn read_back(table: SocketTable, bytes: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let fault: Fault = bytes.arbitrary()?;
    let rows: Vec<Row> = (0..bytes.int_in_range(0..=20)?)
        .map(|_| bytes.arbitrary())
        .collect::<arbitrary::Result<_>>()?;
    let mut messages: Vec<Vec<u8>> = rows.iter().map(|row| row.message(table)).collect();
    let mut done = header(NLMSG_DONE);
    done.extend(0i32.to_ne_bytes());
    messages.push(done);
    let count = messages.len();
    for message in &mut messages {
        let length = message.len() as u32;
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let mut is_whole = false;
    match fault {
        Fault::None => is_whole = true,
        Fault::Interrupted(index) => {
            let flags = NLM_F_MULTI | NLM_F_DUMP_INTR;
            messages[index % count][6..8].copy_from_slice(&flags.to_ne_bytes());
        }
        Fault::Sequence(index, other) => {
            is_whole = other == SEQUENCE;
            messages[index % count][8..12].copy_from_slice(&other.to_ne_bytes());
        }
        Fault::Kind(index, other) => {
            let kind = &mut messages[index % count][4..6];
            is_whole = kind == other.to_ne_bytes();
            // Do not replace the type of a row by NLMSG_DONE. That may give a dump that is shorter
            // but valid.
            if !is_whole && other == NLMSG_DONE {
                return Ok(());
            }
            kind.copy_from_slice(&other.to_ne_bytes());
        }
        Fault::Status(status) => {
            is_whole = status == 0;
            messages[count - 1][16..20].copy_from_slice(&status.to_ne_bytes());
        }
        Fault::Cut(_) => {}
    }
    // Pack the messages into datagrams. The input decides how many go into each.
    let mut datagrams: Vec<Vec<u8>> = vec![Vec::new()];
    for message in messages {
        let last = datagrams.last_mut().filter(|last| last.is_empty());
        match last {
            Some(last) => last.extend(message),
            None if bytes.arbitrary().unwrap_or(false) => datagrams.push(message),
            None => datagrams.last_mut().unwrap().extend(message),
        }
    }
    if let Fault::Cut(length) = fault {
        let last = datagrams.last_mut().unwrap();
        last.truncate(length % last.len());
    }
    match (read(table.into(), &datagrams), fault) {
        (Ok((listeners, bound)), _) => {
            assert!(is_whole);
            let listening = || rows.iter().filter(|row| !row.is_connected);
            let expected: Vec<Listener> = listening().map(|row| row.listener(table)).collect();
            assert_eq!(listeners, expected);
            let interfaces = listening().map(|row| row.interface).enumerate();
            let expected: Vec<_> = interfaces
                .filter(|(_, interface)| *interface != 0)
                .collect();
            assert_eq!(bound, expected);
        }
        (Err(error), fault) => {
            assert!(!is_whole, "{error}");
            let is_interrupted = matches!(error, AnswerError::Interrupted);
            assert_eq!(is_interrupted, matches!(fault, Fault::Interrupted(_)));
        }
    }
    Ok(())
}

fn header(kind: u16) -> Vec<u8> {
    let mut header = vec![0; 4];
    header.extend(kind.to_ne_bytes());
    header.extend(NLM_F_MULTI.to_ne_bytes());
    header.extend(SEQUENCE.to_ne_bytes());
    header.extend([0; 4]);
    header
}

/// A socket, and the other contents of its row in a dump.
#[derive(Debug, Arbitrary)]
struct Row {
    address: [u8; 16],
    port: u16,
    peer: [u8; 16],
    peer_port: u16,
    /// Whether the socket is connected. If it is, it is not a listener.
    is_connected: bool,
    interface: u32,
    recv_q: u32,
    send_q: u32,
    inode: u32,
    v6_only: bool,
    /// The bytes of the owner's user id. Two of them also fill the header.
    uid: [u8; 4],
    /// The types and lengths of attributes before the one that lntu reads.
    other_attributes: [(u8, u8); 3],
}

impl Row {
    fn listener(&self, table: SocketTable) -> Listener {
        let endpoint = |address: &[u8; 16], port| Endpoint {
            port,
            address: match table.family {
                Family::V4 => IpAddr::from(*address.first_chunk::<4>().unwrap()),
                Family::V6 => IpAddr::from(*address),
            },
        };
        Listener {
            recv_q: self.recv_q,
            send_q: Some(self.send_q),
            inode: u64::from(self.inode),
            uid: Some(u32::from_ne_bytes(self.uid)),
            v6_only: Some(self.v6_only),
            peer: endpoint(&self.peer, self.peer_port),
            ..Listener::new(table.protocol, endpoint(&self.address, self.port))
        }
    }

    /// The message for this row. The caller fills in the length in the header.
    fn message(&self, table: SocketTable) -> Vec<u8> {
        let mut message = header(SOCK_DIAG_BY_FAMILY);
        message.push(match table.family {
            Family::V4 => AF_INET,
            Family::V6 => AF_INET6,
        });
        message.push(match table.protocol {
            _ if self.is_connected => TCP_ESTABLISHED,
            Protocol::Tcp => TCP_LISTEN,
            Protocol::Udp => TCP_CLOSE,
        });
        message.extend(&self.uid[..2]);
        message.extend(self.port.to_be_bytes());
        message.extend(self.peer_port.to_be_bytes());
        message.extend(self.address);
        message.extend(self.peer);
        message.extend(self.interface.to_ne_bytes());
        message.extend([0; 12]);
        message.extend(self.recv_q.to_ne_bytes());
        message.extend(self.send_q.to_ne_bytes());
        message.extend(self.uid);
        message.extend(self.inode.to_ne_bytes());
        for (kind, length) in self.other_attributes {
            // The top bit is a flag, which this sets. The other bits are a type, which must not be
            // one that lntu reads.
            let kind = u16::from(kind) | 0x8000;
            let read_by_lntu = [INET_DIAG_SKV6ONLY, INET_DIAG_CGROUP_ID];
            if !read_by_lntu.contains(&(kind & 0x3fff)) {
                attribute(&mut message, kind, &vec![0xff; length.into()]);
            }
        }
        attribute(&mut message, INET_DIAG_SKV6ONLY, &[self.v6_only.into()]);
        message
    }
}

/// Pads the message to four bytes and appends an attribute.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.resize(message.len().next_multiple_of(4), 0);
    message.extend((4 + value.len() as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
}
