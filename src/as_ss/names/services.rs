//! Translates between ports and their names in `/etc/services`.

use std::cell::OnceCell;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::kernel::proc::file::read_any;
use crate::listener::Protocol;
use crate::port::read_range;

/// The range of ephemeral ports that ss assumes if it cannot read the kernel's range.
const DEFAULT_RANGE: RangeInclusive<u16> = 1024..=4999;

/// The names of ports. The files are read at the first lookup. If a file cannot be read, there
/// are no names from it.
#[derive(Debug)]
pub struct Services {
    file: PathBuf,
    range_file: PathBuf,
    entries: OnceCell<Vec<Service>>,
    ephemeral: OnceCell<RangeInclusive<u16>>,
}

/// A line of `/etc/services`.
#[derive(Debug)]
struct Service {
    port: u16,
    protocol: Protocol,
    /// The name, followed by its aliases.
    names: Vec<String>,
}

impl Services {
    /// Creates the names in `file`. `range_file` contains the first and the last port of the
    /// range from which the kernel chooses ephemeral ports.
    pub fn new(file: PathBuf, range_file: PathBuf) -> Services {
        Services {
            file,
            range_file,
            entries: OnceCell::new(),
            ephemeral: OnceCell::new(),
        }
    }

    /// The name of `port`. `None` if the port has no name. Also `None` if the port is
    /// ephemeral: the kernel chose it, so its name would say nothing about the socket. If
    /// `protocol` is `None`, the first line with this port and any protocol gives the name.
    pub fn name(&self, port: u16, protocol: Option<Protocol>) -> Option<&str> {
        if self.ephemeral().contains(&port) {
            return None;
        }
        let has_port = |service: &&Service| {
            service.port == port && protocol.is_none_or(|protocol| protocol == service.protocol)
        };
        Some(&self.entries().iter().find(has_port)?.names[0])
    }

    /// The range from which the kernel chooses ephemeral ports.
    pub fn ephemeral(&self) -> &RangeInclusive<u16> {
        self.ephemeral
            .get_or_init(|| read_range(&self.range_file).unwrap_or(DEFAULT_RANGE))
    }

    /// The port that has this name or alias for this protocol.
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let is_named = |service: &&Service| {
            service.protocol == protocol && service.names.iter().any(|known| known == name)
        };
        Some(self.entries().iter().find(is_named)?.port)
    }

    fn entries(&self) -> &[Service] {
        self.entries.get_or_init(|| {
            let text = read_any(&self.file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            text.lines().filter_map(Service::parse).collect()
        })
    }
}

impl Service {
    /// Parses a line of the form `name port/protocol alias... # comment`. `None` if the line
    /// has another form, or if the protocol is neither TCP nor UDP.
    fn parse(line: &str) -> Option<Service> {
        let mut fields = line.split('#').next()?.split_ascii_whitespace();
        let name = fields.next()?;
        let (port, protocol) = fields.next()?.split_once('/')?;
        let protocols = [Protocol::Tcp, Protocol::Udp];
        Some(Service {
            port: port.parse().ok()?,
            protocol: protocols.into_iter().find(|p| p.name() == protocol)?,
            names: [name]
                .into_iter()
                .chain(fields)
                .map(str::to_string)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn services(text: &str, range: &str) -> (TempDir, Services) {
        let directory = TempDir::new().unwrap();
        let [file, range_file] = ["services", "range"].map(|name| directory.path().join(name));
        fs::write(&file, text).unwrap();
        fs::write(&range_file, range).unwrap();
        (directory, Services::new(file, range_file))
    }

    const SERVICES: &str = "# comment\n\nhttp\t\t80/tcp\t\twww www-data # WorldWideWeb\n\
                            domain 53/udp\nweb 80/tcp\nodd 80/sctp\nbroken 99999/tcp\n";

    #[test]
    fn a_port_has_the_name_in_its_first_line() {
        let (_directory, services) = services(SERVICES, "32768\t60999\n");
        assert_eq!(services.name(80, Some(Protocol::Tcp)), Some("http"));
        assert_eq!(services.name(80, Some(Protocol::Udp)), None);
        assert_eq!(services.name(53, Some(Protocol::Udp)), Some("domain"));
    }

    #[test]
    fn a_port_is_found_by_name_and_alias() {
        let (_directory, services) = services(SERVICES, "32768\t60999\n");
        for name in ["http", "www", "www-data", "web"] {
            assert_eq!(services.port(name, Protocol::Tcp), Some(80), "{name}");
        }
        for name in ["odd", "broken", "WorldWideWeb", "#", ""] {
            assert_eq!(services.port(name, Protocol::Tcp), None, "{name}");
        }
    }

    #[test]
    fn ephemeral_ports_have_no_names() {
        let text = "low 1024/tcp\nhigh 4999/tcp\nweb 80/tcp\n";
        let (_directory, listed) = services(text, "70 90");
        assert_eq!(listed.name(80, Some(Protocol::Tcp)), None);
        assert_eq!(listed.name(1024, Some(Protocol::Tcp)), Some("low"));
        let (_directory, unknown) = services(text, "");
        assert_eq!(unknown.name(80, Some(Protocol::Tcp)), Some("web"));
        assert_eq!(unknown.name(1024, Some(Protocol::Tcp)), None);
        assert_eq!(unknown.name(4999, Some(Protocol::Tcp)), None);
    }

    #[test]
    fn ports_have_no_names_if_the_file_is_missing() {
        let services = Services::new("/nonexistent".into(), "/nonexistent".into());
        assert_eq!(services.name(80, Some(Protocol::Tcp)), None);
        assert_eq!(services.port("http", Protocol::Tcp), None);
    }
}
