//! Writes the details that `-i` adds to a TCP socket: the fields of `struct tcp_info`.

use crate::as_ss::ask::request::Show;
use crate::as_ss::show::numbers::{RateFormat, bandwidth, rounded, significant, thousandths};
use crate::as_ss::show::rows::Rows;
use crate::kernel::netlink::diag::InetDiagRow;
use crate::kernel::netlink::tcp_info::{
    TCPI_OPT_ECN, TCPI_OPT_ECN_SEEN, TCPI_OPT_SACK, TCPI_OPT_SYN_DATA, TCPI_OPT_TIMESTAMPS,
    TCPI_OPT_WSCALE, TcpBbrInfo, TcpInfo,
};
use crate::kernel::socket::State;

/// Writes the fields of `tcp_info`, in the order of ss.
pub fn show(info: &TcpInfo, row: &InetDiagRow<'_>, show: Show, rows: &mut Rows<'_>) {
    let format = match show.numeric {
        true => RateFormat::Exact,
        false => RateFormat::WithUnit,
    };
    show_options(info, row, show, rows);
    show_pace(info, rows);
    show_traffic(info, rows);
    if let Some(bbr) = row.bbr() {
        show_bbr(&bbr, format, rows);
    }
    show_rates(info, row, format, rows);
    show_limits(info, rows);
    show_losses(info, row, rows);
    show_receiver(info, rows);
}

/// Writes the options that the two ends have negotiated, and the congestion control algorithm.
fn show_options(info: &TcpInfo, row: &InetDiagRow<'_>, show: Show, rows: &mut Rows<'_>) {
    if show.timers {
        for (bit, name) in [
            (TCPI_OPT_TIMESTAMPS, " ts"),
            (TCPI_OPT_SACK, " sack"),
            (TCPI_OPT_ECN, " ecn"),
            (TCPI_OPT_ECN_SEEN, " ecnseen"),
            (TCPI_OPT_SYN_DATA, " fastopen"),
        ] {
            if info.tcpi_options & bit != 0 {
                rows.push(name.as_bytes());
            }
        }
    }
    if let Some(name) = row.congestion() {
        rows.push(b" ");
        rows.push(name);
    }
    if info.tcpi_options & TCPI_OPT_WSCALE != 0 {
        let scales = info.tcpi_wscales;
        rows.named(" wscale:", (scales & 15).into());
        rows.named(",", (scales >> 4).into());
    }
}

/// Writes timeouts, round-trip times, and the sizes of segments and of the congestion window.
fn show_pace(info: &TcpInfo, rows: &mut Rows<'_>) {
    if info.tcpi_rto != 3_000_000 {
        show_time(" rto:", info.tcpi_rto, rows);
    }
    show_numbers(&[(" backoff:", info.tcpi_backoff.into())], rows);
    if info.tcpi_rtt != 0 {
        show_time(" rtt:", info.tcpi_rtt, rows);
        rows.push(b"/");
        thousandths(info.tcpi_rttvar, rows.text());
    }
    show_time(" ato:", info.tcpi_ato, rows);
    let numbers = [
        (" mss:", info.tcpi_snd_mss.into()),
        (" pmtu:", info.tcpi_pmtu.into()),
        (" rcvmss:", info.tcpi_rcv_mss.into()),
        (" advmss:", info.tcpi_advmss.into()),
        (" cwnd:", info.tcpi_snd_cwnd.into()),
    ];
    show_numbers(&numbers, rows);
    if info.tcpi_snd_ssthresh < 0xffff {
        show_numbers(&[(" ssthresh:", info.tcpi_snd_ssthresh.into())], rows);
    }
}

fn show_traffic(info: &TcpInfo, rows: &mut Rows<'_>) {
    let numbers = [
        (" bytes_sent:", info.tcpi_bytes_sent),
        (" bytes_retrans:", info.tcpi_bytes_retrans),
        (" bytes_acked:", info.tcpi_bytes_acked),
        (" bytes_received:", info.tcpi_bytes_received),
        (" segs_out:", info.tcpi_segs_out.into()),
        (" segs_in:", info.tcpi_segs_in.into()),
        (" data_segs_out:", info.tcpi_data_segs_out.into()),
        (" data_segs_in:", info.tcpi_data_segs_in.into()),
    ];
    show_numbers(&numbers, rows);
}

fn show_rates(info: &TcpInfo, row: &InetDiagRow<'_>, format: RateFormat, rows: &mut Rows<'_>) {
    let sent = f64::from(info.tcpi_snd_cwnd) * f64::from(info.tcpi_snd_mss);
    let vegas = row.vegas().filter(|vegas| {
        vegas.tcpv_enabled != 0 && vegas.tcpv_rtt != 0 && vegas.tcpv_rtt != 0x7fff_ffff
    });
    let rtt = vegas.map_or(info.tcpi_rtt, |vegas| vegas.tcpv_rtt);
    if rtt > 0 && sent > 0.0 {
        rows.push(b" send ");
        bandwidth(sent * 8e6 / f64::from(rtt), format, rows.text());
    }
    let numbers = [
        (" lastsnd:", info.tcpi_last_data_sent.into()),
        (" lastrcv:", info.tcpi_last_data_recv.into()),
        (" lastack:", info.tcpi_last_ack_recv.into()),
    ];
    show_numbers(&numbers, rows);
    let mut show_rate = |name: &str, rate: u64| {
        let is_known = !matches!(rate, 0 | u64::MAX);
        if is_known {
            rows.push(name.as_bytes());
            bandwidth(rate as f64 * 8.0, format, rows.text());
        }
        is_known
    };
    if show_rate(" pacing_rate ", info.tcpi_pacing_rate) {
        show_rate("/", info.tcpi_max_pacing_rate);
    }
    show_rate(" delivery_rate ", info.tcpi_delivery_rate);
    let numbers = [
        (" delivered:", info.tcpi_delivered.into()),
        (" delivered_ce:", info.tcpi_delivered_ce.into()),
    ];
    show_numbers(&numbers, rows);
}

/// Writes how long the socket was busy sending, and for how long each limit slowed it down.
fn show_limits(info: &TcpInfo, rows: &mut Rows<'_>) {
    if info.tcpi_delivery_flags & 1 != 0 {
        rows.push(b" app_limited");
    }
    let busy = info.tcpi_busy_time;
    if busy == 0 {
        return;
    }
    rows.named(" busy:", busy / 1000);
    rows.push(b"ms");
    for (name, limited) in [
        (" rwnd_limited:", info.tcpi_rwnd_limited),
        (" sndbuf_limited:", info.tcpi_sndbuf_limited),
    ] {
        if limited != 0 {
            let tenths = rounded(limited as f64 * 1000.0 / busy as f64);
            rows.named(name, limited / 1000);
            rows.named("ms(", tenths / 10);
            rows.named(".", tenths % 10);
            rows.push(b"%)");
        }
    }
}

fn show_losses(info: &TcpInfo, row: &InetDiagRow<'_>, rows: &mut Rows<'_>) {
    show_numbers(&[(" unacked:", info.tcpi_unacked.into())], rows);
    let (pending, total) = (info.tcpi_retrans, info.tcpi_total_retrans);
    if pending != 0 || total != 0 {
        rows.named(" retrans:", pending.into());
        rows.named("/", total.into());
    }
    show_numbers(&[(" lost:", info.tcpi_lost.into())], rows);
    if row.message.idiag_state != State::Listen as u8 {
        show_numbers(&[(" sacked:", info.tcpi_sacked.into())], rows);
    }
    let numbers = [
        (" dsack_dups:", info.tcpi_dsack_dups.into()),
        (" fackets:", info.tcpi_fackets.into()),
    ];
    show_numbers(&numbers, rows);
    if info.tcpi_reordering != 3 {
        rows.push(b" reordering:");
        rows.signed(info.tcpi_reordering);
    }
    show_numbers(&[(" reord_seen:", info.tcpi_reord_seen.into())], rows);
}

fn show_receiver(info: &TcpInfo, rows: &mut Rows<'_>) {
    show_time(" rcv_rtt:", info.tcpi_rcv_rtt, rows);
    let numbers = [
        (" rcv_space:", info.tcpi_rcv_space.into()),
        (" rcv_ssthresh:", info.tcpi_rcv_ssthresh.into()),
        (" notsent:", info.tcpi_notsent_bytes.into()),
    ];
    show_numbers(&numbers, rows);
    if info.tcpi_min_rtt != u32::MAX {
        show_time(" minrtt:", info.tcpi_min_rtt, rows);
    }
    let numbers = [
        (" rcv_ooopack:", info.tcpi_rcv_ooopack.into()),
        (" snd_wnd:", info.tcpi_snd_wnd.into()),
    ];
    show_numbers(&numbers, rows);
}

fn show_bbr(bbr: &TcpBbrInfo, format: RateFormat, rows: &mut Rows<'_>) {
    rows.push(b" bbr:(bw:");
    bandwidth(bbr.bandwidth() as f64 * 8.0, format, rows.text());
    rows.push(b",mrtt:");
    thousandths(bbr.bbr_min_rtt, rows.text());
    for (name, gain) in [
        (",pacing_gain:", bbr.bbr_pacing_gain),
        (",cwnd_gain:", bbr.bbr_cwnd_gain),
    ] {
        if gain != 0 {
            rows.push(name.as_bytes());
            significant(f64::from(gain) / 256.0, 6, rows.text());
        }
    }
    rows.push(b")");
}

/// Writes each number that is not 0, with its name before it.
pub fn show_numbers(numbers: &[(&str, u64)], rows: &mut Rows<'_>) {
    for &(name, number) in numbers {
        if number != 0 {
            rows.named(name, number);
        }
    }
}

/// Converts a time from microseconds to milliseconds, and writes it if it is not 0.
fn show_time(name: &str, microseconds: u32, rows: &mut Rows<'_>) {
    if microseconds != 0 {
        rows.push(name.as_bytes());
        thousandths(microseconds, rows.text());
    }
}
