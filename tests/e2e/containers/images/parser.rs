//! A program that runs `ss -lntu` and parses its columns, as many programs do. It prints the netid,
//! state and local address of each line.

use std::process::{Command, exit};

fn main() {
    let ss = Command::new("ss")
        .arg("-lntu")
        .output()
        .expect("running ss");
    if !ss.status.success() {
        eprint!("{}", String::from_utf8_lossy(&ss.stderr));
        exit(1);
    }
    let text = String::from_utf8(ss.stdout).expect("text");
    for line in text.lines().skip(1) {
        let mut fields = line.split_whitespace();
        let mut field = |index| fields.nth(index).expect("a column");
        let (netid, state, local) = (field(0), field(0), field(2));
        println!("{netid} {state} {local}");
    }
}
