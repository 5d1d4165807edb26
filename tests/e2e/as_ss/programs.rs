//! Real programs that call ss, with this one in its place.
