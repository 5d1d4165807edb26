//! Each kind of socket: how it is asked for, and the row that ss writes for it.

pub mod inet;
pub mod info;
pub mod netlinks;
pub mod packet;
pub mod proc_net;
pub mod summary;
pub mod unix;
pub mod vsock;
