//! How a session gets in: with user, password and certificates, read when it is made.

use std::fmt::Display;
use std::path::Path;

use scylla::client::session_builder::SessionBuilder;
use skyweir_store::{Error, Result};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::config::Config;
use crate::password::Password;
use crate::tls;

/// The most that a file of ours holds, bytes: the certificates of all public authorities take a fifth of it.
const MOST: u64 = 1 << 20;

/// Adds what the nodes ask for, and what is asked of them.
pub(crate) async fn enter(builder: SessionBuilder, config: &Config) -> Result<SessionBuilder> {
    let builder = builder.tls_context(tls::client(config).await?);
    let Some(user) = &config.user else { return Ok(builder) };
    let password = match (&config.password, &config.password_file) {
        (_, Some(path)) => {
            let bytes = read("password_file", path).await?;
            Password::of_file(bytes).map_err(|expected| unusable("password_file", path, expected))?
        }
        (Some(password), None) => password.clone(),
        (None, None) => {
            return Err(Error::Unavailable("scylla.user has no password; set scylla.password_file".into()));
        }
    };
    Ok(builder.user(user, password.reveal()))
}

/// All of the file that a setting names.
pub(crate) async fn read(key: &str, path: &Path) -> Result<Vec<u8>> {
    let all = async {
        let mut bytes = Vec::new();
        File::open(path).await?.take(MOST + 1).read_to_end(&mut bytes).await?;
        std::io::Result::Ok(bytes)
    };
    match all.await {
        Ok(bytes) if bytes.len() as u64 <= MOST => Ok(bytes),
        Ok(_) => Err(unusable(key, path, format!("expected {MOST} bytes at most"))),
        Err(error) => Err(unusable(key, path, format!("{error}; expected a file that this user may read"))),
    }
}

/// A file isn't what its setting is for.
pub(crate) fn unusable(key: &str, path: &Path, why: impl Display) -> Error {
    Error::Unavailable(format!("scylla.{key} is {}: {why}", path.display()))
}
