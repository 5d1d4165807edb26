//! What `-m` and `-i` add to a row of inet_diag.

use std::fmt::Write as _;

use super::printer::Printer;
use crate::source::netlink::message::{array_at, attribute};

/// The attribute with sums of a socket's memory, in old kernels.
pub const MEMORY_SUM: u16 = 1;
/// The attribute with `struct tcp_info`.
pub const INFO: u16 = 2;
/// The attribute with what the congestion control Vegas knows.
pub const VEGAS: u16 = 3;
/// The attribute with the name of the congestion control.
pub const CONGESTION: u16 = 4;
/// The attribute with a socket's memory.
pub const MEMORY: u16 = 7;

/// Writes what was asked for. `None` if it cannot be read.
pub fn show(
    _protocol: u32,
    _state: u8,
    attributes: &[u8],
    printer: &mut Printer<'_>,
) -> Option<()> {
    if let Some(memory) = attribute(attributes, MEMORY) {
        return show_memory(memory, printer);
    }
    if let Some(sums) = attribute(attributes, MEMORY_SUM) {
        let word = |at: usize| array_at(sums, 4 * at).map(u32::from_ne_bytes);
        let (r, w, f, t) = (word(0)?, word(1)?, word(2)?, word(3)?);
        let _ = write!(printer.table, " mem:(r{r},w{w},f{f},t{t})");
    }
    Some(())
}

/// Writes the memory of a socket: `SK_MEMINFO_VARS` of the kernel.
pub fn show_memory(memory: &[u8], printer: &mut Printer<'_>) -> Option<()> {
    let names = ["r", ",rb", ",t", ",tb", ",f", ",w", ",o", ",bl", ",d"];
    let words = memory
        .chunks_exact(4)
        .map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    if memory.len() < 4 * 7 {
        return None;
    }
    printer.table.push(b" skmem:(");
    for (name, word) in names.iter().zip(words) {
        let _ = write!(printer.table, "{name}{word}");
    }
    printer.table.push(b")");
    Some(())
}
