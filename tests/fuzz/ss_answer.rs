//! Reads any bytes as an answer of ss, in pieces of any size. Nothing may panic, and the sizes of
//! the pieces must not change the listeners or the error. Also prints random listeners, under the
//! name lntu and under the name ss. Reading a printed table must return the same listeners.
#![no_main]

mod pieces;

use std::io::Read;
use std::net::IpAddr;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use lntu::as_ss;
use lntu::listener::{Endpoint, Holder, Holders, Interface, Listener, Protocol, SsAddress};
use lntu::output::table::Table;
use lntu::source::ss::answer::AnswerReader;
use pieces::Pieces;

fuzz_target!(|input: &[u8]| {
    if let Some((data, pieces)) = Pieces::from_input(input) {
        let whole = read(data);
        assert_eq!(read(pieces), whole);
        if let Ok(listeners) = whole {
            assert_read_back(&listeners);
        }
    }
    let mut bytes = Unstructured::new(input);
    let listeners: Vec<Listener> = std::iter::from_fn(|| {
        let more = !bytes.is_empty();
        more.then(|| listener(&mut bytes).ok()).flatten()
    })
    .collect();
    assert_read_back(&listeners);
});

/// Reads an answer of ss. Returns the listeners or the text of the error. An answer without a
/// header has no listeners.
fn read(answer: impl Read) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    match AnswerReader::default().read(answer, &mut listeners) {
        Ok(_) => {
            // If every Send-Q is 0, lntu cannot know whether this version of ss prints backlogs.
            for listener in &mut listeners {
                listener.send_q = listener.send_q.or(Some(0));
            }
            Ok(listeners)
        }
        Err(error) => Err(error.to_string()),
    }
}

fn assert_read_back(listeners: &[Listener]) {
    let without_holders = |listener: &Listener| Listener {
        holders: Holders::default(),
        ..listener.clone()
    };
    let expected = Vec::from_iter(listeners.iter().map(without_holders));
    assert_own_table_read_back(&expected);
    // In ss, the length of a queue is a signed number.
    let is_length = |length: u32| i32::try_from(length).is_ok();
    let has_lengths = |listener: &Listener| {
        is_length(listener.recv_q) && is_length(listener.send_q.unwrap_or_default())
    };
    if listeners.iter().all(has_lengths) {
        let mut text = Vec::new();
        let mut write = |part: &[u8]| {
            text.extend(part);
            Ok(())
        };
        let parts = as_ss::show::table::Parts {
            netid: true,
            state: true,
            header: true,
        };
        let mut table = as_ss::show::table::Table::new(parts, &mut write);
        listeners
            .iter()
            .for_each(|listener| push(&mut table, listener));
        table.finish().expect("writing to a vector does not fail");
        let shown = String::from_utf8_lossy(&text);
        // A `*` in the answer may show that a listener accepts IPv4. `listeners` do not contain
        // that.
        let read = read(&text[..]).map(|mut listeners| {
            listeners
                .iter_mut()
                .for_each(|listener| listener.v6_only = None);
            listeners
        });
        // lntu does not read the Process column, and refuses an answer in which a process name
        // contains a newline.
        match shown.lines().count() > listeners.len() + 1 {
            true => assert!(read.is_err(), "{shown}"),
            false => assert_eq!(read.as_deref(), Ok(&expected[..]), "{shown}"),
        }
    }
}

/// Writes the row of a listener as ss does if an IPv6 wildcard accepts IPv4, too.
fn push(table: &mut as_ss::show::table::Table<'_>, listener: &Listener) {
    let address = |address: IpAddr| match address {
        IpAddr::V6(any) if any.is_unspecified() => "*".to_string(),
        other => SsAddress(other).to_string(),
    };
    table.start_row();
    table.cell(listener.protocol.name());
    table.cell(listener.protocol.listening_state());
    table.cell(format!("{:<6}", listener.recv_q));
    table.cell(format!("{:<6}", listener.send_q.unwrap_or_default()));
    let interface = listener.interface.map(|name| format!("%{}", name.as_str()));
    let local = address(listener.endpoint.address);
    table.cell(format!("{local}{}:", interface.unwrap_or_default()));
    table.cell(listener.endpoint.port.to_string());
    table.cell(format!("{}:", address(listener.peer.address)));
    table.cell("*");
    let mut users = Vec::new();
    for Holder { name, pid, fd } in listener.holders.first() {
        let before: &[u8] = if users.is_empty() {
            b" users:((\""
        } else {
            b",(\""
        };
        users.extend_from_slice(before);
        users.extend_from_slice(name);
        users.extend_from_slice(format!("\",pid={pid},fd={fd})").as_bytes());
    }
    if !users.is_empty() {
        users.push(b')');
    }
    table.push(&users);
}

fn assert_own_table_read_back(listeners: &[Listener]) {
    let mut table = Table::default();
    listeners.iter().for_each(|listener| table.fit(listener));
    let mut text = table.header() + "\n";
    for listener in listeners {
        text += &table.row(listener, listener.protocol.listening_state());
        text += "\n";
    }
    assert_eq!(read(text.as_bytes()).as_deref(), Ok(listeners), "{text}");
}

fn listener(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Listener> {
    let address = match bytes.arbitrary::<u8>()? {
        0 => "0.0.0.0".parse().unwrap(),
        1 => "::".parse().unwrap(),
        even if even % 2 == 0 => IpAddr::from(bytes.arbitrary::<[u8; 4]>()?),
        // Zero some words, because runs of zero words are shortened when an address is printed.
        zeros => {
            let mut words = bytes.arbitrary::<[u16; 8]>()?;
            for (bit, word) in words.iter_mut().enumerate() {
                *word *= u16::from(zeros >> bit & 1);
            }
            IpAddr::from(words)
        }
    };
    let length = bytes.int_in_range(0..=15)?;
    let protocol = match bytes.arbitrary()? {
        true => Protocol::Tcp,
        false => Protocol::Udp,
    };
    let port = bytes.arbitrary()?;
    let holders: Vec<Holder> = (0..bytes.int_in_range(0..=3)?)
        .map(|_| holder(bytes))
        .collect::<Result<_, _>>()?;
    Ok(Listener {
        interface: Interface::new(bytes.bytes(length)?),
        recv_q: bytes.arbitrary()?,
        send_q: Some(bytes.arbitrary()?),
        holders: Holders::new(holders),
        ..Listener::new(protocol, Endpoint { port, address })
    })
}

/// A random process that holds a listener. Its name has no `)`, because ss would cut it off there.
fn holder(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Holder> {
    let length = bytes.int_in_range(0..=15)?;
    let name = bytes.bytes(length)?.split(|byte| *byte == b')');
    Ok(Holder {
        name: name.into_iter().next().unwrap_or_default().to_vec(),
        pid: bytes.int_in_range(1..=u32::MAX)?,
        fd: bytes.arbitrary()?,
    })
}
