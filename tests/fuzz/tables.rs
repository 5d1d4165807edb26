//! Reads any bytes as a table, in pieces of any size. Nothing may panic. The lines must be the same
//! as if the whole table is split at its newlines.
#![no_main]

mod pieces;

use libfuzzer_sys::fuzz_target;
use lntu::kernel::proc::row::{decode_row, row_fields};
use lntu::kernel::proc::scan::{Line, Scanner};
use lntu::listener::Protocol;
use pieces::Pieces;

fuzz_target!(|input: &[u8]| {
    let Some((data, _)) = Pieces::from_input(input) else {
        return;
    };
    for capacity in [1, 2, 7, 64, 8192] {
        let Some((_, pieces)) = Pieces::from_input(input) else {
            return;
        };
        let (expected, overlong) = lines(data, capacity);
        let mut expected = expected.into_iter();
        let mut scanner = Scanner::with_capacity(capacity);
        let mut scanned = scanner.lines(pieces);
        // In every third turn, ask only for lines that are already in the buffer.
        for turn in 0.. {
            if turn % 3 == 0
                && let Some(line) = scanned.next_read()
            {
                assert_eq!(Some(line), expected.next());
                continue;
            }
            let line = scanned.next().expect("this reader does not fail");
            assert_eq!(line, expected.next());
            if line.is_none() {
                break;
            }
        }
        assert_eq!(scanned.overlong(), overlong);
    }
    for line in lines(data, usize::MAX).0 {
        decode(line.bytes);
    }
});

/// Returns the lines that a scanner with this capacity must find, and the number of lines that are
/// longer than the capacity.
fn lines(data: &[u8], capacity: usize) -> (Vec<Line<'_>>, u64) {
    let mut overlong = 0;
    let lines = data
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| match line.strip_suffix(b"\n") {
            Some(bytes) => Line {
                bytes,
                terminated: true,
            },
            None => Line {
                bytes: line,
                terminated: false,
            },
        })
        .filter(|line| {
            let fits = line.bytes.len() < capacity;
            overlong += u64::from(!fits);
            fits
        })
        .collect();
    (lines, overlong)
}

/// Checks that padding does not change the socket that a row describes.
fn decode(line: &[u8]) {
    let Some(fields) = row_fields(line) else {
        return;
    };
    let mut narrow = b"0:".to_vec();
    let words = line.split(u8::is_ascii_whitespace);
    for field in words.filter(|word| !word.is_empty()).skip(1) {
        narrow.push(b' ');
        narrow.extend_from_slice(field);
    }
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let socket = decode_row(&fields, protocol);
        let narrow = row_fields(&narrow).expect("it starts with a number and a colon");
        assert_eq!(socket, decode_row(&narrow, protocol));
    }
}
