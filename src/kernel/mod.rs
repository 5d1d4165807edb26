//! What the kernel says becomes values. There is no policy here: which source may
//! answer, and when an answer is complete, is decided in [`crate::source`].

pub mod cgroups;
pub mod netlink;
pub mod proc;
pub mod socket;
