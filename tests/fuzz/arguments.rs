//! Parses any bytes as a command line, one argument per line, under the name lntu and under the
//! name ss. Nothing may panic. If lntu prints a PORT, the printed text must parse to the same PORT.
#![no_main]

use std::ffi::OsStr;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt as _;

use libfuzzer_sys::fuzz_target;
use lntu::as_ss::ask::options;
use lntu::as_ss::names::services::Services;
use lntu::cli;
use lntu::command::pace::{DurationError, Interval, parse_duration};
use lntu::port::{PortSpec, RequiredPort};

fuzz_target!(|input: &[u8]| {
    let arguments = || input.split(|&byte| byte == b'\n');
    let owned = || arguments().map(|argument| OsStr::from_bytes(argument).to_owned());
    if let Err(error) = cli::parse(owned(), |_| None) {
        error.to_string();
    }
    let services = Services::new("/etc/services".into(), "/nonexistent".into());
    if let Err(refusal) = options::parse(owned(), &services) {
        refusal.to_string();
    }
    for argument in arguments().filter_map(|argument| std::str::from_utf8(argument).ok()) {
        port(argument);
        duration(argument);
    }
});

fn port(text: &str) {
    let Ok(spec) = text.parse::<PortSpec>() else {
        return;
    };
    assert_eq!(reparsed(&spec), spec);
    let port = RequiredPort::one_of(spec.clone());
    assert_eq!(RequiredPort::one_of(reparsed(&port)), port);
    if let Ok(single) = RequiredPort::new(spec) {
        assert_eq!(single, port);
    }
}

fn reparsed(port: &impl Display) -> PortSpec {
    port.to_string()
        .parse()
        .expect("this program has printed it")
}

/// Parses a duration, and compares the result with the sum of the parts, computed in floating
/// point.
fn duration(text: &str) {
    let result = parse_duration(text);
    let interval = text.parse::<Interval>();
    match result {
        Ok(duration) => {
            assert_eq!(interval.is_ok(), duration >= Interval::SHORTEST);
            let mut expected = 0.0;
            let mut rest = text;
            while !rest.is_empty() {
                let letter = rest.find(char::is_alphabetic).unwrap_or(rest.len());
                let (number, after) = rest.split_at(letter);
                let digit = after
                    .find(|letter: char| !letter.is_alphabetic())
                    .unwrap_or(after.len());
                let (unit, after) = after.split_at(digit);
                let unit = match unit {
                    "ms" => 0.001,
                    "" if number == text => 1.0,
                    "s" | "sec" => 1.0,
                    "m" | "min" => 60.0,
                    "h" => 3600.0,
                    "d" => 86400.0,
                    unit => panic!("{unit} is no unit"),
                };
                expected += number.parse::<f64>().expect("a number") * unit;
                rest = after;
            }
            let difference = (duration.as_secs_f64() - expected).abs();
            // The parser cuts off less than a nanosecond of each part, and floats are rounded.
            assert!(
                difference <= expected * 1e-12 + 1e-7,
                "{text}: {duration:?}"
            );
        }
        Err(error) => {
            assert_eq!(interval, Err(error));
            assert_ne!(error, DurationError::TooShort);
        }
    }
}
