//! Why a port is not listening: names the same port on another address or protocol, or
//! else the nearest other ports. Docker and Kubernetes store this line with the failed
//! probe, so it is short.

use crate::listener::{Family, Listener, SsAddress};
use crate::output::table::escaped;
use crate::port::{Filter, RequiredPort, Serves};

/// At most this many listeners are named in one reason.
const MOST_NAMED: usize = 3;

/// The listeners to choose from when a reason is given.
pub struct Found<'a> {
    /// The listeners that the question is about.
    pub listeners: &'a [Listener],
    /// With `--of PID`: the process id, and the listeners of all processes.
    pub of_process: Option<(u32, &'a [Listener])>,
    /// The filter of the question. It was not applied to `listeners`.
    pub filter: &'a Filter,
}

/// Why `ports` (at least one) are not listening. `after` is printed after the words
/// `not listening`; it starts with a space or is empty.
pub fn why_closed(ports: &[&RequiredPort], found: &Found<'_>, after: &str) -> String {
    let mut reasons = Vec::new();
    let mut plain: Vec<&RequiredPort> = Vec::new();
    for port in ports {
        match near_miss(port, found, after) {
            Some(reason) => reasons.push(reason),
            None => plain.push(port),
        }
    }
    if let Some(first) = plain.first() {
        let names: Vec<String> = plain.iter().map(ToString::to_string).collect();
        let others = other_ports(first, found.listeners);
        reasons.push(format!(
            "{}: not listening{after}{others}",
            names.join(", ")
        ));
    }
    reasons.join("; ")
}

/// A list of ports for a message, without duplicates.
pub fn names(ports: Vec<String>) -> String {
    /// More names would not fit on a line.
    const MOST: usize = 10;
    let mut names: Vec<String> = Vec::new();
    for name in ports {
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > MOST {
            names[MOST] = "and more".into();
            break;
        }
    }
    names.join(", ")
}

/// A list of listeners for a message, such as `[::]:80/tcp`, and `is` or `are`.
pub fn found(listeners: &[&Listener]) -> (String, &'static str) {
    named(listeners, with_protocol)
}

/// Looks for a listener that almost serves `port`: one of another process, then one on
/// another address, then one of the other protocol.
fn near_miss(port: &RequiredPort, found: &Found<'_>, after: &str) -> Option<String> {
    let is_served = |l: &Listener| port.is_served_by(l) == Serves::Yes;
    if let Some(listener) = found.listeners.iter().find(|l| is_served(l)) {
        let listening = with_protocol(listener);
        // If `--exclude` does not hide this listener, the port has opened since the probe
        // looked.
        let is_excluded = !found.filter.matches(listener);
        return is_excluded
            .then(|| format!("{port}: not listening{after}; --exclude leaves out {listening}"));
    }
    if let Some((pid, all)) = found.of_process
        && all.iter().any(is_served)
    {
        let holder = all.iter().find(|l| is_served(l)).and_then(holder);
        let holder = holder.map_or(String::new(), |holder| format!(" ({holder})"));
        return Some(format!(
            "{port}: not listening{after} by process {pid} or its descendants, but by \
             another process{holder}"
        ));
    }
    let is_same_port = |l: &&Listener| port.distance(l.endpoint.port) == 0;
    let (mut same, other): (Vec<&Listener>, Vec<&Listener>) = found
        .listeners
        .iter()
        .filter(is_same_port)
        .partition(|listener| listener.protocol == port.protocol());
    if !same.is_empty() {
        // Name a v6only wildcard first: it is the most likely reason.
        let v6_any = Family::V6.wildcard();
        let is_v6_only = |l: &Listener| {
            port.needs_ipv4() && l.endpoint.address == v6_any && l.v6_only == Some(true)
        };
        if let Some(index) = same.iter().position(|l| is_v6_only(l)) {
            same[..=index].rotate_right(1);
        }
        let (named, _) = named(&same, |l| {
            let remark = is_v6_only(l).then(|| "IPv6 only".to_string());
            with_remarks(on_interface(l), remark, l)
        });
        let after = match after.strip_prefix(' ') {
            None => String::new(),
            Some(after) => format!("{after}, "),
        };
        return Some(format!("{port}: {after}listening only on {named}"));
    }
    if !other.is_empty() {
        let (found, verb) = self::found(&other);
        return Some(format!("{port}: not listening{after}, {found} {verb}"));
    }
    None
}

/// The nearest other ports of the same protocol, as the end of a sentence.
fn other_ports(port: &RequiredPort, listeners: &[Listener]) -> String {
    let is_other = |l: &&Listener| {
        // The port itself may have opened since the probe looked.
        l.protocol == port.protocol() && port.distance(l.endpoint.port) > 0
    };
    let mut others: Vec<&Listener> = listeners.iter().filter(is_other).collect();
    // Only the listeners that are named have to be in order, and a sort would add code
    // to the binary.
    for start in 0..others.len().min(MOST_NAMED) {
        let distance = |index: &usize| port.distance(others[*index].endpoint.port);
        if let Some(nearest) = (start..others.len()).min_by_key(distance) {
            others[start..=nearest].rotate_right(1);
        }
    }
    let (found, verb) = found(&others);
    match others.is_empty() {
        true => String::new(),
        false => format!("; {found} {verb}"),
    }
}

/// The PORT that would match a listener, with the listener's interface and holder.
fn with_protocol(listener: &Listener) -> String {
    let name = format!("{}/{}", on_interface(listener), listener.protocol.name());
    with_remarks(name, None, listener)
}

/// `NAME (REMARK; HOLDER)`, or less if there is no remark or no known holder.
fn with_remarks(name: String, remark: Option<String>, listener: &Listener) -> String {
    let remarks = Vec::from_iter(remark.into_iter().chain(holder(listener)));
    match remarks.is_empty() {
        true => name,
        false => format!("{name} ({})", remarks.join("; ")),
    }
}

/// The process that holds a listener, if it is known: `nginx, pid 12`. If several processes
/// do, returns the one with the lowest id, because it is usually the ancestor of the others.
fn holder(listener: &Listener) -> Option<String> {
    let holder = listener.holders.first().last()?;
    Some(format!("{}, pid {}", escaped(&holder.name), holder.pid))
}

/// The address, interface and port of a listener: `0.0.0.0%eth0:80`.
fn on_interface(listener: &Listener) -> String {
    let (address, port) = (listener.endpoint.address, listener.endpoint.port);
    let (sign, interface) = match &listener.interface {
        None => ("", ""),
        Some(interface) => ("%", interface.as_str()),
    };
    format!("{}{sign}{interface}:{port}", SsAddress(address))
}

/// `A`, `A and B` or `A, B, C and 7 more`, and `is` or `are`.
fn named(listeners: &[&Listener], name: impl Fn(&Listener) -> String) -> (String, &'static str) {
    let mut names: Vec<String> = listeners.iter().map(|listener| name(listener)).collect();
    // Several sockets can share an address.
    names.dedup();
    let more = names.len().saturating_sub(MOST_NAMED);
    names.truncate(MOST_NAMED);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    match names.split_last() {
        None => (String::new(), ""),
        Some((only, [])) => (only.clone(), "is"),
        Some((last, rest)) => (format!("{} and {last}", rest.join(", ")), "are"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Holder, Holders, Protocol};

    static EVERYTHING: Filter = Filter {
        protocol: None,
        family: None,
        ports: Vec::new(),
        excluded: Vec::new(),
        excludes_loopback: false,
        excludes_ephemeral: Vec::new(),
    };

    /// The listeners that these PORTs describe.
    fn listeners(ports: &[&str]) -> Vec<Listener> {
        let listener = |text: &&str| {
            let (endpoint, protocol) = text.rsplit_once('/').unwrap();
            let (address, port) = endpoint.rsplit_once(':').unwrap();
            let endpoint = Endpoint {
                port: port.parse().unwrap(),
                address: address.trim_matches(['[', ']']).parse().unwrap(),
            };
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                _ => Protocol::Udp,
            };
            Listener {
                v6_only: Some(true),
                ..Listener::new(protocol, endpoint)
            }
        };
        ports.iter().map(listener).collect()
    }

    fn of_all_processes(listeners: &[Listener]) -> Found<'_> {
        Found {
            listeners,
            of_process: None,
            filter: &EVERYTHING,
        }
    }

    fn explained(ports: &[&str], there: &[&str]) -> String {
        let port = |text: &&str| RequiredPort::one_of(text.parse().unwrap());
        let ports: Vec<RequiredPort> = ports.iter().map(port).collect();
        why_closed(
            &Vec::from_iter(&ports),
            &of_all_processes(&listeners(there)),
            "",
        )
    }

    #[test]
    fn a_listener_on_another_address_is_named_first() {
        let there = [
            "127.0.0.1:8080/tcp",
            "[::1]:8080/tcp",
            "0.0.0.0:8080/udp",
            "0.0.0.0:1/tcp",
        ];
        for (port, expected) in [
            (
                "*:8080",
                "*:8080/tcp: listening only on 127.0.0.1:8080 and [::1]:8080",
            ),
            (
                "127.0.0.2:8080",
                "127.0.0.2:8080/tcp: listening only on 127.0.0.1:8080 and [::1]:8080",
            ),
        ] {
            assert_eq!(explained(&[port], &there), expected);
        }
        let v6_only = explained(&["127.0.0.1:80"], &["[::]:80/tcp"]);
        assert_eq!(
            v6_only,
            "127.0.0.1:80/tcp: listening only on [::]:80 (IPv6 only)"
        );
        let v6_only = explained(&["*:80"], &["127.0.0.1:80/tcp", "[::]:80/tcp"]);
        assert_eq!(
            v6_only,
            "*:80/tcp: listening only on [::]:80 (IPv6 only) and 127.0.0.1:80"
        );
        let other_family = explained(&["[::1]:80"], &["0.0.0.0:80/tcp"]);
        assert_eq!(other_family, "[::1]:80/tcp: listening only on 0.0.0.0:80");
    }

    #[test]
    fn the_other_protocol_comes_before_the_nearest_ports() {
        let there = [
            "0.0.0.0:8080/udp",
            "0.0.0.0:22/tcp",
            "127.0.0.1:9000/tcp",
            "[::]:8000/tcp",
        ];
        assert_eq!(
            explained(&["8080"], &there),
            "8080/tcp: not listening, 0.0.0.0:8080/udp is"
        );
        assert_eq!(
            explained(&["8081"], &there),
            "8081/tcp: not listening; [::]:8000/tcp, 127.0.0.1:9000/tcp and 0.0.0.0:22/tcp are"
        );
        let many = [&there[..], &["0.0.0.0:1/tcp", "0.0.0.0:2/tcp"]].concat();
        assert_eq!(
            explained(&["8070-8079", "8082"], &many),
            "8070-8079/tcp, 8082/tcp: not listening; \
             [::]:8000/tcp, 127.0.0.1:9000/tcp, 0.0.0.0:22/tcp and 2 more are"
        );
        assert_eq!(explained(&["8080"], &[]), "8080/tcp: not listening");
        assert_eq!(
            explained(&["53/udp"], &["0.0.0.0:1/tcp"]),
            "53/udp: not listening"
        );
    }

    #[test]
    fn each_port_has_its_own_reason_with_the_time() {
        let there = ["127.0.0.1:80/tcp", "0.0.0.0:53/udp"];
        assert_eq!(
            explained(&["*:80", "53", "81"], &there),
            "*:80/tcp: listening only on 127.0.0.1:80; 53/tcp: not listening, 0.0.0.0:53/udp is; \
             81/tcp: not listening; 127.0.0.1:80/tcp is"
        );
        let port = |text: &str| RequiredPort::one_of(text.parse().unwrap());
        let after = |text: &str| {
            why_closed(
                &[&port(text)],
                &of_all_processes(&listeners(&there)),
                " after 5.0 s",
            )
        };
        assert_eq!(
            after("*:80"),
            "*:80/tcp: after 5.0 s, listening only on 127.0.0.1:80"
        );
        assert_eq!(
            after("53"),
            "53/tcp: not listening after 5.0 s, 0.0.0.0:53/udp is"
        );
        assert_eq!(
            after("81"),
            "81/tcp: not listening after 5.0 s; 127.0.0.1:80/tcp is"
        );
    }

    #[test]
    fn the_name_of_a_holder_is_escaped_as_in_the_table() {
        let mut listener = listeners(&["0.0.0.0:80/tcp"]).remove(0);
        let holder = Holder {
            name: b"a\"\\ \xff".as_slice().into(),
            pid: 12,
            fd: 3,
        };
        listener.holders = Holders::new([holder]);
        let (named, _) = found(&[&listener]);
        assert_eq!(named, r#"0.0.0.0:80/tcp (a\"\\ \xff, pid 12)"#);
    }

    #[test]
    fn a_port_held_by_another_process_is_explained() {
        let port = RequiredPort::one_of("80".parse().unwrap());
        let there = listeners(&["127.0.0.1:80/tcp"]);
        let expected =
            "80/tcp: not listening by process 7 or its descendants, but by another process";
        let found = |listeners| Found {
            listeners,
            of_process: Some((7, &there)),
            filter: &EVERYTHING,
        };
        assert_eq!(why_closed(&[&port], &found(&[]), ""), expected);
        assert_eq!(
            why_closed(&[&port], &found(&there), ""),
            "80/tcp: not listening"
        );
    }

    #[test]
    fn a_known_holder_is_named() {
        let mut there = listeners(&["[::]:80/tcp", "0.0.0.0:81/tcp"]);
        let holder = |name: &str, pid| Holder {
            name: name.into(),
            pid,
            fd: 3,
        };
        there[0].holders = Holders::new([holder("worker", 13), holder("nginx", 12)]);
        let port = |text: &str| RequiredPort::one_of(text.parse().unwrap());
        let said = |text: &str| why_closed(&[&port(text)], &of_all_processes(&there), "");
        assert_eq!(
            said("*:80"),
            "*:80/tcp: listening only on [::]:80 (IPv6 only; nginx, pid 12)"
        );
        assert_eq!(
            said("82"),
            "82/tcp: not listening; 0.0.0.0:81/tcp and [::]:80/tcp (nginx, pid 12) are"
        );
        let found = Found {
            listeners: &[],
            of_process: Some((7, &there)),
            filter: &EVERYTHING,
        };
        assert_eq!(
            why_closed(&[&port("80")], &found, ""),
            "80/tcp: not listening by process 7 or its descendants, but by another process (nginx, \
             pid 12)"
        );
    }

    #[test]
    fn a_long_list_of_ports_is_cut_off() {
        let ports = [80, 80].into_iter().chain(81..=99);
        let named = names(ports.map(|port| format!("{port}/tcp")).collect());
        assert!(
            named.starts_with("80/tcp, 81/tcp, ") && named.ends_with("89/tcp, and more"),
            "{named}"
        );
    }

    #[test]
    fn a_port_that_opened_meanwhile_is_not_named() {
        assert_eq!(
            explained(&["80"], &["0.0.0.0:80/tcp"]),
            "80/tcp: not listening"
        );
    }
}
