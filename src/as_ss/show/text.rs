//! Text that grows by many short pieces.
//!
//! A table of connections has millions of them, most shorter than ten bytes. To call the C
//! library for each took half of the time of `ss -tin`: its memcpy starts slowly.

/// A buffer that is longer than the text in it.
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

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Cuts it to this length, if it is longer.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Adds bytes.
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

    /// Adds a number.
    pub fn decimal(&mut self, number: u64) {
        let count = number.checked_ilog10().unwrap_or(0) as usize + 1;
        self.digits(number, count);
    }

    /// Adds the last `count` digits of a number.
    pub fn digits(&mut self, number: u64, count: usize) {
        let mut left = number;
        for digit in self.room(count).iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
    }

    /// Makes the text longer by `count` bytes, which are to be overwritten.
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

/// Copies the first and the last `N` bytes, which are all if there are at most twice as
/// many. False if there are fewer. Both are as long.
#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return false;
    };
    if let Some(room) = to.first_chunk_mut() {
        *room = *first;
    }
    if let Some(room) = to.last_chunk_mut() {
        *room = *last;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_every_length_follow_each_other() {
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
        text.truncate(7);
        assert_eq!((text.length(), text.as_bytes()), (7, &expected[..7]));
    }

    #[test]
    fn numbers_have_all_their_digits() {
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
        text.digits(1042, 3);
        assert_eq!(text.as_bytes(), (expected + "042").as_bytes());
    }
}
