//! The header and the rows of a table, in the columns of ss.

use std::fmt::Write as _;

use crate::listener::{Family, Holder, Holders, Interface, Listener, Namespace, SsAddress};
use crate::report::is_nonprinting;

/// The widths of the columns that grow with their contents. The other columns have a fixed
/// width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    recv_q: usize,
    send_q: usize,
    address: usize,
    port: usize,
    /// Whether a column names the holders.
    holders: bool,
    /// Whether the last column names the network namespace.
    namespaces: bool,
}

impl Default for Table {
    /// A table whose columns are as wide as their headings.
    fn default() -> Table {
        Table {
            recv_q: "Recv-Q".len(),
            send_q: "Send-Q".len(),
            address: "Local Address".len(),
            port: "Port".len(),
            holders: false,
            namespaces: false,
        }
    }
}

impl Table {
    /// A table for lines that are printed one at a time. Any port and any IPv4 address fits.
    pub fn for_stream() -> Table {
        Table {
            address: "255.255.255.255".len(),
            port: "65535".len(),
            ..Table::default()
        }
    }

    /// Returns this table, with or without columns of holders and of namespaces.
    pub fn showing(self, holders: bool, namespaces: bool) -> Table {
        Table {
            holders,
            namespaces,
            ..self
        }
    }

    /// Widens the columns as far as `listener` needs. They never get narrower.
    pub fn fit(&mut self, listener: &Listener) {
        self.recv_q = self.recv_q.max(listener.recv_q.to_string().len());
        self.send_q = self.send_q.max(send_q(listener).len());
        self.address = self.address.max(address(listener).chars().count());
        self.port = self.port.max(port(listener).len());
    }

    /// The column headings, without a newline.
    pub fn header(&self) -> String {
        self.line(
            ["Netid", "State", "Recv-Q", "Send-Q"],
            ["Local Address", "Port"],
            ["Peer Address", "Port"],
            ["Process", "Namespace"],
        )
    }

    /// The row of `listener` with this state, without a newline.
    pub fn row(&self, listener: &Listener, state: &str) -> String {
        let recv_q = listener.recv_q.to_string();
        let send_q = send_q(listener);
        let peer = match listener.family() {
            Family::V4 => "0.0.0.0",
            Family::V6 => "[::]",
        };
        self.line(
            [listener.protocol.name(), state, &recv_q, &send_q],
            [&address(listener), &port(listener)],
            [peer, "*"],
            [
                &users(&listener.holders),
                &netns(listener).unwrap_or_default(),
            ],
        )
    }

    fn line(&self, left: [&str; 4], local: [&str; 2], peer: [&str; 2], last: [&str; 2]) -> String {
        let Table {
            recv_q: recv_width,
            send_q: send_width,
            address: address_width,
            port: port_width,
            ..
        } = self;
        let [netid, state, recv_q, send_q] = left;
        let ([address, port], [peer_address, peer_port]) = (local, peer);
        let mut line = format!(
            "{netid:<5} {state:<6} {recv_q:<recv_width$} {send_q:<send_width$} \
             {address:>address_width$}:{port:<port_width$} {peer_address:>12}:{peer_port}"
        );
        let mut padding = "Port".len() - peer_port.len();
        for (is_shown, text) in [self.holders, self.namespaces].into_iter().zip(last) {
            if is_shown && !text.is_empty() {
                let _ = write!(line, "{:padding$} {text}", "");
                padding = 0;
            }
        }
        line
    }
}

/// The cell of the holders: `users:(("NAME",pid=12,fd=3),…)`, or nothing without holders. If
/// not all holders are listed, `(more=936)` comes last. This remark contains no space and no
/// `pid=`, so that a program that parses the output of ss does not mistake it for a process.
///
/// In NAME, quotes and backslashes are escaped with a backslash, nonprinting characters as
/// in Rust, and bytes that are not UTF-8 as `\xNN`.
fn users(holders: &Holders) -> String {
    if holders.is_empty() {
        return String::new();
    }
    let mut users: Vec<String> = holders
        .first()
        .iter()
        .map(|Holder { name, pid, fd }| format!("(\"{}\",pid={pid},fd={fd})", escaped(name)))
        .collect();
    if holders.more() > 0 {
        users.push(format!("(more={})", holders.more()));
    }
    format!("users:({})", users.join(","))
}

/// The cell of the namespace: `netns:4026532221,pid=12,name=web,cgroup=/PATH`, or without a
/// process `netns:4026532221,mount=PATH`. `None` without `--all-namespaces`. If docker-proxy
/// leads to the container, `,via=docker-proxy` follows the name.
///
/// PATH is escaped like NAME in [`users`], and a space becomes `\x20`, so this is one word.
/// PATH comes last because a container chooses parts of it and could write `,name=` there.
fn netns(listener: &Listener) -> Option<String> {
    let Namespace {
        inode, pid, mount, ..
    } = listener.namespace.as_deref()?;
    let word = |path: &[u8]| escaped(path).replace(' ', "\\x20");
    let mut name = match &listener.container_name {
        None => String::new(),
        Some(name) => format!(",name={}", word(name.0.as_bytes())),
    };
    if listener
        .cgroup()
        .is_some_and(|cgroup| cgroup.leads_to_container)
    {
        name += ",via=docker-proxy";
    }
    Some(match pid {
        0 => format!("netns:{inode}{name},mount={}", word(mount)),
        _ => {
            let cgroup = word(&listener.cgroup()?.path);
            format!("netns:{inode},pid={pid}{name},cgroup={cgroup}")
        }
    })
}

/// A name that this program did not choose, escaped as in [`users`].
pub fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            if matches!(character, '"' | '\\') || is_nonprinting(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The address in the table: `*` for both wildcards. If the listener is bound to an interface,
/// the name of the interface follows after a percent sign.
fn address(listener: &Listener) -> String {
    let address = listener.endpoint.address;
    let interface = listener.interface.as_ref().map(Interface::as_str);
    let (percent, interface) = interface.map_or(("", ""), |name| ("%", name));
    if address.is_unspecified() {
        format!("*{percent}{interface}")
    } else {
        format!("{}{percent}{interface}", SsAddress(address))
    }
}

/// The backlog as text. If the backlog is unknown, this is 0, as in ss.
fn send_q(listener: &Listener) -> String {
    listener.send_q.unwrap_or_default().to_string()
}

/// The port as text. Port 0 is printed as `*`, as in ss.
fn port(listener: &Listener) -> String {
    match listener.endpoint.port {
        0 => "*".to_string(),
        port => port.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Cgroup, ContainerName, Endpoint, Protocol};
    use std::sync::Arc;

    fn listener(address: &str, port: u16) -> Listener {
        let address = address.parse().unwrap();
        Listener {
            send_q: Some(128),
            ..Listener::new(Protocol::Tcp, Endpoint { port, address })
        }
    }

    #[test]
    fn columns_are_aligned_as_in_ss() {
        let listeners = [
            listener("0.0.0.0", 22),
            listener("::ffff:127.0.0.1", 8080),
            Listener {
                protocol: Protocol::Udp,
                interface: Interface::new(b"lo"),
                ..listener("127.0.0.53", 53)
            },
            listener("::", 65535),
        ];
        let mut table = Table::default();
        listeners.iter().for_each(|listener| table.fit(listener));
        let mut lines = vec![table.header()];
        for listener in &listeners {
            lines.push(table.row(listener, listener.protocol.listening_state()));
        }
        let expected = [
            "Netid State  Recv-Q Send-Q      Local Address:Port  Peer Address:Port",
            "tcp   LISTEN 0      128                     *:22         0.0.0.0:*",
            "tcp   LISTEN 0      128    [::ffff:127.0.0.1]:8080          [::]:*",
            "udp   UNCONN 0      128         127.0.0.53%lo:53         0.0.0.0:*",
            "tcp   LISTEN 0      128                     *:65535         [::]:*",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_interface_follows_brackets_or_a_wildcard() {
        let on_interface = |address| {
            super::address(&Listener {
                interface: Interface::new(b"eth0"),
                ..listener(address, 1)
            })
        };
        assert_eq!(on_interface("fe80::1"), "[fe80::1]%eth0");
        assert_eq!(on_interface("0.0.0.0"), "*%eth0");
    }

    #[test]
    fn port_0_is_a_star_as_in_ss() {
        assert_eq!(port(&listener("127.0.0.1", 0)), "*");
    }

    #[test]
    fn a_line_of_a_stream_fits_80_columns() {
        let mut table = Table::for_stream();
        let before = table.clone();
        table.fit(&listener("255.255.255.255", 65535));
        assert_eq!(table, before);
        table.fit(&listener("fe80::1234:5678:9abc:def0", 65535));
        let longest = table.row(&listener("::", 65535), "LISTEN");
        assert!(
            table.header().len() <= 80 && longest.len() <= 80,
            "{longest}"
        );
    }

    #[test]
    fn processes_are_escaped_in_the_last_column() {
        let table = Table::default().showing(true, false);
        let process = |name: &[u8], pid| Holder {
            name: name.to_vec(),
            pid,
            fd: 6,
        };
        let unheld = listener("127.0.0.1", 80);
        let held = Listener {
            holders: Holders::new(vec![
                process(b"a \"b\"\n) ,pid=1", 12),
                process(b"\\\x1b[31m\xff\xc3\xa9", 11),
            ]),
            ..unheld.clone()
        };
        let lines = [
            table.header(),
            table.row(&held, "LISTEN"),
            table.row(&unheld, "LISTEN"),
        ];
        let expected = [
            "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process",
            concat!(
                "tcp   LISTEN 0      128        127.0.0.1:80        0.0.0.0:*    ",
                r#"users:(("a \"b\"\n) ,pid=1",pid=12,fd=6),("\\\u{1b}[31m\xffé",pid=11,fd=6))"#,
            ),
            "tcp   LISTEN 0      128        127.0.0.1:80        0.0.0.0:*",
        ];
        assert_eq!(lines, expected);
        let without = Table::default();
        assert_eq!(without.row(&held, "LISTEN"), lines[2]);
    }

    #[test]
    fn processes_that_are_not_listed_are_counted() {
        let process = |fd| Holder {
            name: b"name".to_vec(),
            pid: 12,
            fd,
        };
        let cell = |number| users(&Holders::new((0..number).map(process)));
        assert!(cell(64).ends_with(r#",("name",pid=12,fd=0))"#));
        let more = cell(1000);
        assert!(
            more.ends_with(r#",("name",pid=12,fd=936),(more=936))"#),
            "{more}"
        );
        assert_eq!(more.matches("pid=").count(), 64);
    }

    #[test]
    fn a_namespace_is_one_word_in_the_last_column() {
        let namespace = Namespace {
            id: 7,
            inode: 4026532221,
            pid: 12,
            cgroup: Arc::new(Cgroup {
                path: "/a b\n\u{3000}pid=1".into(),
                ..Cgroup::default()
            }),
            mount: Vec::new(),
        };
        let mounted = Namespace {
            pid: 0,
            mount: "/run/a b".into(),
            ..namespace.clone()
        };
        let mounted = Listener {
            namespace: Some(Arc::new(mounted)),
            ..listener("127.0.0.1", 80)
        };
        let word = netns(&mounted);
        assert_eq!(word.as_deref(), Some("netns:4026532221,mount=/run/a\\x20b"));
        let there = Listener {
            namespace: Some(Arc::new(namespace)),
            ..listener("127.0.0.1", 80)
        };
        for name in ["web", "default/web-0/nginx"] {
            let named = Listener {
                container_name: Some(Arc::new(ContainerName(name.to_string()))),
                ..there.clone()
            };
            let start = format!("netns:4026532221,pid=12,name={name},cgroup=/a");
            assert!(netns(&named).unwrap().starts_with(&start));
        }
        let cgroup = Cgroup {
            path: b"/a".to_vec(),
            leads_to_container: true,
            ..Cgroup::default()
        };
        let leads = Listener {
            cgroup: Some(Arc::new(cgroup)),
            container_name: Some(Arc::new(ContainerName("web".to_string()))),
            ..there.clone()
        };
        assert_eq!(
            netns(&leads).unwrap(),
            "netns:4026532221,pid=12,name=web,via=docker-proxy,cgroup=/a"
        );
        let table = Table::default().showing(true, true);
        assert_eq!(
            [table.header(), table.row(&there, "LISTEN")],
            [
                "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process Namespace",
                "tcp   LISTEN 0      128        127.0.0.1:80        0.0.0.0:*    \
                 netns:4026532221,pid=12,cgroup=/a\\x20b\\n\\u{3000}pid=1",
            ]
        );
    }
}
