//! One file a command (or noun): its row of the table and what it does.

pub(crate) mod manual;
pub(crate) mod obj;
