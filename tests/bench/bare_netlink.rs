//! The least that a poll of inet_diag can cost, as a measure for `peers`. Every
//! 10 ms it sends the four requests. It reads the answers only to find their
//! end.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::thread;
use std::time::Duration;

use lntu::listener::SocketTable;
use lntu::source::netlink::message::BUFFER_SIZE;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

const NLMSG_DONE: u16 = 3;

fn main() -> io::Result<()> {
    let protocol = Some(netlink::SOCK_DIAG);
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    let mut socket = File::from(socket_with(family, SocketType::RAW, flags, protocol)?);
    let mut buffer = vec![0; BUFFER_SIZE];
    let requests = SocketTable::ALL.map(|table| table.request(1));
    loop {
        for request in &requests {
            socket.write_all(request)?;
            loop {
                let length = socket.read(&mut buffer)?;
                // The message that ends an answer has 20 bytes. Its type is in
                // the fifth and sixth.
                if buffer[length - 16..length - 14] == NLMSG_DONE.to_ne_bytes() {
                    break;
                }
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}
