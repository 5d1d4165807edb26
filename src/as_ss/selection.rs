//! Which tables a command line asks for. Options and filters both narrow it.

use crate::listener::{Family, Protocol};

/// Which tables are asked for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Each protocol once, in the order in which ss prints them.
    pub protocols: Vec<Protocol>,
    families: Vec<Family>,
    /// The family that was asked for last, if any was.
    pub last_family: Option<Family>,
}

impl Selection {
    /// Asks for this family too.
    pub fn add_family(&mut self, family: Family) {
        self.families.push(family);
        self.last_family = Some(family);
    }

    /// Asks for this family and for no other.
    pub fn only_family(&mut self, family: Family) {
        self.families.clear();
        self.add_family(family);
    }

    /// Whether ss asks the kernel for `family`: of those that are asked for,
    /// only the last.
    pub fn wants_of_kernel(&self, family: Family) -> bool {
        self.last_family.is_none_or(|last| last == family)
    }

    /// Whether ss looks for `family` in `/proc`: if no family or this one was
    /// asked for.
    pub fn wants_of_proc(&self, family: Family) -> bool {
        self.families.is_empty() || self.families.contains(&family)
    }
}
