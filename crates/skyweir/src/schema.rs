//! `skyweir schema`: the tables of a cluster, printed for whoever may make them, or made.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use skyweir_scylla::{Cluster, Config as ScyllaConfig, schema_statements};

use crate::cli::{SchemaOptions, ServeOptions};
use crate::config::Config;
use crate::serve::io_runtime;

/// Prints the statements, or applies what isn't there.
pub(crate) fn command(options: &SchemaOptions) -> Result<ExitCode> {
    let settings = ServeOptions { config: options.config.clone(), ..ServeOptions::default() };
    let ScyllaConfig { keyspace, replication, .. } = &Config::load(&settings)?.scylla;
    if !options.apply {
        let mut out = std::io::stdout();
        for statement in schema_statements(keyspace, *replication, options.dialect.into()) {
            writeln!(out, "{statement};")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let config = ScyllaConfig { create: true, ..Config::load(&settings)?.scylla };
    io_runtime(1)?.block_on(Cluster::connect(&config))?;
    writeln!(std::io::stdout(), "keyspace {keyspace} has all tables")?;
    Ok(ExitCode::SUCCESS)
}
