//! ss-format: the header and the lines of a table, in ss's columns.

use crate::listener::{Family, Listener, Scope, SsAddress};

/// The widths of the columns that grow with what stands in them. The others
/// always hold the same few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    recv_q: usize,
    send_q: usize,
    address: usize,
    port: usize,
}

impl Default for Table {
    /// As wide as the headings ask for.
    fn default() -> Table {
        Table {
            recv_q: "Recv-Q".len(),
            send_q: "Send-Q".len(),
            address: "Local Address".len(),
            port: "Port".len(),
        }
    }
}

impl Table {
    /// A table whose lines come one at a time, before all are known: it has
    /// room for any IPv4 address and any port.
    pub fn for_stream() -> Table {
        Table {
            address: "255.255.255.255".len(),
            port: "65535".len(),
            ..Table::default()
        }
    }

    /// Widens the columns to what `listener` needs. They never narrow.
    pub fn fit(&mut self, listener: &Listener) {
        self.recv_q = self.recv_q.max(listener.recv_q.to_string().len());
        self.send_q = self.send_q.max(listener.send_q.to_string().len());
        self.address = self.address.max(address(listener).len());
        self.port = self.port.max(port(listener).len());
    }

    /// The column headings, without a newline.
    pub fn header(&self) -> String {
        self.line(
            ["Netid", "State", "Recv-Q", "Send-Q"],
            ["Local Address", "Port"],
            ["Peer Address", "Port"],
        )
    }

    /// `listener` with this word in the state column, without a newline.
    pub fn row(&self, listener: &Listener, state: &str) -> String {
        let recv_q = listener.recv_q.to_string();
        let send_q = listener.send_q.to_string();
        let peer = match listener.family() {
            Family::V4 => "0.0.0.0",
            Family::V6 => "[::]",
        };
        self.line(
            [listener.protocol.name(), state, &recv_q, &send_q],
            [&address(listener), &port(listener)],
            [peer, "*"],
        )
    }

    fn line(&self, left: [&str; 4], local: [&str; 2], peer: [&str; 2]) -> String {
        let Table {
            recv_q: recv_width,
            send_q: send_width,
            address: address_width,
            port: port_width,
        } = self;
        let [netid, state, recv_q, send_q] = left;
        let ([address, port], [peer_address, peer_port]) = (local, peer);
        format!(
            "{netid:<5} {state:<6} {recv_q:<recv_width$} {send_q:<send_width$} \
             {address:>address_width$}:{port:<port_width$} {peer_address:>12}:{peer_port}"
        )
    }
}

/// The address as the table writes it: `*` for either wildcard, and the
/// scope, where one is known, behind a percent sign.
fn address(listener: &Listener) -> String {
    let address = listener.endpoint.address;
    let scope = listener.scope.as_ref().map(Scope::as_str);
    let (percent, scope) = scope.map_or(("", ""), |scope| ("%", scope));
    if address.is_unspecified() {
        format!("*{percent}{scope}")
    } else {
        format!("{}{percent}{scope}", SsAddress(address))
    }
}

/// ss writes `*` for port 0.
fn port(listener: &Listener) -> String {
    match listener.endpoint.port {
        0 => "*".to_string(),
        port => port.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Protocol};

    fn listener(address: &str, port: u16) -> Listener {
        let address = address.parse().unwrap();
        Listener {
            send_q: 128,
            ..Listener::new(Protocol::Tcp, Endpoint { port, address })
        }
    }

    #[test]
    fn columns_stand_as_ss_aligns_them() {
        let listeners = [
            listener("0.0.0.0", 22),
            listener("::ffff:127.0.0.1", 8080),
            Listener {
                protocol: Protocol::Udp,
                scope: Scope::new(b"lo"),
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
    fn a_scope_follows_the_brackets_and_the_wildcard() {
        let scoped = |address| {
            super::address(&Listener {
                scope: Scope::new(b"eth0"),
                ..listener(address, 1)
            })
        };
        assert_eq!(scoped("fe80::1"), "[fe80::1]%eth0");
        assert_eq!(scoped("0.0.0.0"), "*%eth0");
    }

    #[test]
    fn port_0_is_a_star_as_in_ss() {
        assert_eq!(port(&listener("127.0.0.1", 0)), "*");
    }

    #[test]
    fn the_columns_of_a_stream_hold_any_ipv4_endpoint() {
        let mut table = Table::for_stream();
        let before = table.clone();
        table.fit(&listener("255.255.255.255", 65535));
        assert_eq!(table, before);
        table.fit(&listener("::ffff:127.0.0.1", 1));
        assert_ne!(table, before);
    }
}
