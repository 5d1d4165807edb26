//! Generates random but valid tables, which both lntu and ss read. Both must list the same
//! sockets, and under the name ss lntu must print the same bytes as ss.
#![no_main]

mod question;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use lntu::as_ss::{self, Paths};
use lntu::command::list;
use lntu::listener::{Family, Protocol};
use lntu::output::{Format, Output};
use lntu::snapshot::Snapshot;
use lntu::source::{Known, Source, SourceChoice, SourceOptions};
use question::Question;
use tempfile::TempDir;

fuzz_target!(|input: (Question, Tables)| {
    let (question, tables) = input;
    let proc = TempDir::new().expect("a directory");
    tables.write(proc.path());
    let listed = output_of_lntu(proc.path());
    let listed_by_ss = output_of_ss(proc.path(), &["-Hlntu".to_string()]);
    assert_eq!(sockets(&listed), sockets(&listed_by_ss));
    assert_same_bytes_as_ss(proc.path(), &question);
    assert_known_listeners_change_nothing(proc.path());
});

fn source(proc: &Path) -> Source {
    let options = SourceOptions {
        choice: SourceChoice::Proc(proc.to_path_buf()),
        ..SourceOptions::default()
    };
    Source::new(options, OsStr::new("")).unwrap()
}

fn output_of_lntu(proc: &Path) -> String {
    let path = proc.join("listed");
    let format = Format {
        no_header: true,
        ..Format::default()
    };
    let output = Output::open(Some(path.clone()), true).expect("a file");
    list::run(source(proc), format, output).expect("valid tables");
    fs::read_to_string(path).expect("text")
}

fn output_of_ss(proc: &Path, arguments: &[String]) -> String {
    let mut root = proc.as_os_str().to_owned();
    root.push("/");
    let ss = Command::new("ss")
        .args(arguments)
        .env("PROC_ROOT", root)
        .output();
    let ss = ss.expect("ss is installed");
    assert!(ss.status.success() && ss.stderr.is_empty(), "{ss:?}");
    String::from_utf8(ss.stdout).expect("text")
}

fn assert_same_bytes_as_ss(proc: &Path, Question(arguments): &Question) {
    let paths = Paths {
        proc_root: Some(proc.to_path_buf()),
        ..Paths::default()
    };
    let mut answer = Vec::new();
    let mut write = |text: &[u8]| {
        answer.extend(text);
        Ok(())
    };
    let own_arguments = arguments.iter().map(OsString::from);
    as_ss::answer(own_arguments, &paths, &mut write).expect("a valid question");
    let answer = String::from_utf8(answer).expect("text");
    assert_eq!(answer, output_of_ss(proc, arguments), "{arguments:?}");
}

/// Checks that a second poll finds the same listeners as the first one, although it may skip some
/// tables because it knows the listeners.
fn assert_known_listeners_change_nothing(proc: &Path) {
    let mut source = source(proc);
    let (mut first, mut second) = (Snapshot::default(), Snapshot::default());
    let answer = source.poll(Known::default(), &mut first);
    answer.expect("valid tables");
    let known = Known {
        listeners: Some(&first),
        may_be_late: true,
        expected: None,
    };
    let answer = source.poll(known, &mut second);
    answer.expect("valid tables");
    assert_eq!(first.listeners(), second.listeners());
}

/// Returns the netid, state, receive queue, address, port and family of each line. Every wildcard
/// address becomes `*`.
fn sockets(table: &str) -> BTreeSet<[String; 6]> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [netid, state, recv_q, _, local, peer] = fields[..] else {
            panic!("not a row: {line:?}");
        };
        let (address, port) = local.rsplit_once(':').expect("a port");
        // ss writes `*` for the IPv6 wildcard and for the peer of a dual-stack
        // socket.
        let is_v6 = address.starts_with('[') || peer.starts_with('[') || peer.starts_with('*');
        let address = match address {
            "0.0.0.0" | "[::]" => "*",
            address => address,
        };
        let family = if is_v6 { "6" } else { "4" };
        [netid, state, recv_q, address, port, family].map(str::to_string)
    };
    // A row without a port is a UDP socket that is still being bound. ss lists such a row, and lntu
    // leaves it out.
    let has_port = |socket: &[String; 6]| socket[4] != "*";
    table.lines().map(socket).filter(has_port).collect()
}

/// The contents of the files in one `/proc/net`.
#[derive(Debug)]
struct Tables {
    tcp: String,
    tcp6: Option<String>,
    udp: Option<String>,
    udp6: Option<String>,
    sockstat: Option<String>,
    sockstat6: Option<String>,
}

impl Tables {
    fn write(&self, proc: &Path) {
        let net = proc.join("net");
        fs::create_dir(&net).expect("a directory");
        for (name, contents) in [
            ("tcp", Some(&self.tcp)),
            ("tcp6", self.tcp6.as_ref()),
            ("udp", self.udp.as_ref()),
            ("udp6", self.udp6.as_ref()),
            ("sockstat", self.sockstat.as_ref()),
            ("sockstat6", self.sockstat6.as_ref()),
        ] {
            if let Some(contents) = contents {
                fs::write(net.join(name), contents).expect("a file");
            }
        }
    }
}

impl<'a> Arbitrary<'a> for Tables {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Tables> {
        let mut kernel = Kernel::arbitrary(bytes)?;
        let (has_v6, has_udp): (bool, bool) = bytes.arbitrary()?;
        let (tcp, tcp_count) = kernel.table(bytes, Protocol::Tcp, Family::V4)?;
        let mut table = |exists: bool, protocol, family| -> Result<(Option<String>, usize)> {
            if !exists {
                return Ok((None, 0));
            }
            let (text, count) = kernel.table(bytes, protocol, family)?;
            Ok((Some(text), count))
        };
        // ss stops at a missing `udp`, so there is no `udp6` without a `udp`.
        let (tcp6, tcp6_count) = table(has_v6, Protocol::Tcp, Family::V6)?;
        let (udp, udp_count) = table(has_udp, Protocol::Udp, Family::V4)?;
        let (udp6, udp6_count) = table(has_v6 && has_udp, Protocol::Udp, Family::V6)?;
        Ok(Tables {
            tcp,
            tcp6,
            udp,
            udp6,
            sockstat: kernel.has_sockstat.then(|| {
                format!(
                    "sockets: used 9\nTCP: inuse {tcp_count} orphan 0 tw 0 alloc 9 mem 0\n\
                     UDP: inuse {udp_count} mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\n"
                )
            }),
            sockstat6: (kernel.has_sockstat && has_v6)
                .then(|| format!("TCP6: inuse {tcp6_count}\nUDP6: inuse {udp6_count}\n")),
        })
    }
}

/// The properties that all tables of a machine share.
#[derive(Arbitrary)]
struct Kernel {
    /// Whether there is a `sockstat`. Without it, the order of the rows is random.
    has_sockstat: bool,
    is_padded: bool,
    has_pid_and_task: bool,
    has_short_pointers: bool,
    inode: u32,
}

impl Kernel {
    /// The text of a table, and the number of its sockets in use.
    fn table(
        &mut self,
        bytes: &mut Unstructured<'_>,
        protocol: Protocol,
        family: Family,
    ) -> Result<(String, usize)> {
        let length = bytes.int_in_range(0..=40)?;
        let mut rows = Vec::new();
        for _ in 0..length {
            let state = State::choose(bytes, protocol)?;
            let row = self.row(bytes, state, family)?;
            rows.push((state, row.clone()));
            if bytes.ratio(1, 16)? {
                rows.push((state, row));
            }
        }
        if self.has_sockstat {
            rows.sort_by_key(|(state, _)| !matches!(state.0, "0A" | "03"));
        }
        let in_use = rows.iter().filter(|(state, _)| state.has_inode()).count();
        let mut text = self.line("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode");
        for (slot, (_, row)) in rows.iter().enumerate() {
            text += &self.line(&format!("{slot:4}: {row}"));
        }
        Ok((text, in_use))
    }

    fn line(&self, text: &str) -> String {
        let width = if self.is_padded { 149 } else { 0 };
        format!("{text:<width$}\n")
    }

    /// A row without its slot number. Up to the state, the fields must have the same columns as in
    /// Linux, because ss relies on them. ss counts the later fields.
    fn row(
        &mut self,
        bytes: &mut Unstructured<'_>,
        state: State,
        family: Family,
    ) -> Result<String> {
        let local = endpoint(bytes, family)?;
        // The peer of a socket without a connection consists of zeros, unless the socket still has
        // the peer of an earlier connection.
        let no_peer = local
            .chars()
            .map(|digit| if digit == ':' { ':' } else { '0' })
            .collect();
        let peer: String = match state.0 {
            "0A" | "07" if bytes.arbitrary()? => no_peer,
            _ => endpoint(bytes, family)?,
        };
        let mut row = format!("{local} {peer} {} ", state.0);
        // In the kernel, the length of a queue is an `int` that is not negative.
        let queue = |bytes: &mut Unstructured<'_>| {
            Ok(match bytes.arbitrary::<u8>()? {
                0..200 => 0,
                200..240 => u32::from(bytes.arbitrary::<u16>()?),
                240.. => bytes.arbitrary::<u32>()? >> 1,
            })
        };
        let tx_queue = if state.0 == "0A" { 0 } else { queue(bytes)? };
        let rx_queue = queue(bytes)?;
        let (timer, when): (u8, u16) = bytes.arbitrary()?;
        let timer = timer % 5;
        let uid = *bytes.choose(&["0", "1000", "-1", "4294967294"])?;
        let inode = if state.has_inode() {
            self.inode = self.inode.checked_add(1).unwrap_or(1);
            self.inode
        } else {
            0
        };
        let pointer = match (self.has_short_pointers, bytes.arbitrary::<u64>()?) {
            (true, pointer) => format!("{:08x}", pointer as u32),
            (false, pointer) => format!("{pointer:016x}"),
        };
        let _ = write!(
            row,
            "{tx_queue:08X}:{rx_queue:08X} {timer:02X}:{when:08X} 00000000 {uid:>5} {:>8} {inode} 1 {pointer}",
            0
        );
        match state.0 {
            "03" | "06" => {}
            "07" => row += " 0",
            _ if self.has_pid_and_task => row += " 299 0 0 2 -1 300 dnsmasq",
            _ => row += *bytes.choose(&[" 100 0 0 10 0", " 100 0 0 10 -1", " 20 4 30 10 7", ""])?,
        }
        Ok(row)
    }
}

/// A state as two hexadecimal digits.
#[derive(Clone, Copy)]
struct State(&'static str);

impl State {
    /// Chooses a state that rows of a table can have. A TCP socket in CLOSE is in no table, and the
    /// kernel prints NEW_SYN_RECV as SYN_RECV.
    fn choose(bytes: &mut Unstructured<'_>, protocol: Protocol) -> Result<State> {
        let states: &[&str] = match protocol {
            Protocol::Tcp => &[
                "0A", "0A", "0A", "0A", "0A", "01", "02", "03", "04", "05", "06", "08", "09", "0B",
            ],
            Protocol::Udp => &["07", "07", "07", "01"],
        };
        bytes.choose(states).copied().map(State)
    }

    /// Whether the row has an inode. TIME_WAIT and SYN_RECV rows do not.
    fn has_inode(self) -> bool {
        !matches!(self.0, "03" | "06")
    }
}

/// `ADDRESS:PORT` as the kernel prints it. The address is a series of native integers.
fn endpoint(bytes: &mut Unstructured<'_>, family: Family) -> Result<String> {
    let mut text = String::new();
    let octets = match family {
        Family::V4 => v4(bytes)?.octets().to_vec(),
        Family::V6 => v6(bytes)?.octets().to_vec(),
    };
    for word in octets.chunks_exact(4) {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        let _ = write!(text, "{word:08X}");
    }
    let port: u16 = bytes.arbitrary()?;
    let _ = write!(text, ":{port:04X}");
    Ok(text)
}

fn v4(bytes: &mut Unstructured<'_>) -> Result<Ipv4Addr> {
    Ok(match bytes.arbitrary::<u8>()? {
        0..80 => Ipv4Addr::UNSPECIFIED,
        80..120 => Ipv4Addr::LOCALHOST,
        120.. => {
            let zeros: u8 = bytes.arbitrary()?;
            let mut octets: [u8; 4] = bytes.arbitrary()?;
            for (bit, octet) in octets.iter_mut().enumerate() {
                *octet *= zeros >> bit & 1;
            }
            octets.into()
        }
    })
}

fn v6(bytes: &mut Unstructured<'_>) -> Result<Ipv6Addr> {
    Ok(match bytes.arbitrary::<u8>()? {
        0..40 => Ipv6Addr::UNSPECIFIED,
        40..60 => Ipv6Addr::LOCALHOST,
        60..100 => v4(bytes)?.to_ipv6_mapped(),
        100..120 => {
            let [a, b, c, d] = v4(bytes)?.octets();
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d].into()
        }
        // Zero some words, because runs of zero words are shortened when an address is printed.
        120.. => {
            let zeros: u8 = bytes.arbitrary()?;
            let mut words: [u16; 8] = bytes.arbitrary()?;
            for (bit, word) in words.iter_mut().enumerate() {
                *word *= u16::from(zeros >> bit & 1);
            }
            words.into()
        }
    })
}
