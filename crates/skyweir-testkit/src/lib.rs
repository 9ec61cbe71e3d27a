//! Test support: the model and test servers.
