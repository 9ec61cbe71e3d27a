//! From which task the writer begins after a restart, and the key of the draw that the timelines were drawn with. Row 0
//! is the only one.
//!
//! What is written has the task's number for its time, twice, so the greatest wins, whoever comes last and whatever
//! servers' clocks say: below what was noted once, tasks are cut. Another key of the draw comes right after, as it
//! begins where those of before have ended.

use crate::schema::Table;

pub(super) const TABLE: Table = Table {
    name: "kept",
    columns: "id int PRIMARY KEY, task bigint, draw bigint",
    order: "",
    forgets: false,
};

pub(crate) const GET: &str = "SELECT task, draw FROM {ks}.kept WHERE id = 0";
pub(crate) const SET: &str = "INSERT INTO {ks}.kept (id, task, draw) VALUES (0, ?, ?) USING TIMESTAMP ?";
