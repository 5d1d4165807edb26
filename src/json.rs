//! JSON Lines: one listener, one object, one line.

use crate::listener::{Listener, Scope, SsAddress};
use crate::timestamp::Timestamp;

/// `listener` as a JSON object, without a newline; `event` is its `type`.
///
/// Every string in it is made of characters that JSON takes as they are: the
/// words of this program, addresses, and a scope, of which alone the bytes
/// come from elsewhere and are escaped.
pub fn object(listener: &Listener, event: &str, timestamp: Timestamp) -> String {
    let protocol = listener.protocol.name();
    let family = match listener.family() {
        crate::listener::Family::V4 => 4,
        crate::listener::Family::V6 => 6,
    };
    let address = listener.endpoint.address;
    let spelled = match address.is_unspecified() {
        true => "*".to_string(),
        false => SsAddress(address).to_string(),
    };
    let number = listener.endpoint.port;
    let (recv_q, send_q) = (listener.recv_q, listener.send_q);
    let scope = match listener.scope.as_ref().map(Scope::as_str) {
        None => String::new(),
        Some(name) => format!(
            r#","scope":"{}""#,
            name.replace('\\', r"\\").replace('"', r#"\""#)
        ),
    };
    format!(
        r#"{{"type":"{event}","port":"{protocol}:{spelled}:{number}","timestamp":"{timestamp}","protocol":"{protocol}","family":{family},"address":"{address}","number":{number}{scope},"recv_q":{recv_q},"send_q":{send_q}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Protocol};
    use serde_json::{Value, json};

    fn parsed(address: &str, scope: Option<&[u8]>) -> Value {
        let address = address.parse().unwrap();
        let listener = Listener {
            scope: scope.map(|name| Scope::new(name).unwrap()),
            recv_q: 1,
            send_q: 2,
            ..Listener::new(Protocol::Udp, Endpoint { port: 53, address })
        };
        let mut value: Value =
            serde_json::from_str(&object(&listener, "opened", Timestamp::now())).unwrap();
        let timestamp = value["timestamp"].take();
        assert_eq!(timestamp.as_str().unwrap().len(), Timestamp::WIDTH);
        value
    }

    #[test]
    fn an_object_has_every_part() {
        let expected = json!({
            "type": "opened", "port": "udp:127.0.0.1:53", "timestamp": null,
            "protocol": "udp", "family": 4, "address": "127.0.0.1", "number": 53,
            "recv_q": 1, "send_q": 2,
        });
        assert_eq!(parsed("127.0.0.1", None), expected);
    }

    #[test]
    fn a_wildcard_is_a_star_in_the_port_and_spelled_out_in_the_address() {
        let v6 = parsed("::", None);
        assert_eq!(
            (&v6["port"], &v6["address"]),
            (&json!("udp:*:53"), &json!("::"))
        );
        assert_eq!(v6["family"], 6);
        assert_eq!(parsed("::1", None)["port"], "udp:[::1]:53");
    }

    #[test]
    fn a_scope_of_any_visible_bytes_is_a_json_string() {
        let nasty = br#"a"\b"#;
        assert_eq!(parsed("fe80::1", Some(nasty))["scope"], r#"a"\b"#);
    }
}
