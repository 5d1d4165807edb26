//! What may be missing from a snapshot, because this process may not read everything or
//! because the kernel's lists kept changing.

use super::namespaces::Unreadable;
use super::tables::TableGap;
use crate::listener::{Listener, SocketTable};

/// What may be missing from a snapshot. By default, nothing.
#[derive(Debug, Default)]
pub struct Gaps {
    /// The network namespaces that could not be read. The snapshot has the listeners that
    /// the caller already knew there.
    pub unreadable: Vec<Unreadable>,
    /// Whether some network namespaces may not have been found.
    pub hides_namespaces: bool,
    /// The tables that may hold more listeners than the snapshot.
    pub tables: Vec<TableGap>,
    /// With `--of`: the listeners that the tree may hold and that are not in the snapshot.
    pub doubt: Doubt,
    /// With `--exclude-of`: why the snapshot may have listeners of the excluded process.
    /// `None` if it has none.
    pub exclusion: Option<String>,
    /// Whether holders may be missing, because a search was not finished.
    pub holders: bool,
}

/// The listeners that a process or one of its descendants may hold, although the search did
/// not find them.
#[derive(Debug, Default)]
pub struct Doubt {
    /// The listeners that a process may hold whose descriptors may not be read.
    pub listeners: Vec<Listener>,
    /// Why the descriptors may not be read.
    pub reason: String,
    /// Why any listener may be missing, even one in another network namespace.
    pub reason_for_all: Option<String>,
}

impl Doubt {
    /// Why the process tree may hold a listener for which `counts` is true. `None` if it holds
    /// no such listener.
    pub fn reason_for(&self, counts: impl Fn(&Listener) -> bool) -> Option<&str> {
        match self.listeners.iter().any(counts) {
            true => Some(&self.reason),
            false => self.reason_for_all.as_deref(),
        }
    }
}

impl Gaps {
    /// Why `table` may hold more listeners than the snapshot. `None` if it has no more.
    pub fn reason_for(&self, table: SocketTable) -> Option<&str> {
        let gap = self.tables.iter().find(|gap| gap.table == table)?;
        Some(&gap.reason)
    }

    /// The tables that another poll may read completely.
    pub fn passing(&self) -> impl Iterator<Item = &TableGap> {
        self.tables.iter().filter(|gap| gap.may_pass)
    }

    /// The message if something may be missing.
    pub fn message(&self) -> Option<String> {
        if self.hides_namespaces {
            Some("network namespaces may be missing".into())
        } else if let Some(reason) = self.doubt.reason_for(|_| true) {
            Some(format!("--of: listeners may be missing: {reason}"))
        } else if let Some(reason) = &self.exclusion {
            Some(format!(
                "--exclude-of: its listeners may be shown: {reason}"
            ))
        } else if !self.unreadable.is_empty() {
            Some("some network namespaces cannot be read".into())
        } else if let Some(gap) = self.passing().next() {
            Some(format!("listeners may be missing: {}", gap.reason))
        } else {
            self.holders.then(|| "holders may be missing".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watcher reports this gap in its `ready` line, and `lntu list` fails because of it.
    #[test]
    fn an_unreadable_namespace_is_a_gap() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.message(), None);
        let reason = String::new();
        gaps.unreadable.push(Unreadable { inode: 7, reason });
        let message = gaps.message();
        assert_eq!(
            message.as_deref(),
            Some("some network namespaces cannot be read")
        );
    }
}
