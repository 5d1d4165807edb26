//! A minimal client of inet_diag, which sends the requests and reads the answers without decoding
//! the rows. `peers` measures it to find the least that asking netlink can cost.
//!
//! Without an argument, it asks for all four tables every 10 ms, like a watcher. With `once`, it
//! asks for the TCP tables and exits, like a probe of one port.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::thread;
use std::time::Duration;

use lntu::kernel::netlink::diag::Listeners;
use lntu::kernel::netlink::message::{Amount, BUFFER_SIZE, write_request};
use lntu::listener::{Protocol, SocketTable};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

const NLMSG_DONE: u16 = 3;

fn main() -> io::Result<()> {
    let is_once = std::env::args().nth(1).as_deref() == Some("once");
    let protocol = Some(netlink::SOCK_DIAG);
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    let mut socket = File::from(socket_with(family, SocketType::RAW, flags, protocol)?);
    let mut buffer = vec![0; BUFFER_SIZE];
    let requests = SocketTable::ALL.map(|table| {
        let (wanted, mut request) = (Listeners::from(table), Vec::new());
        wanted.with_request(|payload| {
            write_request(&mut request, wanted.kind(), 1, Amount::Dump, payload);
        });
        (table, request)
    });
    loop {
        for (table, request) in &requests {
            if !is_once || table.protocol == Protocol::Tcp {
                socket.write_all(request)?;
                read_answer(&mut socket, &mut buffer)?;
            }
        }
        if is_once {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Reads up to the last message of an answer. That message has 20 bytes, and its type is in the
/// fifth and sixth byte.
fn read_answer(socket: &mut File, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        let length = socket.read(buffer)?;
        if buffer[length - 16..length - 14] == NLMSG_DONE.to_ne_bytes() {
            return Ok(());
        }
    }
}
