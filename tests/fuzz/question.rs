//! A random question for ss: options, and a filter that is valid with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::{Arbitrary, Result, Unstructured};
use lntu::listener::Family;

/// The arguments of ss.
#[derive(Debug)]
pub struct Question(pub Vec<String>);

impl<'a> Arbitrary<'a> for Question {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Question> {
        let protocols = [
            "-lntu",
            "-tul",
            "-lnt",
            "-tl",
            "-ul",
            "-Hlun",
            "-HOltu",
            "-tan",
            "-uan",
            "-tuna",
            "-t",
            "-Hu",
            "-tna",
            "-tano",
            "-tuae",
            "-Htlne",
            "-uale",
            "-Atcp,udp",
            "-Audp",
        ];
        let mut arguments = vec![bytes.choose(&protocols)?.to_string()];
        let mut family = None;
        for _ in 0..bytes.int_in_range(0..=2)? {
            let (option, option_family) = *bytes.choose(&[
                ("-4", Family::V4),
                ("-6", Family::V6),
                ("-finet", Family::V4),
                ("--family=inet6", Family::V6),
            ])?;
            arguments.push(option.to_string());
            family = Some(option_family);
        }
        for _ in 0..bytes.int_in_range(0..=2)? {
            let word = *bytes.choose(&["state", "state", "exclude", "excl"])?;
            let states = [
                "all",
                "connected",
                "synchronized",
                "bucket",
                "big",
                "established",
                "syn-sent",
                "syn-recv",
                "FIN-WAIT-1",
                "fin-wait-2",
                "time-wait",
                "closed",
                "close-wait",
                "last-ack",
                "Listening",
                "closing",
            ];
            let state = *bytes.choose(&states)?;
            // Do not exclude all states. lntu refuses a question for which no state remains.
            if !(word.starts_with("excl") && state == "all") {
                arguments.extend([word, state].map(str::to_string));
            }
        }
        if bytes.arbitrary()? {
            arguments.extend(filter(bytes, family, 3)?);
        }
        Ok(Question(arguments))
    }
}

fn filter(bytes: &mut Unstructured<'_>, family: Option<Family>, depth: u8) -> Result<Vec<String>> {
    let mut words = condition(bytes, family, depth)?;
    for _ in 0..bytes.int_in_range(0..=2)? {
        let join = *bytes.choose(&["and", "&&", "&", "or", "||", "|", ""])?;
        words.push(join.to_string());
        words.extend(condition(bytes, family, depth)?);
    }
    Ok(words)
}

fn condition(
    bytes: &mut Unstructured<'_>,
    family: Option<Family>,
    depth: u8,
) -> Result<Vec<String>> {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| word.to_string())
            .collect::<Vec<_>>()
    };
    Ok(
        match bytes.int_in_range(0..=if depth == 0 { 3 } else { 5 })? {
            0 | 1 => {
                let operators = [
                    "=", "==", "eq", "!=", "ne", "neq", "<", "lt", ">", "gt", "<=", "le", "leq",
                    ">=", "ge", "geq",
                ];
                let end = *bytes.choose(&["sport", "sport", "sport", "dport"])?;
                let operator = *bytes.choose(&operators)?;
                let colon = *bytes.choose(&["", ":"])?;
                words(&[end, operator, &format!("{colon}{}", port(bytes)?)])
            }
            2 | 3 => {
                let end = *bytes.choose(&["src", "src", "src", "dst"])?;
                let operator = *bytes.choose(&["", "="])?;
                words(&[end, operator, &endpoint(bytes, family)?])
            }
            4 => {
                let not = *bytes.choose(&["not", "!"])?;
                [words(&[not]), condition(bytes, family, depth - 1)?].concat()
            }
            _ => {
                let filter = filter(bytes, family, depth - 1)?;
                [words(&["("]), filter, words(&[")"])].concat()
            }
        },
    )
}

/// A port number in a notation of C: decimal, hexadecimal or octal.
fn port(bytes: &mut Unstructured<'_>) -> Result<String> {
    let port: u16 = bytes.arbitrary()?;
    Ok(match bytes.int_in_range(0..=5)? {
        0 => format!("{port:#x}"),
        1 => format!("0{port:o}"),
        _ => port.to_string(),
    })
}

/// `ADDRESS` or `ADDRESS/BITS`, with or without a port. The address is of the given family, if
/// there is one.
fn endpoint(bytes: &mut Unstructured<'_>, family: Option<Family>) -> Result<String> {
    let port = match bytes.int_in_range(0..=3)? {
        0 => format!(":{}", port(bytes)?),
        1 => ":*".to_string(),
        _ => String::new(),
    };
    let family = match family {
        Some(family) => family,
        None => *bytes.choose(&[Family::V4, Family::V6])?,
    };
    let bits = |bytes: &mut Unstructured<'_>, limit: u8| {
        Ok(match bytes.arbitrary()? {
            true => format!("/{}", bytes.int_in_range(0..=limit)?),
            false => String::new(),
        })
    };
    let address: IpAddr = match (family, bytes.arbitrary()?) {
        (Family::V4, true) => Ipv4Addr::UNSPECIFIED.into(),
        (Family::V4, false) => Ipv4Addr::from(bytes.arbitrary::<[u8; 4]>()?).into(),
        (Family::V6, true) => Ipv6Addr::LOCALHOST.into(),
        (Family::V6, false) => Ipv6Addr::from(bytes.arbitrary::<[u8; 16]>()?).into(),
    };
    Ok(match bytes.int_in_range(0..=9)? {
        0 => format!("*{port}"),
        1 => format!("any{port}"),
        _ => match address {
            IpAddr::V4(address) => format!("{address}{}{port}", bits(bytes, 32)?),
            IpAddr::V6(address) => format!("[{address}{}]{port}", bits(bytes, 128)?),
        },
    })
}
