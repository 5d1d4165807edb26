//! The least that a connecting probe can cost, for `peers`: it connects to the
//! address in its argument, and that is all.

use std::net::TcpStream;
use std::process::ExitCode;

fn main() -> ExitCode {
    let address = std::env::args().nth(1).expect("an ADDRESS:PORT");
    ExitCode::from(u8::from(TcpStream::connect(address).is_err()))
}
