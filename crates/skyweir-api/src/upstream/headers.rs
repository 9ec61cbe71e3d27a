//! Heads on their way through: what belongs to one connection stays on it.

use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

use super::UpstreamUrl;

/// What concerns one connection, besides what `Connection` itself names (RFC 9110, section 7.6.1).
const HOPS: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    TE,
    UPGRADE,
];

/// Whether a request is gRPC: what else upstream may understand would not understand our errors.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The head of a request as it goes on to upstream.
pub(super) fn outgoing(mut headers: HeaderMap) -> HeaderMap {
    strip_hops(&mut headers);
    headers.remove(HOST);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers
}

/// Names the host, which HTTP/1.1 has in a header.
pub(super) fn set_host(headers: &mut HeaderMap, url: &UpstreamUrl) {
    let host = HeaderValue::from_str(url.authority().as_str()).expect("an authority is a header's value");
    headers.insert(HOST, host);
}

/// Takes away what concerns only the connection that a head came by.
pub(super) fn strip_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOPS) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn grpc_is_told_from_its_relatives() {
        let grpc = |kind| is_grpc(&headers(&[("content-type", kind)]));
        assert!(grpc("application/grpc") && grpc("application/grpc+proto") && grpc("application/grpc;x=1"));
        assert!(!grpc("application/grpc-web") && !grpc("application/proto") && !grpc("application/json"));
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn what_concerns_a_connection_stays_on_it() {
        let mut head = headers(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("grpc-timeout", "1S"),
        ]);
        strip_hops(&mut head);
        assert_eq!(head, headers(&[("grpc-timeout", "1S")]));
        let out = outgoing(headers(&[("host", "here"), ("te", "gzip"), ("x-bsky-caller", "appview")]));
        assert_eq!(out, headers(&[("te", "trailers"), ("x-bsky-caller", "appview")]));
    }
}
