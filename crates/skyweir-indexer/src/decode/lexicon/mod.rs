//! The lexicons of our records, and whether a record passes (contract, rule 5).

mod check;
mod schema;

use schema::{Field, Object, Schema};
use skyweir_types::Format;

include!(concat!(env!("OUT_DIR"), "/lexicons.rs"));
