//! What a snapshot may lack although it is complete as far as this process may look.

use std::path::{Path, PathBuf};

use super::namespaces::Unreadable;
use crate::listener::{Listener, SocketTable};

/// What a snapshot may lack. By default, nothing.
#[derive(Debug, Default)]
pub struct Gaps {
    /// The network namespaces that could not be read. What the caller knew of them is in
    /// the snapshot.
    pub unreadable: Vec<Unreadable>,
    /// There may be network namespaces that were not seen.
    pub hides_namespaces: bool,
    /// The files of tables that this process may not read.
    pub forbidden: Vec<(SocketTable, PathBuf)>,
    /// Listeners that the process which was asked about may hold.
    pub doubt: Doubt,
    /// Holders of listeners may be missing, because a search was not finished.
    pub holders: bool,
}

/// The listeners that the process which was asked about, or a descendant, may hold.
#[derive(Debug, Default)]
pub struct Doubt {
    /// The listeners that a process may hold whose descriptors may not be read.
    pub listeners: Vec<Listener>,
    /// Why those descriptors may not be read.
    pub reason: String,
    /// Why any listener may be missing, also in another network namespace.
    pub reason_for_all: Option<String>,
}

impl Doubt {
    /// Why it is not known whether a listener that `counts` is held.
    pub fn reason_for(&self, counts: impl Fn(&Listener) -> bool) -> Option<&str> {
        match self.listeners.iter().any(counts) {
            true => Some(&self.reason),
            false => self.reason_for_all.as_deref(),
        }
    }
}

impl Gaps {
    /// The file of `table`, if this process may not read it.
    pub fn forbidden_file(&self, table: SocketTable) -> Option<&Path> {
        let mut files = self.forbidden.iter();
        let (_, file) = files.find(|(forbidden, _)| *forbidden == table)?;
        Some(file)
    }

    /// What to say if something may be missing.
    pub fn message(&self) -> Option<String> {
        if self.hides_namespaces {
            Some("network namespaces may be missing".into())
        } else if let Some(reason) = self.doubt.reason_for(|_| true) {
            Some(format!("--of: listeners may be missing: {reason}"))
        } else {
            self.holders.then(|| "holders may be missing".into())
        }
    }
}
