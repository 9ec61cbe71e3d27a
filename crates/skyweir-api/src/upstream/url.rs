//! Where an existing data plane answers, and in which HTTP it is spoken to.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, Scheme};
use serde::Deserialize;

/// The URL of an existing data plane: `http://HOST:PORT`, as it stands in an AppView's `BSKY_DATAPLANE_URLS`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct UpstreamUrl(Authority);

impl UpstreamUrl {
    /// Host and port, as in a `Host` header.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.0
    }

    /// What a connection is opened to.
    pub(super) fn address(&self) -> (&str, u16) {
        let host = self.0.host();
        (host.trim_start_matches('[').trim_end_matches(']'), self.0.port_u16().unwrap_or(80))
    }
}

impl FromStr for UpstreamUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no use: expected http://HOST:PORT, without TLS, path or password");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let plain = uri.scheme() == Some(&Scheme::HTTP) && uri.path() == "/" && uri.query().is_none();
        match uri.authority() {
            Some(authority) if plain && is_host(authority) => Ok(Self(authority.clone())),
            _ => Err(wrong()),
        }
    }
}

/// Whether it is a host, alone or with a port that can be one.
fn is_host(authority: &Authority) -> bool {
    let (text, host) = (authority.as_str(), authority.host());
    !text.contains('@') && !host.is_empty() && (text == host || authority.port_u16().is_some())
}

impl TryFrom<String> for UpstreamUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

/// The HTTP that an existing data plane speaks, as in an AppView's `BSKY_DATAPLANE_HTTP_VERSION`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum UpstreamHttp {
    /// HTTP/1.1, as the data plane that comes with the AppView does.
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2 from the first byte on, without TLS; what an AppView takes for granted as well.
    #[default]
    #[serde(rename = "2")]
    Two,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let url = |text: &str| text.parse::<UpstreamUrl>().unwrap();
        assert_eq!(url("http://plane:3000").address(), ("plane", 3000));
        assert_eq!(url("http://10.0.0.1/").address(), ("10.0.0.1", 80));
        assert_eq!(url("http://[::1]:7").address(), ("::1", 7));
        assert_eq!(url("http://plane:3000/").to_string(), "http://plane:3000");
    }

    #[test]
    fn what_is_no_use_is_refused() {
        for text in [
            "",
            "plane:3000",
            "https://plane",
            "http://",
            "http://a:b@plane",
            "http://plane/x",
            "http://plane?x",
            "http://plane:",
            "http://plane:300O",
            "http://plane:70000",
        ] {
            let said = text.parse::<UpstreamUrl>().unwrap_err();
            assert!(said.contains("expected http://HOST:PORT"), "{said}");
        }
    }
}
