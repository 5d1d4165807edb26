//! The numbers of sockets that `-s` prints, from `/proc/net/sockstat` and `/proc/net/snmp`.

use std::fs;
use std::io::ErrorKind;

use crate::as_ss::error::Error;
use crate::as_ss::paths::Paths;
use crate::kernel::proc::file::read_any;
use crate::kernel::proc::sockstat;
use crate::report;

/// The text that `-s` prints: the number of sockets by protocol and family.
///
/// # Errors
/// Fails if a file cannot be read, or if `/proc/net/snmp` lacks the number of established
/// connections.
pub fn summary(paths: &Paths) -> Result<String, Error> {
    let counts = read(paths, "sockstat", "get_sockstat")?;
    let counts6 = match fs::metadata(paths.file("sockstat6")) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        _ => read(paths, "sockstat6", "get_sockstat")?,
    };
    let snmp = read(paths, "snmp", "get_snmpstat")?;
    // Returns the number after `name` in the line that starts with `start`, or 0.
    let count = |text: &str, start: &str, name: &str| -> i64 {
        let line = text.lines().find_map(|line| line.strip_prefix(start));
        let number = line.and_then(|line| sockstat::value(line, name));
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let v4 = |start: &str, name: &str| count(&counts, start, name);
    let v6 = |start: &str| count(&counts6, start, "inuse");
    let established = match sockstat::established(&snmp) {
        None if snmp.is_empty() => 0,
        None => {
            let path = paths.file("snmp");
            return Err(Error::file(&path, "does not say CurrEstab"));
        }
        Some(established) => established,
    };
    let (tcp4, tcp6) = (v4("TCP:", "inuse"), v6("TCP6:"));
    let (allocated, waiting) = (v4("TCP:", "alloc"), v4("TCP:", "tw"));
    let rows = [
        ("RAW", v4("RAW:", "inuse"), v6("RAW6:")),
        ("UDP", v4("UDP:", "inuse"), v6("UDP6:")),
        ("TCP", tcp4, tcp6),
    ];
    let (all4, all6) = rows
        .iter()
        .fold((0, 0), |(all4, all6), (_, v4, v6)| (all4 + v4, all6 + v6));
    let totals = [
        ("INET", all4, all6),
        ("FRAG", v4("FRAG:", "inuse"), v6("FRAG6:")),
    ];
    let mut text = format!(
        "Total: {}\nTCP:   {} (estab {established}, closed {}, orphaned {}, timewait {waiting})\n\n\
         Transport Total     IP        IPv6\n",
        v4("sockets:", "used"),
        allocated + waiting,
        allocated - (tcp4 + tcp6 - waiting),
        v4("TCP:", "orphan"),
    );
    for (name, v4, v6) in rows.into_iter().chain(totals) {
        text += &format!("{name}\t  {:<9} {v4:<9} {v6:<9}\n", v4 + v6);
    }
    text.push('\n');
    Ok(text)
}

/// The text of a file of `/proc/net`. If there is no `/proc`, returns an empty text and reports
/// an error, as ss does. The error contains `function`, the name of a function of ss.
///
/// # Errors
/// Fails if the environment replaces the file, or if the file cannot be read for a reason other
/// than that there is no `/proc`.
fn read(paths: &Paths, name: &str, function: &str) -> Result<String, Error> {
    let path = paths.file(name);
    let text = read_any(&path).map(|text| String::from_utf8_lossy(&text).into_owned());
    text.or_else(|error| match error.kind() {
        ErrorKind::NotFound if paths.asks_kernel_for(name) => {
            let why = "No such file or directory";
            report::error_as("ss", format_args!("{function}: {why}"));
            Ok(String::new())
        }
        ErrorKind::PermissionDenied => Err(Error::file(&path, "may not be read")),
        _ => Err(Error::file(&path, error)),
    })
}
