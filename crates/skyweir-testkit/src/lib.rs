//! Test support: the model of a timeline, and scripts of random operations to compare the service with it.
//!
//! [`Model`] is the contract and nothing else: a naive join of follows and items, slow and plain. [`Script`] makes up
//! what the network and the readers do, from a seed. Neither knows the code that they judge. [`Told`] is what the model
//! or a store says of a network, to compare the two.

mod model;
mod script;
mod told;

pub use model::{Expected, Model, ModelHorizons, Without};
pub use script::{Op, Script, Settings};
pub use told::Told;
