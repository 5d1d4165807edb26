//! What `-m` and `-i` add to a row of inet_diag.

use std::fmt::Write as _;

use crate::as_ss::show::printer::Printer;
use crate::kernel::netlink::message::{array_at, attribute};

/// The attribute with sums of a socket's memory, in old kernels.
pub const INET_DIAG_MEMINFO: u16 = 1;
/// The attribute with `struct tcp_info`.
pub const INET_DIAG_INFO: u16 = 2;
/// The attribute with what the congestion control Vegas knows.
pub const INET_DIAG_VEGASINFO: u16 = 3;
/// The attribute with the name of the congestion control.
pub const INET_DIAG_CONG: u16 = 4;
/// The attribute with a socket's memory.
pub const INET_DIAG_SKMEMINFO: u16 = 7;
/// The attribute with what the congestion control BBR knows.
const INET_DIAG_BBRINFO: u16 = 16;
const INET_DIAG_DCTCPINFO: u16 = 9;
const INET_DIAG_MD5SIG: u16 = 18;
/// Attributes that are not covered.
const MORE: [(u16, &str); 2] = [
    (INET_DIAG_DCTCPINFO, "DCTCP"),
    (INET_DIAG_MD5SIG, "signed segments"),
];
/// The attribute with what is put on top of TCP, which has attributes itself.
const INET_DIAG_ULP_INFO: u16 = 19;

/// SCTP, whose rows have attributes of their own.
pub const IPPROTO_SCTP: u32 = 132;
/// Multipath TCP. Its number is longer than a byte.
pub const IPPROTO_MPTCP: u32 = 262;

/// Writes what was asked for. `None` if it cannot be read, or is not covered, as the
/// printer then says.
pub fn show(protocol: u32, state: u8, attributes: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    if let Some(memory) = attribute(attributes, INET_DIAG_SKMEMINFO) {
        show_memory(memory, printer)?;
    } else if let Some(sums) = attribute(attributes, INET_DIAG_MEMINFO) {
        let word = |at: usize| array_at(sums, 4 * at).map(u32::from_ne_bytes);
        let (r, w, f, t) = (word(0)?, word(1)?, word(2)?, word(3)?);
        let _ = write!(printer.table, " mem:(r{r},w{w},f{f},t{t})");
    }
    match attribute(attributes, INET_DIAG_INFO) {
        Some(info) if printer.show.info => {
            let mut more = MORE.iter();
            if let Some((_, what)) = more.find(|(kind, _)| attribute(attributes, *kind).is_some()) {
                return printer.refuse(what);
            }
            match protocol {
                IPPROTO_SCTP => return printer.refuse("sockets of SCTP"),
                IPPROTO_MPTCP => show_mptcp(&Info(info), printer),
                // Those of DCCP too.
                _ => show_tcp(&Info(info), state, attributes, printer),
            }
        }
        _ => {}
    }
    match attribute(attributes, INET_DIAG_ULP_INFO) {
        Some(upper) => show_upper(upper, printer),
        None => Some(()),
    }
}

/// Writes what is put on top of TCP. `None` if it is not covered: only Multipath TCP
/// is, of which the socket is a part.
fn show_upper(upper: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    const INET_ULP_INFO_NAME: u16 = 1;
    const INET_ULP_INFO_TLS: u16 = 2;
    const INET_ULP_INFO_MPTCP: u16 = 3;
    const MPTCP_SUBFLOW_ATTR_TOKEN_REM: u16 = 1;
    const MPTCP_SUBFLOW_ATTR_TOKEN_LOC: u16 = 2;
    const MPTCP_SUBFLOW_ATTR_MAP_SEQ: u16 = 4;
    const MPTCP_SUBFLOW_ATTR_MAP_SFSEQ: u16 = 5;
    const MPTCP_SUBFLOW_ATTR_SSN_OFFSET: u16 = 6;
    const MPTCP_SUBFLOW_ATTR_MAP_DATALEN: u16 = 7;
    const MPTCP_SUBFLOW_ATTR_FLAGS: u16 = 8;
    const MPTCP_SUBFLOW_ATTR_ID_REM: u16 = 9;
    const MPTCP_SUBFLOW_ATTR_ID_LOC: u16 = 10;
    if let Some(name) = attribute(upper, INET_ULP_INFO_NAME) {
        printer.table.push(b" tcp-ulp-");
        printer.table.push(name.strip_suffix(b"\0").unwrap_or(name));
    }
    if attribute(upper, INET_ULP_INFO_TLS).is_some() {
        return printer.refuse("TLS");
    }
    let Some(part) = attribute(upper, INET_ULP_INFO_MPTCP) else {
        return Some(());
    };
    let word = |kind| array_at(attribute(part, kind)?, 0).map(u32::from_ne_bytes);
    let byte = |kind| attribute(part, kind)?.first().copied();
    if let Some(flags @ 1..) = word(MPTCP_SUBFLOW_ATTR_FLAGS) {
        printer.table.push(b" flags:");
        for (bit, letter) in "MmJjBbecv".chars().enumerate() {
            if flags & 1 << bit != 0 {
                let _ = printer.table.write_char(letter);
            }
        }
    }
    if let (Some(peer), Some(own), Some(peer_id), Some(own_id)) = (
        word(MPTCP_SUBFLOW_ATTR_TOKEN_REM),
        word(MPTCP_SUBFLOW_ATTR_TOKEN_LOC),
        byte(MPTCP_SUBFLOW_ATTR_ID_REM),
        byte(MPTCP_SUBFLOW_ATTR_ID_LOC),
    ) {
        let table = &mut printer.table;
        let _ = write!(
            table,
            " token:{peer:04x}(id:{peer_id})/{own:04x}(id:{own_id})"
        );
    }
    if let Some(sequence) =
        attribute(part, MPTCP_SUBFLOW_ATTR_MAP_SEQ).and_then(|number| array_at(number, 0))
    {
        let _ = write!(printer.table, " seq:{:x}", u64::from_ne_bytes(sequence));
    }
    for (name, kind) in [
        ("sfseq", MPTCP_SUBFLOW_ATTR_MAP_SFSEQ),
        ("ssnoff", MPTCP_SUBFLOW_ATTR_SSN_OFFSET),
    ] {
        if let Some(number) = word(kind) {
            let _ = write!(printer.table, " {name}:{number:x}");
        }
    }
    // The kernel has this in two bytes.
    if let Some(length) = attribute(part, MPTCP_SUBFLOW_ATTR_MAP_DATALEN) {
        let length = array_at(length, 0).map(u16::from_ne_bytes)?;
        let _ = write!(printer.table, " maplen:{length:x}");
    }
    Some(())
}

/// Writes the memory of a socket: `SK_MEMINFO_VARS` of the kernel.
pub fn show_memory(memory: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let names = ["r", ",rb", ",t", ",tb", ",f", ",w", ",o", ",bl", ",d"];
    if memory.len() < 4 * 7 {
        return None;
    }
    printer.table.push(b" skmem:(");
    for (index, name) in names.iter().enumerate() {
        if let Some(word) = array_at(memory, 4 * index).map(u32::from_ne_bytes) {
            let _ = write!(printer.table, "{name}{word}");
        }
    }
    printer.table.push(b")");
    Some(())
}

/// `struct tcp_info`. Old kernels have less of it; what is missing is 0.
struct Info<'a>(&'a [u8]);

impl Info<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn word(&self, at: usize) -> u32 {
        array_at(self.0, at).map_or(0, u32::from_ne_bytes)
    }

    fn long(&self, at: usize) -> u64 {
        array_at(self.0, at).map_or(0, u64::from_ne_bytes)
    }
}

/// How a number of `struct tcp_info` is written, if it is not 0.
enum Form {
    Word,
    Long,
    /// Microseconds, as milliseconds.
    Time,
}

/// Writes what `tcp_info` says, in the order of ss.
fn show_tcp(info: &Info<'_>, state: u8, attributes: &[u8], printer: &mut Printer<'_>) {
    const TCP_LISTEN: u8 = 10;
    const TCPI_OPT_TIMESTAMPS: u8 = 1;
    const TCPI_OPT_SACK: u8 = 2;
    const TCPI_OPT_WSCALE: u8 = 4;
    const TCPI_OPT_ECN: u8 = 8;
    const TCPI_OPT_ECN_SEEN: u8 = 16;
    const TCPI_OPT_SYN_DATA: u8 = 32;
    let options = info.byte(5);
    if printer.show.timers {
        let names = [
            (TCPI_OPT_TIMESTAMPS, " ts"),
            (TCPI_OPT_SACK, " sack"),
            (TCPI_OPT_ECN, " ecn"),
            (TCPI_OPT_ECN_SEEN, " ecnseen"),
            (TCPI_OPT_SYN_DATA, " fastopen"),
        ];
        for (bit, name) in names {
            if options & bit != 0 {
                printer.table.push(name.as_bytes());
            }
        }
    }
    if let Some(name) = attribute(attributes, INET_DIAG_CONG) {
        printer.table.push(b" ");
        printer.table.push(name.strip_suffix(b"\0").unwrap_or(name));
    }
    if options & TCPI_OPT_WSCALE != 0 {
        let scales = info.byte(6);
        let _ = write!(printer.table, " wscale:{},{}", scales & 15, scales >> 4);
    }
    if info.word(8) != 3_000_000 {
        show_field(info, "rto", 8, &Form::Time, printer);
    }
    if info.byte(4) != 0 {
        let _ = write!(printer.table, " backoff:{}", info.byte(4));
    }
    let rtt = info.word(68);
    if rtt != 0 {
        let (rtt, variance) = (thousandths(rtt), thousandths(info.word(72)));
        let _ = write!(printer.table, " rtt:{rtt}/{variance}");
    }
    let fields = |list: &[(&str, usize)], form: Form, printer: &mut Printer<'_>| {
        for (name, at) in list {
            show_field(info, name, *at, &form, printer);
        }
    };
    fields(&[("ato", 12)], Form::Time, printer);
    fields(
        &[
            ("mss", 16),
            ("pmtu", 60),
            ("rcvmss", 20),
            ("advmss", 84),
            ("cwnd", 80),
        ],
        Form::Word,
        printer,
    );
    if info.word(76) < 0xffff {
        fields(&[("ssthresh", 76)], Form::Word, printer);
    }
    fields(
        &[
            ("bytes_sent", 200),
            ("bytes_retrans", 208),
            ("bytes_acked", 120),
            ("bytes_received", 128),
        ],
        Form::Long,
        printer,
    );
    fields(
        &[
            ("segs_out", 136),
            ("segs_in", 140),
            ("data_segs_out", 156),
            ("data_segs_in", 152),
        ],
        Form::Word,
        printer,
    );
    if let Some(bbr) = attribute(attributes, INET_DIAG_BBRINFO) {
        show_bbr(&Info(bbr), printer);
    }
    let sent = f64::from(info.word(80)) * f64::from(info.word(16));
    let vegas = attribute(attributes, INET_DIAG_VEGASINFO).and_then(|vegas| {
        let word = |at| array_at(vegas, at).map(u32::from_ne_bytes);
        let rtt = word(8)?;
        (word(0)? != 0 && rtt != 0 && rtt != 0x7fff_ffff).then_some(rtt)
    });
    let rtt = vegas.unwrap_or(rtt);
    let numeric = printer.show.numeric;
    if rtt > 0 && sent > 0.0 {
        let rate = bandwidth(sent * 8e6 / f64::from(rtt), numeric);
        let _ = write!(printer.table, " send {rate}bps");
    }
    fields(
        &[("lastsnd", 44), ("lastrcv", 52), ("lastack", 56)],
        Form::Word,
        printer,
    );
    let rate = |at: usize| match info.long(at) {
        0 | u64::MAX => None,
        rate => Some(bandwidth(rate as f64 * 8.0, numeric)),
    };
    if let Some(pace) = rate(104) {
        let _ = write!(printer.table, " pacing_rate {pace}bps");
        if let Some(most) = rate(112) {
            let _ = write!(printer.table, "/{most}bps");
        }
    }
    if let Some(delivery) = rate(160) {
        let _ = write!(printer.table, " delivery_rate {delivery}bps");
    }
    fields(
        &[("delivered", 192), ("delivered_ce", 196)],
        Form::Word,
        printer,
    );
    if info.byte(7) & 1 != 0 {
        printer.table.push(b" app_limited");
    }
    let busy = info.long(168);
    if busy != 0 {
        let _ = write!(printer.table, " busy:{}ms", busy / 1000);
        for (name, at) in [("rwnd_limited", 176), ("sndbuf_limited", 184)] {
            let limited = info.long(at);
            if limited != 0 {
                let tenths = rounded(limited as f64 * 1000.0 / busy as f64);
                let (whole, tenth) = (tenths / 10, tenths % 10);
                let milliseconds = limited / 1000;
                let _ = write!(printer.table, " {name}:{milliseconds}ms({whole}.{tenth}%)");
            }
        }
    }
    fields(&[("unacked", 24)], Form::Word, printer);
    let (retransmitted, all) = (info.word(36), info.word(100));
    if retransmitted != 0 || all != 0 {
        let _ = write!(printer.table, " retrans:{retransmitted}/{all}");
    }
    fields(&[("lost", 32)], Form::Word, printer);
    if state != TCP_LISTEN {
        fields(&[("sacked", 28)], Form::Word, printer);
    }
    fields(&[("dsack_dups", 216), ("fackets", 40)], Form::Word, printer);
    let reordering = info.word(88);
    if reordering != 3 {
        let _ = write!(printer.table, " reordering:{}", reordering as i32);
    }
    fields(&[("reord_seen", 220)], Form::Word, printer);
    fields(&[("rcv_rtt", 92)], Form::Time, printer);
    fields(
        &[("rcv_space", 96), ("rcv_ssthresh", 64), ("notsent", 144)],
        Form::Word,
        printer,
    );
    if info.word(148) != u32::MAX {
        fields(&[("minrtt", 148)], Form::Time, printer);
    }
    fields(
        &[("rcv_ooopack", 224), ("snd_wnd", 228)],
        Form::Word,
        printer,
    );
}

/// `struct mptcp_info`.
fn show_mptcp(info: &Info<'_>, printer: &mut Printer<'_>) {
    const MPTCP_INFO_FLAG_FALLBACK: u32 = 1;
    const MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED: u32 = 2;
    let counts = [
        "subflows",
        "add_addr_signal",
        "add_addr_accepted",
        "subflows_max",
        "add_addr_signal_max",
        "add_addr_accepted_max",
    ];
    for (at, name) in counts.into_iter().enumerate() {
        let count = info.byte(at);
        if count != 0 {
            let _ = write!(printer.table, " {name}:{count}");
        }
    }
    let (flags, token) = (info.word(8), u64::from(info.word(12)));
    for (bit, name) in [
        (MPTCP_INFO_FLAG_FALLBACK, " fallback"),
        (MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED, " remote_key"),
    ] {
        if flags & bit != 0 {
            printer.table.push(name.as_bytes());
        }
    }
    let sequences = ["write_seq", "snd_una", "rcv_nxt"];
    let sequences = sequences.into_iter().zip([16, 24, 32]);
    let sequences = sequences.map(|(name, at)| (name, info.long(at)));
    for (name, number) in [("token", token)].into_iter().chain(sequences) {
        if number != 0 {
            let _ = write!(printer.table, " {name}:{number:x}");
        }
    }
}

/// `struct tcp_bbr_info`.
fn show_bbr(bbr: &Info<'_>, printer: &mut Printer<'_>) {
    let rate = u64::from(bbr.word(4)) << 32 | u64::from(bbr.word(0));
    let rate = bandwidth(rate as f64 * 8.0, printer.show.numeric);
    let time = thousandths(bbr.word(8));
    let _ = write!(printer.table, " bbr:(bw:{rate}bps,mrtt:{time}");
    for (name, at) in [("pacing_gain", 12), ("cwnd_gain", 16)] {
        let gain = bbr.word(at);
        if gain != 0 {
            let gain = significant(f64::from(gain) / 256.0, 6);
            let _ = write!(printer.table, ",{name}:{gain}");
        }
    }
    printer.table.push(b")");
}

fn show_field(info: &Info<'_>, name: &str, at: usize, form: &Form, printer: &mut Printer<'_>) {
    let number = match form {
        Form::Long => info.long(at),
        _ => info.word(at).into(),
    };
    let _ = match form {
        _ if number == 0 => Ok(()),
        Form::Time => write!(printer.table, " {name}:{}", thousandths(number as u32)),
        _ => write!(printer.table, " {name}:{number}"),
    };
}

/// A thousandth of `number` as C's `%g` writes it: six digits.
fn thousandths(number: u32) -> String {
    significant(f64::from(number) / 1000.0, 6)
}

/// `number` as C's `%.Ng` writes it for N `digits`: without zeros at its end. It is
/// neither negative nor so small that an exponent would say so.
///
/// Rust's own way to write a float would be a tenth of what all of this is long.
fn significant(number: f64, digits: u32) -> String {
    let whole_digits = match number as u64 {
        0 => 0,
        whole => whole.ilog10() + 1,
    };
    let decimals = digits.saturating_sub(whole_digits);
    let scale = 10u64.pow(decimals);
    let scaled = rounded(number * scale as f64);
    if scaled >= scale * 10u64.pow(digits) {
        return format!("1e+0{digits}");
    }
    let (whole, part) = (scaled / scale, scaled % scale);
    if part == 0 {
        return whole.to_string();
    }
    let part = format!("{part:0width$}", width = decimals as usize);
    format!("{whole}.{}", part.trim_end_matches('0'))
}

/// The nearest whole number; of two, the even one.
fn rounded(number: f64) -> u64 {
    let whole = number as u64;
    let rest = number - whole as f64;
    let is_up = rest > 0.5 || rest == 0.5 && whole % 2 == 1;
    whole + u64::from(is_up)
}

/// Bits per second as ss writes them: with a unit, or whole.
fn bandwidth(rate: f64, numeric: bool) -> String {
    if numeric {
        return rounded(rate).to_string();
    }
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(size, _)| rate >= *size) {
        Some((size, unit)) => significant(rate / size, 3) + unit,
        None => significant(rate, 6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `printf` of C wrote them.
    #[test]
    fn numbers_are_written_as_c_does() {
        for (number, text) in [
            (1, "0.001"),
            (34, "0.034"),
            (200_000, "200"),
            (1500, "1.5"),
            (123_456, "123.456"),
            (1_234_567, "1234.57"),
            (12_345_678, "12345.7"),
        ] {
            assert_eq!(thousandths(number), text);
        }
        for (rate, text) in [
            (21.824e9, "21.8G"),
            (999_999_999.0, "1e+03M"),
            (12_500.0, "12.5k"),
            (1000.0 / 3.0, "333.333"),
            (8e6 / 3.0, "2.67M"),
        ] {
            assert_eq!(bandwidth(rate, false), text);
        }
        assert_eq!(bandwidth(8e6 / 3.0, true), "2666667");
    }
}
