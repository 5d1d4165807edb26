//! A reader that returns its bytes in pieces, as the kernel does.

use std::io::{self, ErrorKind, Read};

/// Returns `data` in pieces. `splits` gives their sizes and repeats. A size of
/// 0 is an interrupted read, so at least one size must not be 0.
pub struct Pieces<'a> {
    data: &'a [u8],
    splits: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl<'a> Pieces<'a> {
    /// The last eight bytes of `input` are the sizes. The rest is the data, so
    /// any file can be an input as it is.
    pub fn of(input: &'a [u8]) -> Option<(&'a [u8], Pieces<'a>)> {
        let (data, splits) = input.split_at_checked(input.len().checked_sub(8)?)?;
        splits.iter().any(|&size| size != 0).then(|| {
            let splits = splits.iter().cycle();
            (data, Pieces { data, splits })
        })
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = match self.splits.next() {
            None | Some(0) => return Err(ErrorKind::Interrupted.into()),
            Some(&size) => usize::from(size),
        };
        let length = size.min(self.data.len()).min(buffer.len());
        let (piece, rest) = self.data.split_at(length);
        buffer[..length].copy_from_slice(piece);
        self.data = rest;
        Ok(length)
    }
}
