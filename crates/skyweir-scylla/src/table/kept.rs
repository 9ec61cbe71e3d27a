//! From which task the writer begins after a restart, and the key of the draw that the timelines were drawn with. Row 0
//! is the only one.

use crate::schema::Table;

pub(super) const TABLE: Table = Table {
    name: "kept",
    columns: "id int PRIMARY KEY, task bigint, draw bigint",
    order: "",
    forgets: false,
};

pub(crate) const GET: &str = "SELECT task, draw FROM {ks}.kept WHERE id = 0";
pub(crate) const SET: &str = "INSERT INTO {ks}.kept (id, task, draw) VALUES (0, ?, ?)";
