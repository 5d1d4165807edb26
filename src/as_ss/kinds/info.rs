//! Writes the details that `-m`, `-i`, `--tos`, `--cgroup` and `--inet-sockopt` add to the row
//! of an IP socket.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::dump::RowError;
use super::tcp_info::{self, show_numbers};
use crate::as_ss::ask::request::Show;
use crate::as_ss::show::rows::Rows;
use crate::kernel::netlink::diag::InetDiagRow;
use crate::kernel::netlink::sock_diag::{SkMeminfo, SkMeminfoIndex};
use crate::kernel::netlink::tcp_info::{
    MPTCP_INFO_FLAG_FALLBACK, MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED, MptcpInfo, MptcpSubflow,
    TcpInfo, UlpInfo,
};
use crate::kernel::socket::{AF_INET6, IPPROTO_MPTCP, IPPROTO_SCTP};

/// Writes the details that `-m` and `-i` add.
///
/// # Errors
/// Fails if the row cannot be decoded, or if `-i` does not support the socket.
pub fn show(
    protocol: u32,
    row: &InetDiagRow<'_>,
    show: Show,
    rows: &mut Rows<'_>,
) -> Result<(), RowError> {
    if let Some(memory) = row.memory() {
        show_memory(memory.ok_or(RowError::Unreadable)?, rows);
    } else if let Some(sums) = row.memory_sums() {
        let sums = sums.ok_or(RowError::Unreadable)?;
        for (name, number) in [
            (" mem:(r", sums.idiag_rmem),
            (",w", sums.idiag_wmem),
            (",f", sums.idiag_fmem),
            (",t", sums.idiag_tmem),
        ] {
            rows.named(name, number.into());
        }
        rows.push(b")");
    }
    if let Some(info) = row.info()
        && show.info
    {
        let unsupported = match protocol {
            _ if row.has_dctcp() => Some("DCTCP"),
            IPPROTO_SCTP => Some("sockets of SCTP"),
            _ => None,
        };
        match (unsupported, protocol) {
            (Some(feature), _) => return Err(RowError::NotSupported(feature)),
            (None, IPPROTO_MPTCP) => show_mptcp(&MptcpInfo::read_padded(info), rows),
            // The kernel uses the structure of TCP for DCCP sockets, too.
            (None, _) => tcp_info::show(&TcpInfo::read_padded(info), row, show, rows),
        }
    }
    show_signatures(row, rows);
    match row.ulp() {
        Some(ulp) => show_ulp(ulp, rows),
        None => Ok(()),
    }
}

/// Writes the peers whose TCP segments are signed with MD5. ss has a bug that prints the keys
/// before the table, and not after the peers. This program does the same.
fn show_signatures(row: &InetDiagRow<'_>, rows: &mut Rows<'_>) {
    let mut separator = " md5keys:";
    for (peers, key) in row.signatures() {
        let [a, b, c, d, ..] = peers.tcpm_addr;
        let address = match peers.tcpm_family {
            AF_INET6 => IpAddr::from(peers.tcpm_addr),
            _ => IpAddr::from([a, b, c, d]),
        };
        let _ = write!(rows, "{separator}{address}/{}=", peers.tcpm_prefixlen);
        let mut text = Vec::new();
        for &byte in key {
            match byte {
                b'!'..=b'~' if byte != b',' && byte != b'\\' => text.push(byte),
                _ => text.extend([b'\\', octal(byte >> 6), octal(byte >> 3), octal(byte)]),
            }
        }
        rows.push_before_table(&text);
        separator = ",";
    }
}

/// The last octal digit of a number.
fn octal(number: u8) -> u8 {
    b'0' + (number & 7)
}

/// Writes the upper layer protocol (ULP) of a TCP socket, such as Multipath TCP.
///
/// # Errors
/// Fails if the protocol is TLS, which is not supported.
fn show_ulp(ulp: UlpInfo<'_>, rows: &mut Rows<'_>) -> Result<(), RowError> {
    if let Some(name) = ulp.name() {
        rows.push(b" tcp-ulp-");
        rows.push(name);
    }
    if ulp.is_tls() {
        return Err(RowError::NotSupported("TLS"));
    }
    if let Some(subflow) = ulp.subflow() {
        show_subflow(subflow, rows);
    }
    Ok(())
}

fn show_subflow(subflow: MptcpSubflow<'_>, rows: &mut Rows<'_>) {
    if let Some(flags @ 1..) = subflow.flags() {
        rows.push(b" flags:");
        for (bit, letter) in "MmJjBbecv".chars().enumerate() {
            if flags & 1 << bit != 0 {
                let _ = rows.write_char(letter);
            }
        }
    }
    if let (Some(peer), Some(own), Some(peer_id), Some(own_id)) = (
        subflow.token_rem(),
        subflow.token_loc(),
        subflow.id_rem(),
        subflow.id_loc(),
    ) {
        let _ = write!(
            rows,
            " token:{peer:04x}(id:{peer_id})/{own:04x}(id:{own_id})"
        );
    }
    for (name, number) in [
        ("seq", subflow.map_seq()),
        ("sfseq", subflow.map_sfseq().map(u64::from)),
        ("ssnoff", subflow.ssn_offset().map(u64::from)),
        ("maplen", subflow.map_datalen().map(u64::from)),
    ] {
        if let Some(number) = number {
            let _ = write!(rows, " {name}:{number:x}");
        }
    }
}

/// Writes the details that `--tos`, `--cgroup` and `--inet-sockopt` add.
pub fn show_options(row: &InetDiagRow<'_>, show: Show, rows: &mut Rows<'_>) {
    if show.tos {
        for (name, number) in [
            ("tos", row.tos().map(u32::from)),
            ("tclass", row.traffic_class().map(u32::from)),
            ("class_id", row.class_id()),
        ] {
            let _ = match number {
                None => Ok(()),
                // In C, `%#x` writes 0 without the prefix `0x`.
                Some(0) => write!(rows, " {name}:0"),
                Some(number) => write!(rows, " {name}:{number:#x}"),
            };
        }
    }
    if show.cgroup
        && let Some(number) = row.cgroup_id()
    {
        rows.cgroup(number);
    }
    if show.socket_options
        && let Some(options) = row.options()
    {
        const NAMES: &str = "recverr is_icsk freebind hdrincl mc_loop transparent mc_all \
                             nodefrag bind_addr_no_port recverr_rfc4884 defer_connect";
        rows.new_line(" ");
        rows.push(b"inet-sockopt: (");
        for (bit, name) in NAMES.split(' ').enumerate() {
            if options & 1 << bit != 0 {
                let _ = write!(rows, " {name}");
            }
        }
        rows.push(b")");
    }
}

/// Writes how much memory a socket uses.
pub fn show_memory(memory: SkMeminfo<'_>, rows: &mut Rows<'_>) {
    rows.push(b" skmem:(");
    for (name, index) in [
        ("r", SkMeminfoIndex::RmemAlloc),
        (",rb", SkMeminfoIndex::Rcvbuf),
        (",t", SkMeminfoIndex::WmemAlloc),
        (",tb", SkMeminfoIndex::Sndbuf),
        (",f", SkMeminfoIndex::FwdAlloc),
        (",w", SkMeminfoIndex::WmemQueued),
        (",o", SkMeminfoIndex::Optmem),
        (",bl", SkMeminfoIndex::Backlog),
        (",d", SkMeminfoIndex::Drops),
    ] {
        if let Some(number) = memory.get(index) {
            rows.named(name, number.into());
        }
    }
    rows.push(b")");
}

fn show_mptcp(info: &MptcpInfo, rows: &mut Rows<'_>) {
    let counts = [
        (" subflows:", info.mptcpi_subflows),
        (" add_addr_signal:", info.mptcpi_add_addr_signal),
        (" add_addr_accepted:", info.mptcpi_add_addr_accepted),
        (" subflows_max:", info.mptcpi_subflows_max),
        (" add_addr_signal_max:", info.mptcpi_add_addr_signal_max),
        (" add_addr_accepted_max:", info.mptcpi_add_addr_accepted_max),
    ];
    show_numbers(&counts.map(|(name, count)| (name, count.into())), rows);
    for (bit, name) in [
        (MPTCP_INFO_FLAG_FALLBACK, " fallback"),
        (MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED, " remote_key"),
    ] {
        if info.mptcpi_flags & bit != 0 {
            rows.push(name.as_bytes());
        }
    }
    for (name, number) in [
        ("token", info.mptcpi_token.into()),
        ("write_seq", info.mptcpi_write_seq),
        ("snd_una", info.mptcpi_snd_una),
        ("rcv_nxt", info.mptcpi_rcv_nxt),
    ] {
        if number != 0 {
            let _ = write!(rows, " {name}:{number:x}");
        }
    }
}
