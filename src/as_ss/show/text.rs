//! A buffer for text that is written in many short pieces.
//!
//! A table of connections consists of millions of pieces, most of them shorter than ten bytes.
//! When each piece was copied with memcpy of the C library, these calls took half the time of
//! `ss -tin`. Short pieces are therefore copied without memcpy.

/// A text in a buffer. The buffer can be longer than the text.
#[derive(Default)]
pub struct Text {
    bytes: Vec<u8>,
    length: usize,
}

impl Text {
    /// The length of the text.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The bytes of the text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Shortens the text to this length, if it is longer.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, piece: &[u8]) {
        let length = piece.len();
        let room = self.room(length);
        if length > 32 {
            room.copy_from_slice(piece);
        } else if !(copy_ends::<16>(room, piece)
            || copy_ends::<8>(room, piece)
            || copy_ends::<4>(room, piece)
            || copy_ends::<2>(room, piece))
        {
            copy_ends::<1>(room, piece);
        }
    }

    /// Adds this many blanks.
    pub fn push_blanks(&mut self, mut count: usize) {
        const BLANKS: [u8; 32] = [b' '; 32];
        while count > BLANKS.len() {
            self.push(&BLANKS);
            count -= BLANKS.len();
        }
        self.push(&BLANKS[..count]);
    }

    /// Adds a number in decimal notation.
    pub fn decimal(&mut self, number: u64) {
        let count = number.checked_ilog10().unwrap_or(0) as usize + 1;
        self.digits(number, count);
    }

    /// Adds the last `count` digits of a number in decimal notation.
    pub fn digits(&mut self, number: u64, count: usize) {
        let mut remaining = number;
        for digit in self.room(count).iter_mut().rev() {
            *digit = b'0' + (remaining % 10) as u8;
            remaining /= 10;
        }
    }

    /// Extends the text by `count` bytes. The caller must overwrite them.
    fn room(&mut self, count: usize) -> &mut [u8] {
        let start = self.length;
        self.length += count;
        if self.length > self.bytes.len() {
            self.grow();
        }
        &mut self.bytes[start..self.length]
    }

    #[cold]
    fn grow(&mut self) {
        self.bytes.resize(self.length + 4096, 0);
    }
}

/// Copies the first `N` and the last `N` bytes of `source` to `target`, which must have the
/// same length. If the length is at most `2 * N`, this copies everything. Returns false if the
/// length is less than `N`.
#[inline(always)]
fn copy_ends<const N: usize>(target: &mut [u8], source: &[u8]) -> bool {
    let (Some(first), Some(last)) = (source.first_chunk::<N>(), source.last_chunk::<N>()) else {
        return false;
    };
    if let Some(room) = target.first_chunk_mut() {
        *room = *first;
    }
    if let Some(room) = target.last_chunk_mut() {
        *room = *last;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_every_length_are_appended() {
        let (mut text, mut expected) = (Text::default(), Vec::new());
        let piece: Vec<u8> = (0..200).collect();
        for round in 0..60 {
            for length in 0..=piece.len() {
                text.push(&piece[..length]);
                expected.extend_from_slice(&piece[..length]);
                text.push_blanks(length * round % 90);
                expected.resize(expected.len() + length * round % 90, b' ');
            }
        }
        assert!(text.as_bytes() == expected);
    }

    #[test]
    fn truncate_shortens_the_text() {
        let mut text = Text::default();
        text.push(b"a long piece of text");
        text.truncate(7);
        assert_eq!((text.length(), text.as_bytes()), (7, &b"a long "[..]));
    }

    #[test]
    fn decimal_writes_all_digits() {
        let mut text = Text::default();
        let mut expected = String::new();
        for number in [
            0,
            9,
            10,
            99,
            100,
            u64::from(u32::MAX),
            u64::MAX / 10,
            u64::MAX,
        ] {
            text.decimal(number);
            text.push(b" ");
            expected += &format!("{number} ");
        }
        assert_eq!(text.as_bytes(), expected.as_bytes());
    }

    #[test]
    fn digits_writes_the_last_digits_of_a_number() {
        let mut text = Text::default();
        text.digits(1042, 3);
        assert_eq!(text.as_bytes(), b"042");
    }
}
