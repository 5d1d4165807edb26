//! A reader that returns its bytes in pieces, as the kernel does.

use std::io::{self, ErrorKind, Read};

/// Returns `data` in pieces of these sizes, which repeat. A size of 0 is an interrupted read, so
/// at least one size must not be 0.
pub struct Pieces<'a> {
    data: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl<'a> Pieces<'a> {
    /// Splits the input into data and a reader of the data. The last eight bytes are the sizes. They
    /// are at the end so that any file can be an input.
    pub fn from_input(input: &'a [u8]) -> Option<(&'a [u8], Pieces<'a>)> {
        let (data, sizes) = input.split_at_checked(input.len().checked_sub(8)?)?;
        sizes.iter().any(|&size| size != 0).then(|| {
            let sizes = sizes.iter().cycle();
            (data, Pieces { data, sizes })
        })
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = match self.sizes.next() {
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
