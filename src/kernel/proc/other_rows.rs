//! The rows of `/proc/net/unix`, `packet`, `netlink` and `protocols`, and the meaning of their
//! fields.

/// A row of `/proc/net/unix`: `Num RefCount Protocol Flags Type St Inode Path`.
pub struct UnixRow<'a> {
    /// Whether the socket listens: its flags include `__SO_ACCEPTCON`.
    pub listens: bool,
    /// The type of the socket, such as `SOCK_STREAM`.
    pub kind: u32,
    /// The state of the socket, such as `SS_CONNECTED` (`linux/net.h`).
    pub state: u32,
    /// The inode of the socket.
    pub inode: u32,
    /// The name of the socket up to its first blank. Empty if the socket has no name.
    pub name: &'a [u8],
}

impl<'a> UnixRow<'a> {
    /// Parses a line. `None` if a field is missing or is not a number.
    pub fn parse(line: &'a [u8]) -> Option<UnixRow<'a>> {
        const __SO_ACCEPTCON: u32 = 1 << 16;
        // A field ends only at a blank or a tab, because a name may contain other white space.
        let mut words = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|word| !word.is_empty());
        let flags = number(words.nth(3), 16)?;
        Some(UnixRow {
            listens: flags & __SO_ACCEPTCON != 0,
            kind: number(words.next(), 16)?,
            state: number(words.next(), 16)?,
            inode: number(words.next(), 10)?,
            name: words.next().unwrap_or_default(),
        })
    }
}

/// A row of `/proc/net/packet`: `sk RefCnt Type Proto Iface R Rmem User Inode`.
pub struct PacketRow {
    /// The type of the socket, such as `SOCK_RAW`.
    pub kind: u32,
    /// The link-layer protocol that the socket receives, such as `ETH_P_ALL`.
    pub protocol: u32,
    /// The index of the interface that the socket is bound to. 0 means all interfaces.
    pub interface: u32,
    /// The bytes waiting to be read.
    pub rmem: u32,
    /// The user id of the owner.
    pub uid: u32,
    /// The inode of the socket.
    pub inode: u32,
}

impl PacketRow {
    /// Parses a line. `None` if a field is missing or is not a number.
    pub fn parse(line: &[u8]) -> Option<PacketRow> {
        let mut words = words(line);
        let (kind, protocol) = (number(words.nth(2), 10)?, number(words.next(), 16)?);
        let (interface, rmem) = (number(words.next(), 10)?, number(words.nth(1), 10)?);
        Some(PacketRow {
            kind,
            protocol,
            interface,
            rmem,
            uid: number(words.next(), 10)?,
            inode: number(words.next(), 10)?,
        })
    }
}

/// A row of `/proc/net/netlink`: `sk Eth Pid Groups Rmem Wmem Dump …`.
pub struct NetlinkRow {
    /// The address of the socket in the kernel's memory.
    pub pointer: u64,
    /// The protocol of the socket, such as `NETLINK_ROUTE`.
    pub protocol: u64,
    /// The port id: a process id or any other 32-bit number.
    pub port: u64,
    /// The multicast groups that the socket has joined, one bit for each.
    pub groups: u64,
    /// The bytes waiting to be read.
    pub rmem: u64,
    /// The bytes waiting to be sent.
    pub wmem: u64,
    /// The address of the callback of the running dump in the kernel's memory. 0 if no dump is
    /// running.
    pub callback: u64,
}

impl NetlinkRow {
    /// Parses a line. `None` if a field is missing or is not a number.
    pub fn parse(line: &[u8]) -> Option<NetlinkRow> {
        let mut words = words(line);
        let mut next = |base| u64::from_str_radix(text(words.next()?)?, base).ok();
        Some(NetlinkRow {
            pointer: next(16)?,
            protocol: next(10)?,
            port: next(10)?,
            groups: next(16)?,
            rmem: next(10)?,
            wmem: next(10)?,
            callback: next(16)?,
        })
    }
}

/// The name of a protocol and its number of sockets, both as text, from a row of
/// `/proc/net/protocols`: `protocol size sockets …`. A field that is missing is empty.
pub fn protocol_and_sockets(line: &str) -> (&str, &str) {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().unwrap_or_default();
    (name, words.nth(1).unwrap_or_default())
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

fn number(word: Option<&[u8]>, base: u32) -> Option<u32> {
    u32::from_str_radix(text(word?)?, base).ok()
}

fn text(word: &[u8]) -> Option<&str> {
    str::from_utf8(word).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_row_reads_every_field() {
        let line = b"0000000000000000: 00000002 00000000 00010000 0005 01 4711 /run/a b";
        let row = UnixRow::parse(line).unwrap();
        assert!(row.listens);
        assert_eq!((row.kind, row.state, row.inode), (5, 1, 4711));
        assert_eq!(row.name, b"/run/a");
        let unnamed = UnixRow::parse(b"0: 2 0 0 1 3 5").unwrap();
        assert!(!unnamed.listens && unnamed.name.is_empty());
        assert!(UnixRow::parse(b"0: 2 0 0 1 3").is_none());
        assert!(UnixRow::parse(b"0: 2 0 0 1 3 x").is_none());
    }

    #[test]
    fn packet_row_reads_every_field() {
        let row = PacketRow::parse(b"0000000000000000 3      3    88cc   7     1 9 1000 4711");
        let row = row.unwrap();
        assert_eq!((row.kind, row.protocol, row.interface), (3, 0x88cc, 7));
        assert_eq!((row.rmem, row.uid, row.inode), (9, 1000, 4711));
        assert!(PacketRow::parse(b"0 3 3 88cc 7 1 9 1000").is_none());
    }

    #[test]
    fn netlink_row_reads_every_field() {
        let row = NetlinkRow::parse(b"00000000000000ab 15  4294967295 000000ff 5 6 c 2 0 18");
        let row = row.unwrap();
        assert_eq!(
            (row.pointer, row.protocol, row.port),
            (0xab, 15, 4294967295)
        );
        assert_eq!((row.groups, row.rmem, row.wmem), (0xff, 5, 6));
        assert_eq!(row.callback, 12);
        assert!(NetlinkRow::parse(b"ab 15 1 ff 5 6").is_none());
    }

    #[test]
    fn protocols_counts_sockets_in_its_third_field() {
        let line = "DCCPv6    1432      0      -1   NI       0   yes  dccp";
        assert_eq!(protocol_and_sockets(line), ("DCCPv6", "0"));
        assert_eq!(protocol_and_sockets("DCCP 1432"), ("DCCP", ""));
        assert_eq!(protocol_and_sockets(""), ("", ""));
    }
}
