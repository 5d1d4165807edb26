//! `ss -lntu`, or `ss -lntup`, as a source: find it, run it under a deadline, read its lines.
//!
//! ss is taken at its word only when it finished well. What is done about an
//! answer without rows, and after a failure, is for `source` to decide.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Shutdown};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::holders;
use super::procnet::scan::Scanner;
use crate::listener::{Endpoint, Family, Holder, Holders, Interface, Listener, Protocol};
use crate::sys;

/// How long one run may take in all.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// How many bytes of what it writes to stderr are of interest.
const MOST_NOISE: u64 = 256;
/// How long ss is left alone after a run passed its deadline.
const PAUSE_AFTER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a line with processes may be. Memory is taken only by those that come.
/// ss cuts a cell off at 64 KiB.
const LONGEST_LINE: usize = 128 * 1024;
/// A kernel that escapes a name in `/proc/PID/stat` makes 15 bytes so many at most.
const LONGEST_NAME: usize = 30;

/// The ss program of this system, if it has one.
#[derive(Debug)]
pub struct Ss {
    /// Where it may stand, in the order of `PATH`.
    candidates: Vec<PathBuf>,
    /// This program's own file, as (device, inode).
    own_file: Option<(u64, u64)>,
    arguments: &'static str,
    left_alone_until: Option<Instant>,
    reader: AnswerReader,
}

/// Why a run of ss gave no answer that can be relied on.
#[derive(Debug)]
pub enum SsError {
    /// No absolute directory of `PATH` holds an executable ss.
    NotFound,
    /// It passed its deadline less than a minute ago and was not run.
    LeftAlone,
    /// It could not be started.
    Start(PathBuf, io::Error),
    /// It did not finish within [`DEADLINE`].
    TimedOut,
    /// Its output could not be read.
    Read(io::Error),
    /// It ended with another status than 0.
    Exit(ExitStatus),
    /// It wrote to stderr; the first line of that.
    Stderr(String),
    /// It did not start with the header `Netid State … Peer Address:Port`.
    NoHeader,
    /// A line that cannot be read as a socket.
    Line(String),
    /// It printed its header and nothing more, which proves nothing. Not
    /// returned by [`Ss::read`]; an answer without rows needs a second opinion.
    NoRows,
    /// Its wildcards do not tell IPv4 from IPv6, as in iproute2 4.13.
    FamiliesAlike,
}

impl fmt::Display for SsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SsError::NotFound => f.write_str("ss: not found in PATH"),
            SsError::LeftAlone => f.write_str("ss: timed out before, left alone for a minute"),
            SsError::Start(path, error) => write!(f, "{}: {error}", path.display()),
            SsError::TimedOut => write!(f, "ss: not finished after {} s", DEADLINE.as_secs()),
            SsError::Read(error) => write!(f, "ss: reading its output: {error}"),
            SsError::Exit(status) => write!(f, "ss: {status}"),
            SsError::Stderr(line) => write!(f, "ss: wrote to stderr: {line}"),
            SsError::NoHeader => f.write_str("ss: its output has no header"),
            SsError::Line(line) => write!(f, "ss: cannot read its line '{line}'"),
            SsError::NoRows => f.write_str("ss: printed no listeners"),
            SsError::FamiliesAlike => {
                f.write_str("ss: this version prints IPv4 and IPv6 wildcards alike")
            }
        }
    }
}

impl std::error::Error for SsError {}

impl Ss {
    /// Looks for ss in the directories of `path`, the value of `PATH`. It is
    /// asked for `processes` too or not.
    ///
    /// Relative and empty entries are passed over: they would run whatever
    /// stands in the working directory.
    pub fn in_path(path: &std::ffi::OsStr, processes: bool) -> Ss {
        let own_file = std::env::current_exe().and_then(fs::metadata).ok();
        Ss {
            candidates: std::env::split_paths(path)
                .filter(|directory| directory.is_absolute())
                .map(|directory| directory.join("ss"))
                .collect(),
            own_file: own_file.map(|file| (file.dev(), file.ino())),
            arguments: if processes { "-lntup" } else { "-lntu" },
            left_alone_until: None,
            reader: AnswerReader::new(processes),
        }
    }

    /// Runs ss once and appends its listeners to `listeners`.
    ///
    /// # Errors
    /// Any [`SsError`]; `listeners` then holds a part of a snapshot and must
    /// not be used.
    pub fn read(&mut self, listeners: &mut Vec<Listener>) -> Result<(), SsError> {
        let program = self.find().ok_or(SsError::NotFound)?;
        if self.left_alone_until.is_some_and(|t| Instant::now() < t) {
            return Err(SsError::LeftAlone);
        }
        let deadline = Instant::now() + DEADLINE;
        let result = Run::start(program, self.arguments, deadline).and_then(|mut run| {
            let has_header = self.reader.read(&mut run.stdout, listeners)?;
            run.finish()?;
            has_header.then_some(()).ok_or(SsError::NoHeader)
        });
        if matches!(result, Err(SsError::TimedOut)) {
            self.left_alone_until = Some(Instant::now() + PAUSE_AFTER_TIMEOUT);
        }
        result
    }

    /// The first candidate that can be executed and is not this program.
    fn find(&self) -> Option<&Path> {
        self.candidates.iter().map(PathBuf::as_path).find(|path| {
            fs::metadata(path).is_ok_and(|file| {
                file.is_file()
                    && file.mode() & 0o111 != 0
                    && Some((file.dev(), file.ino())) != self.own_file
            })
        })
    }
}

/// One running ss. Whatever happens, dropping it ends and reaps it.
struct Run {
    child: Child,
    stdout: UntilDeadline,
    stderr: UntilDeadline,
}

impl Run {
    /// Its three streams are Unix sockets: their reads can time out, which
    /// those of a pipe cannot with std alone, and an image may lack `/dev/null`.
    fn start(program: &Path, arguments: &str, deadline: Instant) -> Result<Run, SsError> {
        let start = || {
            let (stdin, its_stdin) = UnixStream::pair()?;
            stdin.shutdown(Shutdown::Both)?;
            let (stdout, its_stdout) = UnixStream::pair()?;
            let (stderr, its_stderr) = UnixStream::pair()?;
            let child = Command::new(program)
                .arg(arguments)
                .stdin(OwnedFd::from(its_stdin))
                .stdout(OwnedFd::from(its_stdout))
                .stderr(OwnedFd::from(its_stderr))
                .process_group(0)
                .spawn()?;
            sys::set_child_group(child.id());
            let until_deadline = |stream| UntilDeadline { stream, deadline };
            Ok(Run {
                child,
                stdout: until_deadline(stdout),
                stderr: until_deadline(stderr),
            })
        };
        start().map_err(|error| SsError::Start(program.to_path_buf(), error))
    }

    /// Waits for the end of a run whose stdout was read to its end, and
    /// judges it: status 0 and a silent stderr.
    fn finish(mut self) -> Result<(), SsError> {
        let mut noise = Vec::new();
        let mut stderr = (&mut self.stderr).take(MOST_NOISE);
        stderr.read_to_end(&mut noise).map_err(SsError::from_read)?;
        if !noise.is_empty() {
            let text = String::from_utf8_lossy(&noise);
            let first = text.lines().next().unwrap_or_default();
            return Err(SsError::Stderr(first.trim_end().to_string()));
        }
        // Its streams are closed, so it is ending or about to: std can only
        // wait for ever or not at all, hence these short sleeps.
        loop {
            match self.child.try_wait().map_err(SsError::Read)? {
                Some(status) => {
                    sys::set_child_group(0);
                    return status.success().then_some(()).ok_or(SsError::Exit(status));
                }
                None if Instant::now() >= self.stderr.deadline => return Err(SsError::TimedOut),
                None => thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        sys::kill_child_group();
        sys::set_child_group(0);
        let _ = self.child.wait();
    }
}

/// A stream whose reads fail with `WouldBlock` once the deadline has passed.
struct UntilDeadline {
    stream: UnixStream,
    deadline: Instant,
}

impl Read for UntilDeadline {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

impl SsError {
    fn from_read(error: io::Error) -> SsError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => SsError::TimedOut,
            _ => SsError::Read(error),
        }
    }

    fn line(bytes: &[u8]) -> SsError {
        const SHOWN: usize = 80;
        let shown = &bytes[..bytes.len().min(SHOWN)];
        SsError::Line(String::from_utf8_lossy(shown).into_owned())
    }
}

/// Reads what `ss -lntu` prints, in the style of any version.
///
/// The style of an address differs: the IPv4 wildcard is `0.0.0.0` or, before
/// 2017, `*`; the IPv6 one is `[::]`, or `*` when it takes IPv4 too, or before
/// 2017 `::`. So what `*` means follows from the other addresses of an answer.
#[derive(Debug)]
pub struct AnswerReader {
    scanner: Scanner,
    /// The cell of processes of one row.
    cell: Vec<u8>,
    /// Which of the listeners have a `*` that their own line does not explain.
    undecided: Vec<usize>,
}

impl AnswerReader {
    /// A reader of answers, with `processes` or without.
    pub fn new(processes: bool) -> AnswerReader {
        AnswerReader {
            scanner: match processes {
                true => Scanner::with_capacity(LONGEST_LINE),
                false => Scanner::default(),
            },
            cell: Vec::new(),
            undecided: Vec::new(),
        }
    }

    /// Appends the listeners of one answer to `listeners`. False when no line
    /// came, not even a header.
    ///
    /// # Errors
    /// [`SsError::NoHeader`], [`SsError::Line`], [`SsError::FamiliesAlike`],
    /// and the reader's own: [`SsError::TimedOut`], [`SsError::Read`].
    pub fn read(
        &mut self,
        reader: impl Read,
        listeners: &mut Vec<Listener>,
    ) -> Result<bool, SsError> {
        self.undecided.clear();
        let mut lines = self.scanner.lines(reader);
        let mut style = match lines.next().map_err(SsError::from_read)? {
            Some(line) if is_header(line.bytes) => Style::of_header(line.bytes),
            Some(_) => return Err(SsError::NoHeader),
            None => return Ok(false),
        };
        while let Some(line) = lines.next().map_err(SsError::from_read)? {
            let (row, cell) = split_off_processes(line.bytes);
            let unreadable = || SsError::line(line.bytes);
            let is_whole = line.terminated;
            let mut row = parse_row(row, &mut style)
                .filter(|_| is_whole)
                .ok_or_else(unreadable)?;
            if let Some(cell) = cell {
                self.cell.clear();
                self.cell.extend_from_slice(cell);
                // ss prints a name as it is, and it may hold a newline.
                let is_end = |text: &[u8]| text.trim_ascii_end().ends_with(b"))");
                let mut is_at_end = is_end(cell);
                while !is_at_end {
                    let more = lines.next().map_err(SsError::from_read)?;
                    let more =
                        more.filter(|more| self.cell.len() + more.bytes.len() < LONGEST_LINE);
                    let more = more.ok_or_else(|| SsError::line(&self.cell))?;
                    self.cell.push(b'\n');
                    self.cell.extend_from_slice(more.bytes);
                    is_at_end = is_end(more.bytes);
                }
                let processes = parse_processes(self.cell.trim_ascii_end());
                let processes = processes.ok_or_else(|| SsError::line(&self.cell))?;
                if let SsRow::Listener(listener) | SsRow::OnStar(listener) = &mut row {
                    listener.holders = Holders::new(processes);
                }
            }
            match row {
                SsRow::Listener(listener) => listeners.push(listener),
                SsRow::OnStar(listener) => {
                    self.undecided.push(listeners.len());
                    listeners.push(listener);
                }
                SsRow::Other => {}
            }
        }
        if lines.overlong() > 0 {
            return Err(SsError::line(b"(over-long)"));
        }
        if !self.undecided.is_empty() {
            let wildcard = style.meaning_of_star().ok_or(SsError::FamiliesAlike)?;
            for &index in &self.undecided {
                let listener = &mut listeners[index];
                listener.endpoint.address = wildcard;
                listener.peer.address = wildcard;
                // ss writes `[::]` for one that takes no IPv4, if it knows.
                let knows = wildcard.is_ipv6() && style.from_netlink[listener.protocol as usize];
                listener.v6_only = knows.then_some(false);
            }
        }
        Ok(true)
    }
}

/// A row, and its cell of processes if it has one. No other cell can hold
/// this: the name of an interface has no colon.
fn split_off_processes(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut starts = line.windows(PROCESSES.len());
    match starts.position(|window| window == PROCESSES) {
        Some(start) => (&line[..start], Some(&line[start..])),
        None => (line, None),
    }
}

const PROCESSES: &[u8] = b"users:((";

/// The processes of `users:(("NAME",pid=12,fd=3),("NAME",pid=13,fd=3))`, or as
/// before 2015, `users:(("NAME",12,3))`.
///
/// ss writes a NAME as it is, cut off before its first `)`: so a `)` ends a
/// process, whatever its NAME holds.
fn parse_processes(cell: &[u8]) -> Option<Vec<Holder>> {
    let mut rest = cell.strip_prefix(PROCESSES)?;
    let mut processes = Vec::new();
    loop {
        let end = memchr::memchr(b')', rest)?;
        let mut parts = rest[..end].rsplitn(3, |byte| *byte == b',');
        let mut number = |prefix| {
            let part = str::from_utf8(parts.next()?).ok()?;
            part.strip_prefix(prefix).unwrap_or(part).parse().ok()
        };
        let (fd, pid) = (number("fd=")?, number("pid=").filter(|&pid| pid > 0)?);
        let name = parts.next()?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        // What is longer holds a row that follows a cell that was cut off.
        let name = (name.len() <= LONGEST_NAME).then(|| name.to_vec())?;
        processes.push(Holder { name, pid, fd });
        rest = match &rest[end + 1..] {
            b")" => return Some(processes),
            more => more.strip_prefix(b",(")?,
        };
    }
}

/// `processes` of an answer with the names that ss cut off completed, so that
/// they are those that `/proc` gives.
pub fn with_whole_names(processes: &Holders) -> Holders {
    let whole = |process: &Holder| {
        let directory = format!("/proc/{}", process.pid);
        let whole = holders::name_in_comm(directory.as_ref()).ok()?;
        let cut = whole.split(|byte| *byte == b')').next();
        (cut == Some(&process.name)).then_some(whole)
    };
    let renamed = processes.as_slice().iter().map(|process| Holder {
        name: whole(process).unwrap_or_else(|| process.name.clone()),
        ..*process
    });
    Holders::new(renamed)
}

/// Whether these are the columns that [`parse_row`] reads, in its order; others
/// may follow. Some versions print so narrow that `NetidState` runs together.
fn is_header(line: &[u8]) -> bool {
    let columns = b"NetidStateRecv-QSend-QLocalAddress:PortPeerAddress:Port";
    let mut letters = line.iter().filter(|byte| !byte.is_ascii_whitespace());
    columns.iter().all(|column| letters.next() == Some(column))
}

/// What the lines of an answer betray of the version that printed them.
#[derive(Debug, Default)]
struct Style {
    /// The header is spaced as every version before 4.15 did.
    fixed_header: bool,
    /// An IPv6 address without brackets: before 4.13.
    bare_v6: bool,
    /// A local address in brackets: since 4.13.
    brackets: bool,
    /// An IPv4 address whose peer is `*`: before 4.14.
    star_peer_of_v4: bool,
    /// `0.0.0.0`, or a peer in brackets: since 4.14.
    telling_wildcards: bool,
    /// For each protocol, something that ss knows from netlink only: a backlog, an
    /// interface, or `[::]`. Where ss had to read `/proc`, it writes `*` for every
    /// IPv6 wildcard.
    from_netlink: [bool; 2],
}

impl Style {
    fn of_header(line: &[u8]) -> Style {
        Style {
            fixed_header: line.starts_with(b"Netid State      Recv-Q Send-Q "),
            ..Style::default()
        }
    }

    fn note(&mut self, local: &SsEndpoint, peer: &SsEndpoint) {
        let is_v4 = local.address.is_some_and(|address| address.is_ipv4());
        let is_bare_v6 = |endpoint: &SsEndpoint| {
            !endpoint.bracketed && endpoint.address.is_some_and(|address| address.is_ipv6())
        };
        self.bare_v6 |= is_bare_v6(local) || is_bare_v6(peer);
        self.brackets |= local.bracketed;
        self.star_peer_of_v4 |= is_v4 && peer.address.is_none();
        self.telling_wildcards |= peer.bracketed || peer.address == Some(Family::V4.wildcard());
    }

    /// The wildcard that `*` stands for where its peer is `*` too, or `None`
    /// where it may be either: 4.13, which few systems had, printed all
    /// wildcards so. Where nothing tells it from the versions before, it is
    /// taken for one of those.
    fn meaning_of_star(&self) -> Option<IpAddr> {
        let is_old = self.star_peer_of_v4 || self.fixed_header;
        if self.bare_v6 {
            Some(Family::V4.wildcard())
        } else if self.telling_wildcards || !is_old {
            Some(Family::V6.wildcard())
        } else {
            (!self.brackets).then_some(Family::V4.wildcard())
        }
    }
}

/// One line after the header.
enum SsRow {
    Listener(Listener),
    /// One on a `*` whose family the style of the answer decides.
    OnStar(Listener),
    /// A socket in another state.
    Other,
}

/// `None` if the line cannot be read as a row.
fn parse_row(line: &[u8], style: &mut Style) -> Option<SsRow> {
    let text = std::str::from_utf8(line).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let protocol = match fields.next()? {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    let state = fields.next()?;
    let recv_q = fields.next()?.parse().ok()?;
    let send_q = fields.next()?.parse().ok()?;
    let local = SsEndpoint::parse(fields.next()?)?;
    let peer = SsEndpoint::parse(fields.next()?)?;
    if state != protocol.listening_state() {
        return Some(SsRow::Other);
    }
    style.note(&local, &peer);
    let is_v6_only = local.bracketed && local.address == Some(Family::V6.wildcard());
    let has_backlog = protocol == Protocol::Tcp && send_q > 0;
    style.from_netlink[protocol as usize] |= has_backlog || is_v6_only || local.interface.is_some();
    // Where the peer's wildcard tells its family, it tells the local one's too.
    let wildcard = peer.address.filter(IpAddr::is_unspecified);
    let address = local.address.or(wildcard);
    let endpoint = Endpoint {
        port: local.port,
        address: address.unwrap_or(Family::V6.wildcard()),
    };
    let listener = Listener {
        interface: local.interface,
        recv_q,
        send_q,
        v6_only: is_v6_only.then_some(true),
        ..Listener::new(protocol, endpoint)
    };
    Some(match address {
        Some(_) => SsRow::Listener(listener),
        None => SsRow::OnStar(listener),
    })
}

/// `ADDRESS:PORT` as ss prints it.
struct SsEndpoint {
    /// `None` for `*`.
    address: Option<IpAddr>,
    bracketed: bool,
    interface: Option<Interface>,
    port: u16,
}

impl SsEndpoint {
    fn parse(text: &str) -> Option<SsEndpoint> {
        let (host, port) = text.rsplit_once(':')?;
        let (host, interface) = match host.split_once('%') {
            None => (host, None),
            // `[fe80::1]%eth0`, or as some wrote it, `[fe80::1%eth0]`.
            Some((host, name)) => {
                let name = match host.starts_with('[') && !host.ends_with(']') {
                    true => name.strip_suffix(']')?,
                    false => name,
                };
                (host, Some(Interface::new(name.as_bytes())?))
            }
        };
        let in_brackets = host.strip_prefix('[');
        let address = match in_brackets {
            _ if host == "*" => None,
            None => Some(host.parse().ok()?),
            Some(v6) => Some(IpAddr::V6(v6.strip_suffix(']').unwrap_or(v6).parse().ok()?)),
        };
        let port = match port {
            "*" => 0,
            port => port.parse().ok()?,
        };
        Some(SsEndpoint {
            address,
            bracketed: in_brackets.is_some(),
            interface,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: &str =
        "Netid State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess\n";
    const FIXED: &str =
        "Netid State      Recv-Q Send-Q     Local Address:Port      Peer Address:Port\n";

    fn read(answer: &str) -> Result<Vec<String>, String> {
        let mut listeners = Vec::new();
        match AnswerReader::new(false).read(answer.as_bytes(), &mut listeners) {
            Ok(true) => Ok(listeners.iter().map(shown).collect()),
            Ok(false) => Err("no header".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// `tcp 0.0.0.0 22`, and `%interface` if there is one.
    fn shown(listener: &Listener) -> String {
        let Endpoint { address, port } = listener.endpoint;
        let name = listener.interface.map(|name| format!("%{}", name.as_str()));
        let name = name.unwrap_or_default();
        format!("{} {address}{name} {port}", listener.protocol.name())
    }

    fn rows(header: &str, rows: &[&str]) -> String {
        format!("{header}{}\n", rows.join("\n"))
    }

    #[test]
    fn todays_style_is_read() {
        let answer = rows(
            NARROW,
            &[
                "udp   UNCONN 0      0      127.0.0.53%lo:53        0.0.0.0:*    ",
                "udp   UNCONN 0      0      [fe80::1]%eth0:546         [::]:*    ",
                "tcp   LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    ",
                "tcp   LISTEN 0      128             [::]:22           [::]:*    ",
                "tcp   LISTEN 0      511                *:80              *:*    users:((\"a b\",pid=1,fd=3))",
                "tcp   LISTEN 0      4096 [::ffff:127.0.0.1]:8080         *:*    ",
                "tcp   LISTEN 3      4096           [::1]:631          [::]:*    ",
            ],
        );
        let expected = [
            "udp 127.0.0.53%lo 53",
            "udp fe80::1%eth0 546",
            "tcp 0.0.0.0 22",
            "tcp :: 22",
            "tcp :: 80",
            "tcp ::ffff:127.0.0.1 8080",
            "tcp ::1 631",
        ];
        assert_eq!(read(&answer).unwrap(), expected);
    }

    #[test]
    fn the_style_before_2017_is_read() {
        let answer = rows(
            FIXED,
            &[
                "udp    UNCONN     0      0              *:68                 *:*",
                "udp    UNCONN     0      0       fe80::1%eth0:546           :::*",
                "tcp    LISTEN     0      128    127.0.0.1:25                 *:*",
                "tcp    LISTEN     0      128            *:22                 *:*",
                "tcp    LISTEN     0      128           :::22                :::*",
                "tcp    LISTEN     0      128          ::1:631               :::*",
                "tcp    LISTEN     0      50  ::ffff:127.0.0.1:9005          :::*",
            ],
        );
        let expected = [
            "udp 0.0.0.0 68",
            "udp fe80::1%eth0 546",
            "tcp 127.0.0.1 25",
            "tcp 0.0.0.0 22",
            "tcp :: 22",
            "tcp ::1 631",
            "tcp ::ffff:127.0.0.1 9005",
        ];
        assert_eq!(read(&answer).unwrap(), expected);
    }

    #[test]
    fn a_star_alone_means_what_the_rest_of_the_answer_says() {
        let star = "tcp LISTEN 0 128 *:22 *:*";
        let meaning = |header, other: &[&str]| {
            let answer = rows(header, &[&[star], other].concat());
            read(&answer).map(|listeners| listeners[0].clone())
        };
        let (v4, v6) = ("tcp 0.0.0.0 22".to_string(), "tcp :: 22".to_string());
        assert_eq!(meaning(NARROW, &[]), Ok(v6.clone()));
        assert_eq!(meaning(FIXED, &[]), Ok(v4.clone()));
        let zeros = ["tcp LISTEN 0 9 0.0.0.0:80 0.0.0.0:*"];
        assert_eq!(meaning(FIXED, &zeros), Ok(v6.clone()));
        let brackets = ["tcp LISTEN 0 9 [::1]:80 [::]:*"];
        assert_eq!(meaning(FIXED, &brackets), Ok(v6));
        let bare = ["tcp LISTEN 0 9 :::80 :::*"];
        assert_eq!(meaning(NARROW, &bare), Ok(v4.clone()));
        let old_v4 = ["tcp LISTEN 0 9 127.0.0.1:80 *:*"];
        assert_eq!(meaning(NARROW, &old_v4), Ok(v4));
        let v4_13 = "tcp LISTEN 0 9 [::1]:80 *:*";
        assert!(meaning(FIXED, &[v4_13]).unwrap_err().contains("alike"));
        let alike = [old_v4[0], v4_13];
        assert!(meaning(FIXED, &alike).unwrap_err().contains("alike"));
    }

    #[test]
    fn a_listener_has_no_peer_of_another_family() {
        let stars = "tcp LISTEN 0 128 *:22 *:*\ntcp LISTEN 0 128 :::22 :::*";
        let mut listeners = Vec::new();
        let answer = rows(FIXED, &[stars]);
        let mut reader = AnswerReader::new(false);
        reader.read(answer.as_bytes(), &mut listeners).unwrap();
        for listener in &listeners {
            assert_eq!(listener.peer.address, listener.endpoint.address);
        }
        assert_eq!(listeners.len(), 2);
    }

    #[test]
    fn a_star_is_explained_by_its_own_peer() {
        let answer = rows(
            NARROW,
            &[
                "tcp LISTEN 0 0 *:80 0.0.0.0:*",
                "tcp LISTEN 0 0 *:81 [::]:*",
                "udp UNCONN 0 0 *%eth0:68 0.0.0.0:*",
            ],
        );
        let expected = ["tcp 0.0.0.0 80", "tcp :: 81", "udp 0.0.0.0%eth0 68"];
        assert_eq!(read(&answer).unwrap(), expected);
    }

    #[test]
    fn an_interface_is_read_in_and_behind_brackets_and_may_hold_some_itself() {
        let answer = rows(
            NARROW,
            &[
                "tcp LISTEN 0 0 [fe80::1]%eth0:80 [::]:*",
                "tcp LISTEN 0 0 [fe80::1%eth0]:80 [::]:*",
                "tcp LISTEN 0 0 [fe80::1]%a]:80 [::]:*",
                "tcp LISTEN 0 0 *%]:80 0.0.0.0:*",
            ],
        );
        let expected = [
            "tcp fe80::1%eth0 80",
            "tcp fe80::1%eth0 80",
            "tcp fe80::1%a] 80",
            "tcp 0.0.0.0%] 80",
        ];
        assert_eq!(read(&answer).unwrap(), expected);
    }

    #[test]
    fn queues_are_read() {
        let answer = rows(NARROW, &["tcp LISTEN 3 4096 [::1]:80 [::]:*"]);
        let mut listeners = Vec::new();
        AnswerReader::new(false)
            .read(answer.as_bytes(), &mut listeners)
            .unwrap();
        assert_eq!((listeners[0].recv_q, listeners[0].send_q), (3, 4096));
    }

    /// What the rows of an answer say about `v6only`.
    fn read_v6_only(rows: &str) -> Vec<Option<bool>> {
        let mut listeners = Vec::new();
        let answer = format!("{NARROW}{rows}");
        let read = AnswerReader::new(false).read(answer.as_bytes(), &mut listeners);
        assert!(read.unwrap());
        listeners.iter().map(|listener| listener.v6_only).collect()
    }

    #[test]
    fn a_star_takes_ipv4_where_ss_got_its_answer_from_netlink() {
        let star = "tcp LISTEN 0 128 *:80 *:*\n";
        let only = "tcp LISTEN 0 128 [::]:81 [::]:*\n";
        let v4 = "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n";
        assert_eq!(read_v6_only(star), [Some(false)]);
        assert_eq!(
            read_v6_only(&format!("{star}{only}")),
            [Some(false), Some(true)]
        );
        // Where ss reads /proc it knows neither backlog nor v6only.
        let star_of_proc = "tcp LISTEN 0 0 *:80 *:*\n";
        assert_eq!(read_v6_only(star_of_proc), [None]);
        assert_eq!(
            read_v6_only(&format!("{star_of_proc}{v4}")),
            [Some(false), None]
        );
        // Each protocol is asked for by itself.
        let udp = "udp UNCONN 0 0 *:53 *:*\n";
        assert_eq!(read_v6_only(&format!("{star}{udp}")), [Some(false), None]);
        for known in ["127.0.0.53%lo:53 0.0.0.0:*", "[::]:54 [::]:*"] {
            let v6_only = read_v6_only(&format!("{udp}udp UNCONN 0 0 {known}\n"));
            assert_eq!(v6_only[0], Some(false), "{known}");
        }
        // Before 2017 ss did not tell.
        assert_eq!(read_v6_only("tcp LISTEN 0 128 :::80 :::*\n"), [None]);
    }

    fn read_processes(cells: &str) -> Result<Vec<Holders>, String> {
        let answer = format!("{NARROW}tcp LISTEN 0 128 *:80 *:* {cells}\n");
        let mut listeners = Vec::new();
        let result = AnswerReader::new(true).read(answer.as_bytes(), &mut listeners);
        result.map_err(|error| error.to_string())?;
        Ok(listeners.into_iter().map(|l| l.holders).collect())
    }

    #[test]
    fn processes_are_read_whatever_their_names_hold() {
        let process = |name: &str, pid, fd| Holder {
            name: name.into(),
            pid,
            fd,
        };
        for (cell, expected) in [
            ("", vec![]),
            (
                r#"users:(("a b",pid=1,fd=3))   "#,
                vec![process("a b", 1, 3)],
            ),
            (r#"users:(("sshd",12,3))"#, vec![process("sshd", 12, 3)]),
            (
                r#"users:(("x",pid=1,fd=9",pid=13,fd=4),("",pid=12,fd=4))"#,
                vec![process(r#"x",pid=1,fd=9"#, 13, 4), process("", 12, 4)],
            ),
            (
                "users:((\"a \"b\"\n\",pid=3,fd=4),(\"\n\n\",pid=2,fd=4)) ",
                vec![process("a \"b\"\n", 3, 4), process("\n\n", 2, 4)],
            ),
        ] {
            let read = read_processes(cell).unwrap();
            assert_eq!(read, [Holders::new(expected)], "{cell}");
        }
        let two = "users:((\"a\",pid=3,fd=4))\ntcp LISTEN 0 128 *:81 *:*";
        assert_eq!(read_processes(two).unwrap().len(), 2);
        let many = vec![r#"("nginx",pid=12,fd=6)"#; 2800].join(",");
        let read = read_processes(&format!("users:({many})")).unwrap();
        assert!(!read[0].is_empty());
    }

    #[test]
    fn processes_that_cannot_be_read_are_refused() {
        for cell in [
            "users:((",
            "users:(())",
            r#"users:(("a",pid=1,fd=3)"#,
            r#"users:(("a",pid=x,fd=3))"#,
            r#"users:(("a",pid=0,fd=3))"#,
            r#"users:(("a",pid=1,fd=3),)"#,
            r#"users:(("a,pid=1,fd=3))"#,
            r#"users:((a",pid=1,fd=3))"#,
            r#"users:(("a",pid=1,fd=3)) more"#,
        ] {
            let error = read_processes(cell).unwrap_err();
            assert!(error.contains("cannot read its line"), "{cell}: {error}");
        }
        let many = vec![r#"("nginx",pid=12,fd=6)"#; 4000].join(",");
        let cut = &format!("users:({many}")[..65_535];
        let row = r#"tcp LISTEN 0 128 *:81 *:* users:(("a",pid=3,fd=4))"#;
        assert!(read_processes(&format!("{cut}\n{row}")).is_err());
        // ss cuts a cell off at 65,535 bytes, and the next row follows.
        let many = vec![r#"("nginx",pid=12,fd=6)"#; 3000].join(",");
        let cut = &format!("users:({many}")[..65_535];
        let row = r#"tcp LISTEN 0 128 *:81 *:* users:(("a",pid=3,fd=4))"#;
        assert!(read_processes(&format!("{cut}\n{row}")).is_err());
        let endless = format!("users:((\"{}", "x\n".repeat(LONGEST_LINE));
        assert!(read_processes(&endless).is_err());
    }

    #[test]
    fn a_header_alone_is_an_answer_without_listeners() {
        assert_eq!(read(NARROW), Ok(vec![]));
        let narrower = "NetidState Recv-QSend-QLocal Address:Port Peer Address:Port\n";
        assert_eq!(read(narrower), Ok(vec![]));
    }

    #[test]
    fn sockets_in_other_states_are_passed_over() {
        let answer = rows(NARROW, &["udp ESTAB 0 0 10.0.0.1:68 10.0.0.2:67"]);
        assert_eq!(read(&answer), Ok(vec![]));
    }

    #[test]
    fn what_is_not_the_answer_of_ss_is_refused() {
        assert_eq!(read(""), Err("no header".into()));
        assert!(read("hello\n").unwrap_err().contains("no header"));
        assert!(
            read(&"x".repeat(100_000))
                .unwrap_err()
                .contains("no header")
        );
        for row in [
            "garbage",
            "",
            "dccp LISTEN 0 0 *:80 *:*",
            "tcp LISTEN 0 0 *:80",
            "tcp LISTEN 0 0 *:http *:*",
            "tcp LISTEN 0 0 *:65536 *:*",
            "tcp LISTEN x 0 *:80 *:*",
            "tcp LISTEN 0 0 localhost:80 0.0.0.0:*",
            "tcp LISTEN 0 0 127.0.0.1%a-name-that-is-too-long:80 0.0.0.0:*",
            "\u{1b}[31mtcp LISTEN 0 0 *:80 *:*",
        ] {
            let error = read(&rows(NARROW, &[row])).unwrap_err();
            assert!(error.contains("cannot read its line"), "{row:?}: {error}");
        }
    }

    #[test]
    fn an_answer_with_an_overlong_line_is_refused() {
        let long = format!("tcp LISTEN 0 0 *:80 *:* {}", "x".repeat(10_000));
        let error = read(&rows(NARROW, &[&long])).unwrap_err();
        assert!(error.contains("(over-long)"), "{error}");
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_refused() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::ConnectionReset.into())
            }
        }
        let result = AnswerReader::new(false).read(Broken, &mut Vec::new());
        assert!(matches!(result, Err(SsError::Read(_))), "{result:?}");
    }

    #[test]
    fn a_last_line_cut_short_is_refused() {
        let whole = rows(NARROW, &["tcp LISTEN 0 128 0.0.0.0:8080 0.0.0.0:*"]);
        assert!(read(&whole).is_ok());
        for end in NARROW.len() + 1..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{:?}", &whole[..end]);
        }
    }

    #[test]
    fn relative_and_empty_entries_of_path_are_not_searched() {
        let ss = Ss::in_path("relative:.::/usr/bin:".as_ref(), false);
        assert_eq!(ss.candidates, [Path::new("/usr/bin/ss")]);
    }
}
