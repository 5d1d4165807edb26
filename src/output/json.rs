//! JSON Lines: each listener, and each status of a watcher, is one object on one
//! line.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use super::timestamp::{Seconds, Timestamp};
use crate::listener::{
    Cgroup, Container, ContainerName, Family, Holder, Holders, Interface, Listener, Namespace,
    Protocol, SsAddress,
};
use crate::report::is_nonprinting;

/// `listener` as a JSON object without a newline. `event` is the member `type`. With
/// `holders`, the object has an array of the processes that hold the listener, which may be
/// empty. With `by_port`, the `id` identifies the port instead of the listener.
pub fn object(
    listener: &Listener,
    event: &str,
    timestamp: Timestamp,
    holders: bool,
    by_port: bool,
) -> String {
    let protocol = listener.protocol.name();
    let family = match listener.family() {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    let address = listener.endpoint.address;
    let spelled = match address.is_unspecified() {
        true => "*".to_string(),
        false => SsAddress(address).to_string(),
    };
    let number = listener.endpoint.port;
    let mut id = match by_port {
        true => format!("{protocol}:{number}"),
        false => format!("{protocol}{family}:{}:{number}", SsAddress(address)),
    };
    let recv_q = listener.recv_q;
    let send_q = match listener.send_q {
        None => String::new(),
        Some(send_q) => format!(r#","send_q":{send_q}"#),
    };
    let uid = match listener.uid {
        None => String::new(),
        Some(uid) => format!(r#","uid":{uid}"#),
    };
    let scope = match listener.interface.as_ref().map(Interface::as_str) {
        None => String::new(),
        Some(name) => format!(r#","scope":{}"#, string(name.as_bytes())),
    };
    let v6_only = match listener.v6_only {
        Some(v6_only) if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            format!(r#","v6only":{v6_only}"#)
        }
        _ => String::new(),
    };
    let processes = match holders {
        false => String::new(),
        true => processes(&listener.holders),
    };
    if let Some(Namespace { inode, .. }) = listener.namespace.as_deref() {
        id = format!("{inode}:{id}");
    }
    let namespace = match listener.namespace.as_deref() {
        None => String::new(),
        Some(Namespace {
            inode,
            pid: 0,
            mount,
            ..
        }) => format!(r#","namespace":{inode},"mount":{}"#, string(mount)),
        Some(Namespace { inode, pid, .. }) => format!(r#","namespace":{inode},"pid":{pid}"#),
    };
    let mut cgroup = listener.cgroup().map_or_else(String::new, cgroup);
    if let Some(name) = &listener.container_name {
        cgroup += &container_name(name);
    }
    format!(
        r#"{{"type":"{event}","id":"{id}","port":"{protocol}:{spelled}:{number}","timestamp":"{timestamp}","protocol":"{protocol}","family":{family},"address":"{address}","number":{number}{v6_only}{scope},"recv_q":{recv_q}{send_q}{uid}{processes}{namespace}{cgroup}}}"#
    )
}

/// The status of a watcher as a JSON object without a newline. `kind` is the member `type`.
/// The status may be limited to one namespace, given by its inode, or to one protocol. The
/// `interval` is the time between two polls.
pub fn status(
    kind: &str,
    timestamp: Timestamp,
    (namespace, protocol): (Option<u64>, Option<Protocol>),
    error: Option<&str>,
    interval: Option<Seconds>,
) -> String {
    let namespace = match namespace {
        None => String::new(),
        Some(inode) => format!(r#","namespace":{inode}"#),
    };
    let protocol = match protocol {
        None => String::new(),
        Some(protocol) => format!(r#","protocol":"{}""#, protocol.name()),
    };
    let error = match error {
        None => String::new(),
        Some(error) => format!(r#","error":{}"#, string(error.as_bytes())),
    };
    let interval = match interval {
        None => String::new(),
        Some(interval) => format!(r#","interval":{interval}"#),
    };
    format!(
        r#"{{"type":"{kind}","timestamp":"{timestamp}"{namespace}{protocol}{error}{interval}}}"#
    )
}

/// The members that describe a control group.
fn cgroup(cgroup: &Cgroup) -> String {
    let (path, owner) = (string(&cgroup.path), cgroup.member.name());
    let mut members = format!(r#","cgroup":{path},"cgroup_of":"{owner}""#);
    if let Some(Container { id, runtime }) = &cgroup.container {
        let _ = write!(members, r#","container":"{id}""#);
        if let Some(runtime) = runtime {
            let _ = write!(members, r#","runtime":"{runtime}""#);
        }
    }
    if cgroup.leads_to_container {
        members += r#","via":"docker-proxy""#;
    }
    members
}

/// The members with the name of a container and of its pod.
fn container_name(name: &ContainerName) -> String {
    let mut members = String::new();
    let names = ["container_name", "pod", "pod_namespace"];
    for (name, part) in names.iter().zip(name.parts().rev()) {
        let _ = write!(members, r#","{name}":{}"#, string(part));
    }
    members
}

/// The member `processes`, and `more_processes` if there are too many to list.
fn processes(holders: &Holders) -> String {
    let objects: Vec<String> = holders
        .first()
        .iter()
        .map(|Holder { name, pid, fd }| {
            format!(r#"{{"name":{},"pid":{pid},"fd":{fd}}}"#, string(name))
        })
        .collect();
    let more = match holders.more() {
        0 => String::new(),
        more => format!(r#","more_processes":{more}"#),
    };
    format!(r#","processes":[{}]{more}"#, objects.join(","))
}

/// A JSON string of `bytes`. Bytes that are not UTF-8 become U+FFFD.
fn string(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            _ if is_nonprinting(character) => {
                // RFC 8259 requires this escape for characters up to U+001F. Above U+FFFF, the
                // escape is a pair of surrogates.
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{CgroupMember, Endpoint};
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::time::Duration;

    fn listener(address: &str) -> Listener {
        let address = address.parse().unwrap();
        Listener {
            recv_q: 1,
            send_q: Some(2),
            uid: Some(1000),
            ..Listener::new(Protocol::Udp, Endpoint { port: 53, address })
        }
    }

    fn parsed(address: &str, scope: Option<&[u8]>) -> Value {
        let listener = Listener {
            interface: scope.map(|name| Interface::new(name).unwrap()),
            ..listener(address)
        };
        let mut value: Value =
            serde_json::from_str(&object(&listener, "opened", Timestamp::now(), false, false))
                .unwrap();
        let timestamp = value["timestamp"].take();
        assert_eq!(timestamp.as_str().unwrap().len(), Timestamp::WIDTH);
        value
    }

    #[test]
    fn an_object_has_every_member() {
        let expected = json!({
            "type": "opened", "id": "udp4:127.0.0.1:53", "port": "udp:127.0.0.1:53",
            "timestamp": null,
            "protocol": "udp", "family": 4, "address": "127.0.0.1", "number": 53,
            "recv_q": 1, "send_q": 2, "uid": 1000,
        });
        assert_eq!(parsed("127.0.0.1", None), expected);
    }

    #[test]
    fn a_wildcard_is_a_star_only_in_the_port() {
        let v6 = parsed("::", None);
        assert_eq!(
            (&v6["port"], &v6["address"]),
            (&json!("udp:*:53"), &json!("::"))
        );
        assert_eq!(v6["family"], 6);
        assert_eq!(parsed("::1", None)["port"], "udp:[::1]:53");
    }

    #[test]
    fn the_id_identifies_a_listener() {
        let id = |address, namespace: Option<u64>, by_port| {
            let namespace = namespace.map(|inode| Namespace {
                id: 7,
                inode,
                pid: 12,
                cgroup: Arc::default(),
                mount: Vec::new(),
            });
            let listener = Listener {
                namespace: namespace.map(Arc::new),
                ..listener(address)
            };
            let line = object(&listener, "closed", Timestamp::now(), false, by_port);
            serde_json::from_str::<Value>(&line).unwrap()["id"].take()
        };
        assert_eq!(id("0.0.0.0", None, false), "udp4:0.0.0.0:53");
        assert_eq!(id("::", None, false), "udp6:[::]:53");
        assert_eq!(id("::1.2.3.4", None, false), "udp6:[::1.2.3.4]:53");
        let namespace = Some(4026532221);
        assert_eq!(id("::1", namespace, false), "4026532221:udp6:[::1]:53");
        assert_eq!(id("::1", None, true), "udp:53");
        assert_eq!(id("0.0.0.0", namespace, true), "4026532221:udp:53");
    }

    #[test]
    fn v6only_is_written_for_ipv6_wildcards_alone() {
        let v6_only = |address, v6_only| {
            let listener = Listener {
                v6_only,
                ..listener(address)
            };
            let line = object(&listener, "opened", Timestamp::now(), false, false);
            serde_json::from_str::<Value>(&line).unwrap()["v6only"].take()
        };
        assert_eq!(v6_only("::", Some(false)), json!(false));
        assert_eq!(v6_only("::", Some(true)), json!(true));
        for (address, known) in [("::", None), ("::1", Some(true)), ("0.0.0.0", None)] {
            assert_eq!(v6_only(address, known), Value::Null, "{address}");
        }
    }

    #[test]
    fn a_scope_is_escaped() {
        let nasty = br#"a"\b"#;
        assert_eq!(parsed("fe80::1", Some(nasty))["scope"], r#"a"\b"#);
    }

    #[test]
    fn a_namespace_has_an_inode_and_a_process_or_mount() {
        let namespace = Namespace {
            id: 7,
            inode: 4026532221,
            pid: 12,
            cgroup: Arc::new(Cgroup {
                path: b"/a \"b\"\xff".to_vec(),
                ..Cgroup::default()
            }),
            mount: Vec::new(),
        };
        let object_in = |namespace: &Namespace| {
            let listener = Listener {
                namespace: Some(Arc::new(namespace.clone())),
                ..listener("::1")
            };
            let line = object(&listener, "opened", Timestamp::now(), false, false);
            serde_json::from_str::<Value>(&line).unwrap()
        };
        let value = object_in(&namespace);
        assert_eq!(
            (&value["namespace"], &value["pid"]),
            (&json!(4026532221u32), &json!(12))
        );
        assert_eq!(value["cgroup"], "/a \"b\"\u{fffd}");
        assert_eq!(value["cgroup_of"], "namespace");
        assert_eq!((value.get("container"), value.get("runtime")), (None, None));
        let value = object_in(&Namespace {
            pid: 0,
            mount: b"/run/netns/a b".to_vec(),
            ..namespace
        });
        assert_eq!(value["mount"], "/run/netns/a b");
        assert!(value.get("pid").is_none() && value.get("cgroup").is_none());

        let now = Timestamp::now();
        let line = status("lost", now, (Some(4026532221), None), Some("why"), None);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&value["namespace"], &value["error"]),
            (&json!(4026532221u32), &json!("why"))
        );
        let interval = Seconds(Duration::from_millis(62_050));
        let about = (None, Some(Protocol::Udp));
        let line = status("late", now, about, None, Some(interval));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&value["interval"], &value["protocol"]),
            (&json!(62.05), &json!("udp"))
        );
    }

    #[test]
    fn the_cgroup_of_the_socket_is_preferred() {
        let container = |runtime| Container {
            id: "ab12".repeat(16),
            runtime,
        };
        let cgroup = |member, runtime| Cgroup {
            path: b"/docker/ab12".to_vec(),
            member,
            container: Some(container(runtime)),
            leads_to_container: false,
        };
        let namespace = Namespace {
            id: 7,
            inode: 4026532221,
            pid: 12,
            cgroup: Arc::new(cgroup(CgroupMember::Namespace, None)),
            mount: Vec::new(),
        };
        let mut listener = Listener {
            namespace: Some(Arc::new(namespace)),
            ..listener("::1")
        };
        let owner_and_runtime = |listener: &Listener| {
            let line = object(listener, "opened", Timestamp::now(), false, false);
            let mut value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["container"], "ab12".repeat(16));
            ["cgroup_of", "runtime"].map(|member| value[member].take())
        };
        assert_eq!(
            owner_and_runtime(&listener),
            [json!("namespace"), Value::Null]
        );
        listener.cgroup = Some(Arc::new(cgroup(CgroupMember::Socket, Some("cri-o"))));
        assert_eq!(
            owner_and_runtime(&listener),
            [json!("socket"), json!("cri-o")]
        );
    }

    #[test]
    fn a_container_that_docker_proxy_leads_to_is_marked() {
        let via = |leads_to_container| {
            let cgroup = Cgroup {
                leads_to_container,
                ..Cgroup::default()
            };
            let listener = Listener {
                cgroup: Some(Arc::new(cgroup)),
                ..listener("::1")
            };
            let line = object(&listener, "opened", Timestamp::now(), false, false);
            serde_json::from_str::<Value>(&line).unwrap()["via"].take()
        };
        assert_eq!(
            [via(true), via(false)],
            [json!("docker-proxy"), Value::Null]
        );
    }

    #[test]
    fn a_container_has_members_for_its_name_and_pod() {
        let members = |name: &str| {
            let listener = Listener {
                container_name: Some(Arc::new(ContainerName(name.to_string()))),
                ..listener("::1")
            };
            let line = object(&listener, "opened", Timestamp::now(), false, false);
            let mut value: Value = serde_json::from_str(&line).unwrap();
            ["container_name", "pod", "pod_namespace"].map(|member| value[member].take())
        };
        assert_eq!(
            members("default/web-0/nginx"),
            [json!("nginx"), json!("web-0"), json!("default")]
        );
        assert_eq!(members("a\"\n"), [json!("a\"\n"), Value::Null, Value::Null]);
    }

    #[test]
    fn names_of_processes_are_escaped() {
        let processes = |names: &[&[u8]]| {
            let process = |name: &&[u8]| Holder {
                name: name.to_vec(),
                pid: 12,
                fd: 6,
            };
            let listener = Listener {
                holders: Holders::new(names.iter().map(process)),
                ..listener("::1")
            };
            let line = object(&listener, "closed", Timestamp::now(), true, false);
            assert!(!line.chars().any(char::is_control), "{line}");
            serde_json::from_str::<Value>(&line).unwrap()["processes"].take()
        };
        assert_eq!(processes(&[]), json!([]));
        let nasty = b"a \"b\"\n) ,pid=1";
        let expected = json!([{"name": "a \"b\"\n) ,pid=1", "pid": 12, "fd": 6}]);
        assert_eq!(processes(&[nasty]), expected);
        let control = b"\\\x00\x1b\x7f\xc2\x9b\xff\xc3\xa9";
        let expected = "\\\0\x1b\x7f\u{9b}\u{fffd}é";
        assert_eq!(processes(&[control])[0]["name"], expected);
    }

    #[test]
    fn invisible_characters_are_escaped() {
        let hidden =
            "\u{1b}\u{85}\u{ad}\u{61c}\u{180e}\u{2028}\u{3000}\u{3164}\u{fff9}\u{e000}\u{e0041}";
        let text = string(hidden.as_bytes());
        assert!(text.is_ascii(), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hidden);
    }

    #[test]
    fn processes_that_are_not_listed_are_counted() {
        let counted = |number| {
            let process = |fd| Holder {
                name: b"name".to_vec(),
                pid: 12,
                fd,
            };
            let listener = Listener {
                holders: Holders::new((0..number).map(process)),
                ..listener("::1")
            };
            let line = object(&listener, "opened", Timestamp::now(), true, false);
            let value: Value = serde_json::from_str(&line).unwrap();
            let named = value["processes"].as_array().unwrap().len();
            (named, value.get("more_processes").cloned())
        };
        assert_eq!(counted(64), (64, None));
        assert_eq!(counted(1000), (64, Some(json!(936))));
    }
}
