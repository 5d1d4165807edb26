//! What a snapshot may lack although it is complete as far as this process may look.

use super::namespaces::Unreadable;
use super::tables::TableGap;
use crate::listener::{Listener, SocketTable};

/// What a snapshot may lack. By default, nothing.
#[derive(Debug, Default)]
pub struct Gaps {
    /// The network namespaces that could not be read. What the caller knew of them is in
    /// the snapshot.
    pub unreadable: Vec<Unreadable>,
    /// There may be network namespaces that were not seen.
    pub hides_namespaces: bool,
    /// The tables that may hold more listeners than the snapshot.
    pub tables: Vec<TableGap>,
    /// Listeners that the process which was asked about may hold.
    pub doubt: Doubt,
    /// Why listeners of the excluded process may be in the snapshot, if they may.
    pub exclusion: Option<String>,
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
    /// Why `table` may hold more listeners than the snapshot, if it may.
    pub fn reason_for(&self, table: SocketTable) -> Option<&str> {
        let gap = self.tables.iter().find(|gap| gap.table == table)?;
        Some(&gap.reason)
    }

    /// The gaps that another poll may close.
    pub fn passing(&self) -> impl Iterator<Item = &TableGap> {
        self.tables.iter().filter(|gap| gap.may_pass)
    }

    /// What to say if something may be missing.
    pub fn message(&self) -> Option<String> {
        if self.hides_namespaces {
            Some("network namespaces may be missing".into())
        } else if let Some(reason) = self.doubt.reason_for(|_| true) {
            Some(format!("--of: listeners may be missing: {reason}"))
        } else if let Some(reason) = &self.exclusion {
            Some(format!(
                "--exclude-of: its listeners may be shown: {reason}"
            ))
        } else if let Some(gap) = self.passing().next() {
            Some(format!("listeners may be missing: {}", gap.reason))
        } else {
            self.holders.then(|| "holders may be missing".into())
        }
    }
}
