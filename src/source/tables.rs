//! Sets of tables, and tables that may hold more listeners than were read.

use crate::listener::SocketTable;

/// A table that may hold more listeners than the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableGap {
    /// The table.
    pub table: SocketTable,
    /// Why the table may hold more listeners.
    pub reason: String,
    /// Whether another poll may read the whole table. If not, this process may not read it,
    /// and a warning was printed.
    pub may_pass: bool,
    /// Whether a listener may be open although no look found it.
    pub hides_listeners: bool,
}

impl TableGap {
    /// The gaps for tables that changed during every read. They hide no listeners: each read
    /// skips other rows, so a listener that no look found is not open.
    pub fn all_unsettled(tables: Tables) -> impl Iterator<Item = TableGap> {
        let unsettled = SocketTable::ALL.into_iter();
        let unsettled = unsettled.filter(move |table| tables.contains(*table));
        unsettled.map(|table| TableGap {
            table,
            reason: format!("the list of {} changed during every read", table.name()),
            may_pass: true,
            hides_listeners: false,
        })
    }
}

/// A set of tables. By default, it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables(u8);

impl Tables {
    /// Adds `table`.
    pub fn insert(&mut self, table: SocketTable) {
        self.0 |= Tables::bit(table);
    }

    /// Adds all of `others`.
    pub fn add(&mut self, others: Tables) {
        self.0 |= others.0;
    }

    /// Whether `table` is in the set.
    pub fn contains(self, table: SocketTable) -> bool {
        self.0 & Tables::bit(table) != 0
    }

    /// Whether the set has no tables.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn bit(table: SocketTable) -> u8 {
        1 << table.index()
    }
}
