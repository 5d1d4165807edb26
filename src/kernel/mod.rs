//! Decodes what the kernel returns into values. This module has no policy: [`crate::source`]
//! decides which source to use, and whether an answer is complete.

pub mod cgroups;
pub mod netlink;
pub mod proc;
pub mod socket;
