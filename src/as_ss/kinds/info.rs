//! What `-m` and `-i` add to a row of inet_diag.

use std::fmt::Write as _;

use crate::as_ss::show::printer::Printer;
use crate::kernel::netlink::diag::Row;
use crate::kernel::netlink::sock_diag::{SkMeminfo, SkMeminfoIndex};
use crate::kernel::netlink::tcp_info::{
    MPTCP_INFO_FLAG_FALLBACK, MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED, MptcpInfo, MptcpSubflow,
    TCPI_OPT_ECN, TCPI_OPT_ECN_SEEN, TCPI_OPT_SACK, TCPI_OPT_SYN_DATA, TCPI_OPT_TIMESTAMPS,
    TCPI_OPT_WSCALE, TcpBbrInfo, TcpInfo, UlpInfo,
};
use crate::kernel::socket::{IPPROTO_MPTCP, IPPROTO_SCTP, State};

/// Writes what was asked for. `None` if it cannot be read, or is not covered, as the
/// printer then says.
pub fn show(protocol: u32, row: &Row<'_>, printer: &mut Printer<'_>) -> Option<()> {
    if let Some(memory) = row.memory() {
        show_memory(memory?, printer);
    } else if let Some(sums) = row.memory_sums() {
        let sums = sums?;
        let (r, w) = (sums.idiag_rmem, sums.idiag_wmem);
        let (f, t) = (sums.idiag_fmem, sums.idiag_tmem);
        let _ = write!(printer.table, " mem:(r{r},w{w},f{f},t{t})");
    }
    match row.info() {
        Some(_) if printer.show.info && row.has_dctcp() => return printer.refuse("DCTCP"),
        Some(_) if printer.show.info && row.has_signatures() => {
            return printer.refuse("signed segments");
        }
        Some(info) if printer.show.info => match protocol {
            IPPROTO_SCTP => return printer.refuse("sockets of SCTP"),
            IPPROTO_MPTCP => show_mptcp(&MptcpInfo::read_padded(info), printer),
            // Those of DCCP too.
            _ => show_tcp(&TcpInfo::read_padded(info), row, printer),
        },
        _ => {}
    }
    match row.ulp() {
        Some(ulp) => show_ulp(ulp, printer),
        None => Some(()),
    }
}

/// Writes what is put on top of TCP. `None` if it is not covered: only Multipath TCP
/// is, of which the socket is a part.
fn show_ulp(ulp: UlpInfo<'_>, printer: &mut Printer<'_>) -> Option<()> {
    if let Some(name) = ulp.name() {
        printer.table.push(b" tcp-ulp-");
        printer.table.push(name);
    }
    if ulp.is_tls() {
        return printer.refuse("TLS");
    }
    if let Some(subflow) = ulp.subflow() {
        show_subflow(subflow, printer);
    }
    Some(())
}

fn show_subflow(subflow: MptcpSubflow<'_>, printer: &mut Printer<'_>) {
    let table = &mut printer.table;
    if let Some(flags @ 1..) = subflow.flags() {
        table.push(b" flags:");
        for (bit, letter) in "MmJjBbecv".chars().enumerate() {
            if flags & 1 << bit != 0 {
                let _ = table.write_char(letter);
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
            table,
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
            let _ = write!(table, " {name}:{number:x}");
        }
    }
}

/// Writes the memory of a socket.
pub fn show_memory(memory: SkMeminfo<'_>, printer: &mut Printer<'_>) {
    printer.table.push(b" skmem:(");
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
            let _ = write!(printer.table, "{name}{number}");
        }
    }
    printer.table.push(b")");
}

/// Writes what `tcp_info` says, in the order of ss.
fn show_tcp(info: &TcpInfo, row: &Row<'_>, printer: &mut Printer<'_>) {
    show_agreed(info, row, printer);
    show_pace(info, printer);
    show_traffic(info, printer);
    if let Some(bbr) = row.bbr() {
        show_bbr(&bbr, printer);
    }
    show_rates(info, row, printer);
    show_limits(info, printer);
    show_losses(info, row, printer);
    show_receiver(info, printer);
}

/// What the two ends agreed upon.
fn show_agreed(info: &TcpInfo, row: &Row<'_>, printer: &mut Printer<'_>) {
    if printer.show.timers {
        for (bit, name) in [
            (TCPI_OPT_TIMESTAMPS, " ts"),
            (TCPI_OPT_SACK, " sack"),
            (TCPI_OPT_ECN, " ecn"),
            (TCPI_OPT_ECN_SEEN, " ecnseen"),
            (TCPI_OPT_SYN_DATA, " fastopen"),
        ] {
            if info.tcpi_options & bit != 0 {
                printer.table.push(name.as_bytes());
            }
        }
    }
    if let Some(name) = row.congestion() {
        printer.table.push(b" ");
        printer.table.push(name);
    }
    if info.tcpi_options & TCPI_OPT_WSCALE != 0 {
        let scales = info.tcpi_wscales;
        let _ = write!(printer.table, " wscale:{},{}", scales & 15, scales >> 4);
    }
}

/// How much is sent at once, and what is waited for.
fn show_pace(info: &TcpInfo, printer: &mut Printer<'_>) {
    if info.tcpi_rto != 3_000_000 {
        show_time("rto", info.tcpi_rto, printer);
    }
    show_numbers(&[("backoff", info.tcpi_backoff.into())], printer);
    if info.tcpi_rtt != 0 {
        let (rtt, variance) = (thousandths(info.tcpi_rtt), thousandths(info.tcpi_rttvar));
        let _ = write!(printer.table, " rtt:{rtt}/{variance}");
    }
    show_time("ato", info.tcpi_ato, printer);
    let numbers = [
        ("mss", info.tcpi_snd_mss.into()),
        ("pmtu", info.tcpi_pmtu.into()),
        ("rcvmss", info.tcpi_rcv_mss.into()),
        ("advmss", info.tcpi_advmss.into()),
        ("cwnd", info.tcpi_snd_cwnd.into()),
    ];
    show_numbers(&numbers, printer);
    if info.tcpi_snd_ssthresh < 0xffff {
        show_numbers(&[("ssthresh", info.tcpi_snd_ssthresh.into())], printer);
    }
}

fn show_traffic(info: &TcpInfo, printer: &mut Printer<'_>) {
    let numbers = [
        ("bytes_sent", info.tcpi_bytes_sent),
        ("bytes_retrans", info.tcpi_bytes_retrans),
        ("bytes_acked", info.tcpi_bytes_acked),
        ("bytes_received", info.tcpi_bytes_received),
        ("segs_out", info.tcpi_segs_out.into()),
        ("segs_in", info.tcpi_segs_in.into()),
        ("data_segs_out", info.tcpi_data_segs_out.into()),
        ("data_segs_in", info.tcpi_data_segs_in.into()),
    ];
    show_numbers(&numbers, printer);
}

fn show_rates(info: &TcpInfo, row: &Row<'_>, printer: &mut Printer<'_>) {
    let sent = f64::from(info.tcpi_snd_cwnd) * f64::from(info.tcpi_snd_mss);
    let vegas = row.vegas().filter(|vegas| {
        vegas.tcpv_enabled != 0 && vegas.tcpv_rtt != 0 && vegas.tcpv_rtt != 0x7fff_ffff
    });
    let rtt = vegas.map_or(info.tcpi_rtt, |vegas| vegas.tcpv_rtt);
    let numeric = printer.show.numeric;
    if rtt > 0 && sent > 0.0 {
        let rate = bandwidth(sent * 8e6 / f64::from(rtt), numeric);
        let _ = write!(printer.table, " send {rate}bps");
    }
    let numbers = [
        ("lastsnd", info.tcpi_last_data_sent.into()),
        ("lastrcv", info.tcpi_last_data_recv.into()),
        ("lastack", info.tcpi_last_ack_recv.into()),
    ];
    show_numbers(&numbers, printer);
    let rate = |rate: u64| match rate {
        0 | u64::MAX => None,
        rate => Some(bandwidth(rate as f64 * 8.0, numeric)),
    };
    if let Some(pace) = rate(info.tcpi_pacing_rate) {
        let _ = write!(printer.table, " pacing_rate {pace}bps");
        if let Some(most) = rate(info.tcpi_max_pacing_rate) {
            let _ = write!(printer.table, "/{most}bps");
        }
    }
    if let Some(delivery) = rate(info.tcpi_delivery_rate) {
        let _ = write!(printer.table, " delivery_rate {delivery}bps");
    }
    let numbers = [
        ("delivered", info.tcpi_delivered.into()),
        ("delivered_ce", info.tcpi_delivered_ce.into()),
    ];
    show_numbers(&numbers, printer);
}

/// For how long what kept the socket from sending.
fn show_limits(info: &TcpInfo, printer: &mut Printer<'_>) {
    if info.tcpi_delivery_flags & 1 != 0 {
        printer.table.push(b" app_limited");
    }
    let busy = info.tcpi_busy_time;
    if busy == 0 {
        return;
    }
    let _ = write!(printer.table, " busy:{}ms", busy / 1000);
    for (name, limited) in [
        ("rwnd_limited", info.tcpi_rwnd_limited),
        ("sndbuf_limited", info.tcpi_sndbuf_limited),
    ] {
        if limited != 0 {
            let tenths = rounded(limited as f64 * 1000.0 / busy as f64);
            let (whole, tenth) = (tenths / 10, tenths % 10);
            let milliseconds = limited / 1000;
            let _ = write!(printer.table, " {name}:{milliseconds}ms({whole}.{tenth}%)");
        }
    }
}

fn show_losses(info: &TcpInfo, row: &Row<'_>, printer: &mut Printer<'_>) {
    show_numbers(&[("unacked", info.tcpi_unacked.into())], printer);
    let (retransmitted, all) = (info.tcpi_retrans, info.tcpi_total_retrans);
    if retransmitted != 0 || all != 0 {
        let _ = write!(printer.table, " retrans:{retransmitted}/{all}");
    }
    show_numbers(&[("lost", info.tcpi_lost.into())], printer);
    if row.message.idiag_state != State::Listen as u8 {
        show_numbers(&[("sacked", info.tcpi_sacked.into())], printer);
    }
    let numbers = [
        ("dsack_dups", info.tcpi_dsack_dups.into()),
        ("fackets", info.tcpi_fackets.into()),
    ];
    show_numbers(&numbers, printer);
    if info.tcpi_reordering != 3 {
        let reordering = info.tcpi_reordering as i32;
        let _ = write!(printer.table, " reordering:{reordering}");
    }
    show_numbers(&[("reord_seen", info.tcpi_reord_seen.into())], printer);
}

fn show_receiver(info: &TcpInfo, printer: &mut Printer<'_>) {
    show_time("rcv_rtt", info.tcpi_rcv_rtt, printer);
    let numbers = [
        ("rcv_space", info.tcpi_rcv_space.into()),
        ("rcv_ssthresh", info.tcpi_rcv_ssthresh.into()),
        ("notsent", info.tcpi_notsent_bytes.into()),
    ];
    show_numbers(&numbers, printer);
    if info.tcpi_min_rtt != u32::MAX {
        show_time("minrtt", info.tcpi_min_rtt, printer);
    }
    let numbers = [
        ("rcv_ooopack", info.tcpi_rcv_ooopack.into()),
        ("snd_wnd", info.tcpi_snd_wnd.into()),
    ];
    show_numbers(&numbers, printer);
}

fn show_mptcp(info: &MptcpInfo, printer: &mut Printer<'_>) {
    let counts = [
        ("subflows", info.mptcpi_subflows),
        ("add_addr_signal", info.mptcpi_add_addr_signal),
        ("add_addr_accepted", info.mptcpi_add_addr_accepted),
        ("subflows_max", info.mptcpi_subflows_max),
        ("add_addr_signal_max", info.mptcpi_add_addr_signal_max),
        ("add_addr_accepted_max", info.mptcpi_add_addr_accepted_max),
    ];
    show_numbers(&counts.map(|(name, count)| (name, count.into())), printer);
    for (bit, name) in [
        (MPTCP_INFO_FLAG_FALLBACK, " fallback"),
        (MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED, " remote_key"),
    ] {
        if info.mptcpi_flags & bit != 0 {
            printer.table.push(name.as_bytes());
        }
    }
    for (name, number) in [
        ("token", info.mptcpi_token.into()),
        ("write_seq", info.mptcpi_write_seq),
        ("snd_una", info.mptcpi_snd_una),
        ("rcv_nxt", info.mptcpi_rcv_nxt),
    ] {
        if number != 0 {
            let _ = write!(printer.table, " {name}:{number:x}");
        }
    }
}

fn show_bbr(bbr: &TcpBbrInfo, printer: &mut Printer<'_>) {
    let rate = bandwidth(bbr.bandwidth() as f64 * 8.0, printer.show.numeric);
    let time = thousandths(bbr.bbr_min_rtt);
    let _ = write!(printer.table, " bbr:(bw:{rate}bps,mrtt:{time}");
    for (name, gain) in [
        ("pacing_gain", bbr.bbr_pacing_gain),
        ("cwnd_gain", bbr.bbr_cwnd_gain),
    ] {
        if gain != 0 {
            let gain = significant(f64::from(gain) / 256.0, 6);
            let _ = write!(printer.table, ",{name}:{gain}");
        }
    }
    printer.table.push(b")");
}

/// Writes those of the numbers that are not 0.
fn show_numbers(numbers: &[(&str, u64)], printer: &mut Printer<'_>) {
    for (name, number) in numbers {
        if *number != 0 {
            let _ = write!(printer.table, " {name}:{number}");
        }
    }
}

/// Writes a time in milliseconds, if it is not 0.
fn show_time(name: &str, microseconds: u32, printer: &mut Printer<'_>) {
    if microseconds != 0 {
        let _ = write!(printer.table, " {name}:{}", thousandths(microseconds));
    }
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
