//! Layouts of structures in the kernel's headers. A layout lists the type and the byte range of
//! each field, under the kernel's own names. [`layout!`] turns it into a struct that can be
//! read from a message and written into one.
//!
//! Numbers are in the byte order of the machine. Fields in network byte order, such as ports
//! and addresses, are arrays of bytes.

/// A value that can be read from the start of a byte slice and written there.
pub trait Value: Sized {
    /// Reads the value. `None` if there are too few bytes.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Writes the value. Does nothing if there are too few bytes. The compile-time checks of
    /// [`layout!`] make sure that this does not happen.
    fn write(&self, bytes: &mut [u8]);
}

macro_rules! number {
    ($($number:ty)*) => { $(
        impl Value for $number {
            #[inline(always)]
            fn read(bytes: &[u8]) -> Option<$number> {
                bytes.first_chunk().copied().map(<$number>::from_ne_bytes)
            }

            #[inline(always)]
            fn write(&self, bytes: &mut [u8]) {
                self.to_ne_bytes().write(bytes);
            }
        }
    )* };
}

number!(u8 u16 u32 u64 i32);

impl<const N: usize> Value for [u8; N] {
    #[inline(always)]
    fn read(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.first_chunk().copied()
    }

    #[inline(always)]
    fn write(&self, bytes: &mut [u8]) {
        if let Some(room) = bytes.first_chunk_mut() {
            *room = *self;
        }
    }
}

/// A 64-bit number that the kernel stores as two 32-bit halves. The low half comes first on
/// every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Halves(pub u64);

impl Value for Halves {
    #[inline(always)]
    fn read(bytes: &[u8]) -> Option<Halves> {
        let (low, high) = (u32::read(bytes)?, u32::read(bytes.get(4..)?)?);
        Some(Halves(u64::from(high) << 32 | u64::from(low)))
    }

    #[inline(always)]
    fn write(&self, bytes: &mut [u8]) {
        (self.0 as u32).write(bytes);
        ((self.0 >> 32) as u32).write(&mut bytes[4..]);
    }
}

/// Defines a struct from the layout of a structure and its size in bytes. If a range does not
/// fit the type of its field or exceeds the size, the program does not compile.
macro_rules! layout {
    (
        $(#[$about:meta])*
        $name:ident, $size:literal bytes:
        $($field:ident: $type:ty = $start:literal..$end:literal,)*
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default)]
        #[allow(missing_docs)]
        pub struct $name {
            $(pub $field: $type,)*
        }

        const _: () = {
            use $crate::kernel::netlink::layout::Value;

            $(assert!($end - $start == size_of::<$type>() && $end <= $size);)*

            impl $name {
                /// The size of the structure in bytes.
                pub const SIZE: usize = $size;

                /// Reads the structure, and returns it with the bytes after it. `None` if there
                /// are too few bytes.
                #[inline(always)]
                pub fn split(bytes: &[u8]) -> Option<($name, &[u8])> {
                    Some((<$name>::read(bytes)?, &bytes[$size..]))
                }

                /// Reads the structure. Bytes that are missing at its end are read as 0,
                /// because older kernels have shorter structures.
                pub fn read_padded(bytes: &[u8]) -> $name {
                    let mut whole = [0; $size];
                    let length = bytes.len().min($size);
                    whole[..length].copy_from_slice(&bytes[..length]);
                    <$name>::read(&whole).unwrap_or_default()
                }

                /// The bytes of the structure. Gaps between its fields are 0.
                pub fn bytes(&self) -> [u8; $size] {
                    let mut bytes = [0; $size];
                    self.write(&mut bytes);
                    bytes
                }
            }

            impl Value for $name {
                #[inline(always)]
                fn read(bytes: &[u8]) -> Option<$name> {
                    let bytes: &[u8; $size] = bytes.first_chunk()?;
                    Some($name {
                        $($field: Value::read(&bytes[$start..$end])?,)*
                    })
                }

                #[inline(always)]
                fn write(&self, bytes: &mut [u8]) {
                    let Some(bytes) = bytes.first_chunk_mut::<$size>() else {
                        return;
                    };
                    // `bytes[$start..]` is avoided, because in a build for size, only
                    // `split_at_mut` is inlined. This saves 3 KB in total.
                    $(self.$field.write(bytes.split_at_mut($start).1);)*
                }
            }
        };
    };
}

pub(crate) use layout;

#[cfg(test)]
mod tests {
    use super::*;

    layout! {
        /// A structure with a gap.
        Sample, 20 bytes:
        first: u8 = 0..1,
        port: [u8; 2] = 2..4,
        queue: u32 = 4..8,
        cookie: Halves = 8..16,
        signed: i32 = 16..20,
    }

    #[test]
    fn a_structure_is_read_as_it_was_written() {
        let sample = Sample {
            first: 1,
            port: [0, 80],
            queue: 0x0102_0304,
            cookie: Halves(0x0506_0708_090a_0b0c),
            signed: -2,
        };
        let bytes = sample.bytes();
        let queue = 0x0102_0304_u32.to_ne_bytes();
        assert_eq!(bytes[..8], [&[1, 0, 0, 80], &queue[..]].concat());
        assert_eq!(bytes[8..12], 0x090a_0b0c_u32.to_ne_bytes());
        let (read, rest) = Sample::split(&[&bytes[..], b"rest"].concat())
            .map_or_else(|| panic!("cut short"), |(read, rest)| (read, rest.to_vec()));
        assert_eq!((read.bytes(), &rest[..]), (bytes, &b"rest"[..]));
        assert_eq!((read.cookie, read.signed), (sample.cookie, -2));
    }

    #[test]
    fn a_truncated_structure_is_not_read() {
        let bytes = Sample::default().bytes();
        for length in 0..Sample::SIZE {
            assert!(Sample::split(&bytes[..length]).is_none(), "{length}");
        }
    }

    #[test]
    fn read_padded_reads_missing_fields_as_zero() {
        let sample = Sample::read_padded(&[[7; 8], [9; 8]].concat()[..8]);
        assert_eq!((sample.first, sample.queue), (7, 0x0707_0707));
        assert_eq!((sample.cookie, sample.signed), (Halves(0), 0));
    }
}
