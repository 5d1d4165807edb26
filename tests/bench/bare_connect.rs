//! A minimal probe, which only connects to the address in its argument. `peers` measures it to find
//! the least that a probe by connection can cost.

use std::net::TcpStream;
use std::process::ExitCode;

fn main() -> ExitCode {
    let address = std::env::args().nth(1).expect("an ADDRESS:PORT");
    ExitCode::from(u8::from(TcpStream::connect(address).is_err()))
}
