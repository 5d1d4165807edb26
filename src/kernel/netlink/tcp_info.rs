//! The details of a socket that its protocol adds to a row of inet_diag: `tcp_info` and similar
//! structures.
//!
//! Newer kernels append fields to these structures. The structures are read with
//! `read_padded`, because they are shorter in older kernels.

use super::layout::layout;
use super::message::{Attributes, without_zero};

layout! {
    /// `struct tcp_info` of `linux/tcp.h`, up to `tcpi_snd_wnd`.
    TcpInfo, 232 bytes:
    tcpi_state: u8 = 0..1,
    tcpi_ca_state: u8 = 1..2,
    tcpi_retransmits: u8 = 2..3,
    tcpi_probes: u8 = 3..4,
    tcpi_backoff: u8 = 4..5,
    tcpi_options: u8 = 5..6,
    // `tcpi_snd_wscale` and `tcpi_rcv_wscale`, four bits each.
    tcpi_wscales: u8 = 6..7,
    // The lowest bit is `tcpi_delivery_rate_app_limited`.
    tcpi_delivery_flags: u8 = 7..8,
    tcpi_rto: u32 = 8..12,
    tcpi_ato: u32 = 12..16,
    tcpi_snd_mss: u32 = 16..20,
    tcpi_rcv_mss: u32 = 20..24,
    tcpi_unacked: u32 = 24..28,
    tcpi_sacked: u32 = 28..32,
    tcpi_lost: u32 = 32..36,
    tcpi_retrans: u32 = 36..40,
    tcpi_fackets: u32 = 40..44,
    tcpi_last_data_sent: u32 = 44..48,
    tcpi_last_ack_sent: u32 = 48..52,
    tcpi_last_data_recv: u32 = 52..56,
    tcpi_last_ack_recv: u32 = 56..60,
    tcpi_pmtu: u32 = 60..64,
    tcpi_rcv_ssthresh: u32 = 64..68,
    tcpi_rtt: u32 = 68..72,
    tcpi_rttvar: u32 = 72..76,
    tcpi_snd_ssthresh: u32 = 76..80,
    tcpi_snd_cwnd: u32 = 80..84,
    tcpi_advmss: u32 = 84..88,
    tcpi_reordering: u32 = 88..92,
    tcpi_rcv_rtt: u32 = 92..96,
    tcpi_rcv_space: u32 = 96..100,
    tcpi_total_retrans: u32 = 100..104,
    tcpi_pacing_rate: u64 = 104..112,
    tcpi_max_pacing_rate: u64 = 112..120,
    tcpi_bytes_acked: u64 = 120..128,
    tcpi_bytes_received: u64 = 128..136,
    tcpi_segs_out: u32 = 136..140,
    tcpi_segs_in: u32 = 140..144,
    tcpi_notsent_bytes: u32 = 144..148,
    tcpi_min_rtt: u32 = 148..152,
    tcpi_data_segs_in: u32 = 152..156,
    tcpi_data_segs_out: u32 = 156..160,
    tcpi_delivery_rate: u64 = 160..168,
    tcpi_busy_time: u64 = 168..176,
    tcpi_rwnd_limited: u64 = 176..184,
    tcpi_sndbuf_limited: u64 = 184..192,
    tcpi_delivered: u32 = 192..196,
    tcpi_delivered_ce: u32 = 196..200,
    tcpi_bytes_sent: u64 = 200..208,
    tcpi_bytes_retrans: u64 = 208..216,
    tcpi_dsack_dups: u32 = 216..220,
    tcpi_reord_seen: u32 = 220..224,
    tcpi_rcv_ooopack: u32 = 224..228,
    tcpi_snd_wnd: u32 = 228..232,
}

// The bits of `tcpi_options`.
/// The connection uses timestamps.
pub const TCPI_OPT_TIMESTAMPS: u8 = 1;
/// The connection uses selective acknowledgements.
pub const TCPI_OPT_SACK: u8 = 2;
/// The connection uses window scaling.
pub const TCPI_OPT_WSCALE: u8 = 4;
/// The connection has negotiated explicit congestion notification (ECN).
pub const TCPI_OPT_ECN: u8 = 8;
/// A packet with ECN bits was received.
pub const TCPI_OPT_ECN_SEEN: u8 = 16;
/// The data in the SYN was acknowledged.
pub const TCPI_OPT_SYN_DATA: u8 = 32;

layout! {
    /// `struct tcpvegas_info` of `linux/inet_diag.h`: the state of the congestion control
    /// Vegas.
    TcpvegasInfo, 16 bytes:
    tcpv_enabled: u32 = 0..4,
    tcpv_rttcnt: u32 = 4..8,
    tcpv_rtt: u32 = 8..12,
    tcpv_minrtt: u32 = 12..16,
}

layout! {
    /// `struct tcp_bbr_info` of `linux/inet_diag.h`: the state of the congestion control BBR.
    TcpBbrInfo, 20 bytes:
    bbr_bw_lo: u32 = 0..4,
    bbr_bw_hi: u32 = 4..8,
    bbr_min_rtt: u32 = 8..12,
    bbr_pacing_gain: u32 = 12..16,
    bbr_cwnd_gain: u32 = 16..20,
}

impl TcpBbrInfo {
    /// The bandwidth in bytes per second.
    pub fn bandwidth(&self) -> u64 {
        u64::from(self.bbr_bw_hi) << 32 | u64::from(self.bbr_bw_lo)
    }
}

layout! {
    /// `struct mptcp_info` of `linux/mptcp.h`, up to `mptcpi_rcv_nxt`.
    MptcpInfo, 40 bytes:
    mptcpi_subflows: u8 = 0..1,
    mptcpi_add_addr_signal: u8 = 1..2,
    mptcpi_add_addr_accepted: u8 = 2..3,
    mptcpi_subflows_max: u8 = 3..4,
    mptcpi_add_addr_signal_max: u8 = 4..5,
    mptcpi_add_addr_accepted_max: u8 = 5..6,
    mptcpi_flags: u32 = 8..12,
    mptcpi_token: u32 = 12..16,
    mptcpi_write_seq: u64 = 16..24,
    mptcpi_snd_una: u64 = 24..32,
    mptcpi_rcv_nxt: u64 = 32..40,
}

/// The bit of `mptcpi_flags` that is set if a connection has fallen back to TCP.
pub const MPTCP_INFO_FLAG_FALLBACK: u32 = 1;
/// The bit of `mptcpi_flags` that is set if a connection has received the key of the peer.
pub const MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED: u32 = 2;

const INET_ULP_INFO_NAME: u16 = 1;
const INET_ULP_INFO_TLS: u16 = 2;
const INET_ULP_INFO_MPTCP: u16 = 3;

/// The nested attributes of an upper layer protocol (ULP), such as TLS on top of TCP.
#[derive(Clone, Copy, Debug)]
pub struct UlpInfo<'a>(pub Attributes<'a>);

impl<'a> UlpInfo<'a> {
    /// The name of the protocol.
    pub fn name(self) -> Option<&'a [u8]> {
        self.0.get(INET_ULP_INFO_NAME).map(without_zero)
    }

    /// Whether the protocol is TLS.
    pub fn is_tls(self) -> bool {
        self.0.get(INET_ULP_INFO_TLS).is_some()
    }

    /// The details of Multipath TCP, if the socket is a subflow of a Multipath TCP connection.
    pub fn subflow(self) -> Option<MptcpSubflow<'a>> {
        Some(MptcpSubflow(Attributes(self.0.get(INET_ULP_INFO_MPTCP)?)))
    }
}

const MPTCP_SUBFLOW_ATTR_TOKEN_REM: u16 = 1;
const MPTCP_SUBFLOW_ATTR_TOKEN_LOC: u16 = 2;
const MPTCP_SUBFLOW_ATTR_MAP_SEQ: u16 = 4;
const MPTCP_SUBFLOW_ATTR_MAP_SFSEQ: u16 = 5;
const MPTCP_SUBFLOW_ATTR_SSN_OFFSET: u16 = 6;
const MPTCP_SUBFLOW_ATTR_MAP_DATALEN: u16 = 7;
const MPTCP_SUBFLOW_ATTR_FLAGS: u16 = 8;
const MPTCP_SUBFLOW_ATTR_ID_REM: u16 = 9;
const MPTCP_SUBFLOW_ATTR_ID_LOC: u16 = 10;

/// The details of a Multipath TCP subflow, under the kernel's names. A number is `None` if the
/// kernel does not report it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct MptcpSubflow<'a>(Attributes<'a>);

#[allow(missing_docs)]
impl MptcpSubflow<'_> {
    pub fn token_rem(self) -> Option<u32> {
        self.0.number(MPTCP_SUBFLOW_ATTR_TOKEN_REM)
    }

    pub fn token_loc(self) -> Option<u32> {
        self.0.number(MPTCP_SUBFLOW_ATTR_TOKEN_LOC)
    }

    pub fn map_seq(self) -> Option<u64> {
        self.0.number(MPTCP_SUBFLOW_ATTR_MAP_SEQ)
    }

    pub fn map_sfseq(self) -> Option<u32> {
        self.0.number(MPTCP_SUBFLOW_ATTR_MAP_SFSEQ)
    }

    pub fn ssn_offset(self) -> Option<u32> {
        self.0.number(MPTCP_SUBFLOW_ATTR_SSN_OFFSET)
    }

    pub fn map_datalen(self) -> Option<u16> {
        self.0.number(MPTCP_SUBFLOW_ATTR_MAP_DATALEN)
    }

    pub fn flags(self) -> Option<u32> {
        self.0.number(MPTCP_SUBFLOW_ATTR_FLAGS)
    }

    pub fn id_rem(self) -> Option<u8> {
        self.0.number(MPTCP_SUBFLOW_ATTR_ID_REM)
    }

    pub fn id_loc(self) -> Option<u8> {
        self.0.number(MPTCP_SUBFLOW_ATTR_ID_LOC)
    }
}
