//! The names and indices of network interfaces, from rtnetlink(7).

use std::time::{Duration, Instant};

use super::client::Client;
use super::layout::layout;
use super::message::{Amount, AnswerError, Attributes, MessageTypes, push_attribute};
use crate::listener::Interface;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;

/// The types of a request for interfaces and of the messages in its answer.
pub const LINK: MessageTypes = MessageTypes {
    request: RTM_GETLINK,
    answer: RTM_NEWLINK,
};

layout! {
    /// `struct ifinfomsg` of `linux/rtnetlink.h`: an interface. Attributes follow.
    IfInfoMsg, 16 bytes:
    ifi_family: u8 = 0..1,
    ifi_type: u16 = 2..4,
    ifi_index: u32 = 4..8,
    ifi_flags: u32 = 8..12,
    ifi_change: u32 = 12..16,
}

const IFLA_IFNAME: u16 = 3;

/// How long the names of interfaces are kept.
const NAMES_LAST: Duration = Duration::from_secs(1);

/// The names of interfaces by index. They are forgotten after one second, because an interface
/// can be renamed and an index can be reused.
#[derive(Debug)]
pub struct Interfaces {
    client: Client,
    names: Vec<(u32, Interface)>,
    /// When the oldest name was read.
    oldest: Option<Instant>,
}

impl Default for Interfaces {
    fn default() -> Interfaces {
        Interfaces {
            client: Client::route(),
            names: Vec::new(),
            oldest: None,
        }
    }
}

impl Interfaces {
    /// The name of the interface with this index. If the name cannot be read or printed,
    /// returns `if` followed by the index, as ss does.
    pub fn name(&mut self, index: u32) -> Interface {
        if self
            .oldest
            .is_some_and(|oldest| oldest.elapsed() >= NAMES_LAST)
        {
            self.forget();
        }
        if let Some((_, name)) = self.names.iter().find(|(known, _)| *known == index) {
            return *name;
        }
        if self.names.is_empty() {
            self.oldest = Some(Instant::now());
        }
        let name = self.ask_name(index);
        let name = name.unwrap_or_else(|_| Interface::from_index(index));
        self.names.push((index, name));
        name
    }

    /// Asks the kernel for the name of an interface. This is rare, so the socket does not stay
    /// open.
    fn ask_name(&mut self, index: u32) -> Result<Interface, AnswerError> {
        let request = IfInfoMsg {
            ifi_index: index,
            ..IfInfoMsg::default()
        };
        let mut name = None;
        let mut take = |link: &[u8]| {
            name = Some(name_of(index, link)?);
            Some(())
        };
        let answer = self
            .client
            .ask(LINK, Amount::One, &request.bytes(), &mut take);
        self.client.close();
        answer?;
        name.ok_or(AnswerError::Unexpected)
    }

    /// Forgets all names. The caller must do this after it has changed its network namespace.
    pub fn forget(&mut self) {
        self.names.clear();
    }
}

/// The name in an answer about the interface with this index. `None` if the answer is about
/// another interface, or if the name is not a valid [`Interface`].
pub fn name_of(index: u32, link: &[u8]) -> Option<Interface> {
    let (found_index, name) = parse(link)?;
    (found_index == index)
        .then(|| Interface::new(name))
        .flatten()
}

/// The index and the name of the interface in an answer.
fn parse(link: &[u8]) -> Option<(u32, &[u8])> {
    let (link, attributes) = IfInfoMsg::split(link)?;
    let name = Attributes(attributes).get(IFLA_IFNAME)?;
    Some((link.ifi_index, name.strip_suffix(b"\0")?))
}

/// The index of the interface with this name. If there is no such interface and `name` is `if`
/// followed by a number, returns that number.
pub fn interface_index(name: &str) -> Option<u32> {
    let mut found = None;
    let mut take = |link: &[u8]| {
        let (index, found_name) = parse(link)?;
        if found_name == name.as_bytes() {
            found = Some(index);
        }
        Some(())
    };
    let mut request = IfInfoMsg::default().bytes().to_vec();
    push_attribute(
        &mut request,
        IFLA_IFNAME,
        &[name.as_bytes(), b"\0"].concat(),
    );
    let answer = Client::route().ask(LINK, Amount::One, &request, &mut take);
    let number_in_name = || name.strip_prefix("if")?.parse().ok();
    answer.ok().and(found).or_else(number_in_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IFLA_TXQLEN: u16 = 13;

    #[test]
    fn invalid_answers_do_not_name_an_interface() {
        let link = |index: u32, name: &[u8]| {
            let mut body = vec![0; 16];
            body[4..8].copy_from_slice(&index.to_ne_bytes());
            push_attribute(&mut body, IFLA_TXQLEN, &1000u32.to_ne_bytes());
            push_attribute(&mut body, IFLA_IFNAME, name);
            body
        };
        let name = |answer: Vec<u8>| name_of(5, &answer);
        assert_eq!(name(link(5, b"eth0\0")).unwrap().as_str(), "eth0");
        for wrong in [
            link(6, b"eth0\0"),
            link(5, b"eth0"),
            link(5, b"\x1b[7m\0"),
            link(5, b"\0"),
            vec![0; 15],
        ] {
            assert!(name(wrong).is_none());
        }
    }

    #[test]
    fn interface_names_are_forgotten_after_a_second() {
        let mut interfaces = Interfaces::default();
        let no_interface = u32::MAX;
        let unnamed = Interface::from_index(no_interface);
        assert_eq!(interfaces.name(no_interface), unnamed);
        assert_eq!(interfaces.names, [(no_interface, unnamed)]);
        let lo = Interface::new(b"lo").unwrap();
        interfaces.names[0].1 = lo;
        assert_eq!(interfaces.name(no_interface), lo);
        interfaces.oldest = Instant::now().checked_sub(NAMES_LAST);
        assert_eq!(interfaces.name(no_interface), unnamed);
    }
}
