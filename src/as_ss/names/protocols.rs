//! Translates between the numbers of protocols and the names that ss uses for them.

use std::path::Path;

use crate::kernel::proc::file::read_any;

/// The names of the protocols of netlink(7). The index in the array is the number of the
/// protocol.
const NETLINK: [&str; 22] = [
    "rtnl",
    "unused",
    "usersock",
    "fw",
    "tcpdiag",
    "nflog",
    "xfrm",
    "selinux",
    "iscsi",
    "audit",
    "fiblookup",
    "connector",
    "nft",
    "ip6fw",
    "dec-rt",
    "uevent",
    "genl",
    "",
    "scsi-trans",
    "ecryptfs",
    "rdma",
    "crypto",
];

/// The link-level protocols of `linux/if_ether.h`, with the names that ss uses for them.
const LINK: [(u16, &str); 52] = [
    (0x0060, "loop"),
    (0x0200, "pup"),
    (0x0201, "pupat"),
    (0x0800, "ip"),
    (0x0805, "x25"),
    (0x0806, "arp"),
    (0x08ff, "bpq"),
    (0x0a00, "ieeepup"),
    (0x0a01, "ieeepupat"),
    (0x6000, "dec"),
    (0x6001, "dna_dl"),
    (0x6002, "dna_rc"),
    (0x6003, "dna_rt"),
    (0x6004, "lat"),
    (0x6005, "diag"),
    (0x6006, "cust"),
    (0x6007, "sca"),
    (0x8035, "rarp"),
    (0x809b, "atalk"),
    (0x80f3, "aarp"),
    (0x8137, "ipx"),
    (0x86dd, "ipv6"),
    (0x8863, "ppp_disc"),
    (0x8864, "ppp_ses"),
    (0x884c, "atmmpoa"),
    (0x8884, "atmfate"),
    (0x0001, "802_3"),
    (0x0002, "ax25"),
    (0x0003, "all"),
    (0x0004, "802_2"),
    (0x0005, "snap"),
    (0x0006, "ddcmp"),
    (0x0007, "wan_ppp"),
    (0x0008, "ppp_mp"),
    (0x0009, "localtalk"),
    (0x000c, "can"),
    (0x0010, "ppptalk"),
    (0x0011, "tr_802_2"),
    (0x0015, "mobitex"),
    (0x0016, "control"),
    (0x0017, "irda"),
    (0x0018, "econet"),
    (0x88ca, "tipc"),
    (0x8892, "profinet"),
    (0x88a2, "aoe"),
    (0x88a4, "ethercat"),
    (0x8100, "802.1Q"),
    (0x88a8, "802.1ad"),
    (0x8847, "mpls_uc"),
    (0x8848, "mpls_mc"),
    (0x6558, "teb"),
    (0x88cc, "LLDP"),
];

/// The name of a netlink protocol, or its number if it has no name.
pub fn netlink_name(number: u8) -> String {
    match NETLINK.get(usize::from(number)) {
        Some(name) if !name.is_empty() => name.to_string(),
        _ => number.to_string(),
    }
}

/// The number of the netlink protocol with this name. A number as text is accepted, too.
pub fn netlink_number(name: &str) -> Option<u32> {
    let position = NETLINK.iter().position(|known| *known == name);
    match position {
        Some(number) if !name.is_empty() => Some(number as u32),
        _ => name.parse::<u8>().ok().map(u32::from),
    }
}

/// The name of a link-level protocol, or its number in brackets if it has no name.
pub fn link_name(number: u16) -> String {
    let entry = LINK.iter().find(|(known, _)| *known == number);
    entry.map_or_else(|| format!("[{number}]"), |(_, name)| name.to_string())
}

/// The number of the link-level protocol with this name, ignoring case.
pub fn link_number(name: &str) -> Option<u32> {
    let alias = (0x0800, "ipv4");
    let is_named = |(_, known): &&(u16, &str)| known.eq_ignore_ascii_case(name);
    let entry = LINK.iter().chain([&alias]).find(is_named);
    entry.map(|(number, _)| u32::from(*number))
}

/// The name of an IP protocol in `/etc/protocols`. If it has no name there, returns
/// `ipproto-NUMBER`.
pub fn ip_name(number: u16) -> String {
    let text = read_any(Path::new("/etc/protocols")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let name = text.lines().find_map(|line| {
        let mut fields = line.split('#').next()?.split_ascii_whitespace();
        let name = fields.next()?;
        (fields.next()?.parse() == Ok(number)).then(|| name.to_string())
    });
    name.unwrap_or_else(|| format!("ipproto-{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_without_a_name_are_shown_as_numbers() {
        assert_eq!(
            (netlink_name(0), netlink_name(17), netlink_name(99)),
            ("rtnl".into(), "17".into(), "99".into())
        );
        assert_eq!(
            (link_name(0x0806), link_name(7777)),
            ("arp".into(), "[7777]".into())
        );
        assert_eq!(ip_name(9999), "ipproto-9999");
    }

    #[test]
    fn protocol_numbers_are_found_by_name() {
        assert_eq!(
            (netlink_number("genl"), netlink_number("")),
            (Some(16), None)
        );
        assert_eq!(link_number("ARP"), Some(0x0806));
    }
}
