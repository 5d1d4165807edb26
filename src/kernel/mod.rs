//! Decodes what the kernel returns into values. There is no policy here: [`crate::source`]
//! decides which source may answer and when an answer is complete.

pub mod cgroups;
pub mod netlink;
pub mod proc;
pub mod socket;
