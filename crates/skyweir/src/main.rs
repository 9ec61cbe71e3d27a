//! Skyweir: a sharded, lossy fan-out-on-write timeline service for AT Protocol AppViews. One binary.

fn main() {}
