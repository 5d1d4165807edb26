//! The tables of sockets: sets of them, and why one may hold more than was read.

use crate::listener::SocketTable;

/// A table that may hold more listeners than the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableGap {
    /// Which one it is.
    pub table: SocketTable,
    /// Why.
    pub reason: String,
    /// Another poll may read the whole table. Otherwise this process may not read it,
    /// which was said.
    pub may_pass: bool,
    /// A listener that was looked for in vain may be there all the same.
    pub hides_listeners: bool,
}

impl TableGap {
    /// The gaps of the tables that did not settle. Each read skips others, so a listener
    /// that was looked for in vain is not there.
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

/// A set of tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables(u8);

impl Tables {
    /// Adds one table.
    pub fn insert(&mut self, table: SocketTable) {
        self.0 |= Tables::bit(table);
    }

    /// Adds all of `others`.
    pub fn add(&mut self, others: Tables) {
        self.0 |= others.0;
    }

    /// Whether `table` is one of them.
    pub fn contains(self, table: SocketTable) -> bool {
        self.0 & Tables::bit(table) != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn bit(table: SocketTable) -> u8 {
        1 << table.index()
    }
}
