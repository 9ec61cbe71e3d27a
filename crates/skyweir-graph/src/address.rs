//! Where a server of the graph answers.

use std::fmt;
use std::str::FromStr;

use http::uri::Authority;
use serde::{Deserialize, Serialize};

/// Host and port of a server of the graph: `HOST:PORT`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Authority);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no server of the graph: expected HOST:PORT");
        let authority: Authority = text.parse().map_err(|_| wrong())?;
        let named = !authority.host().is_empty() && !text.contains('@');
        match authority.port_u16() {
            Some(port) if named && port != 0 => Ok(Self(authority)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port() {
        for text in ["graph:7702", "10.0.0.1:1", "[::1]:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in
            ["", "graph", ":7702", "graph:", "graph:0", "graph:70000", "a@graph:1", "http://graph:1", "g:1/x"]
        {
            let said = text.parse::<Address>().unwrap_err();
            assert!(said.contains("expected HOST:PORT"), "{said}");
        }
    }
}
