//! Why nodes that are there let nobody in, and what to do about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use scylla::errors::ConnectionSetupRequestErrorKind as Setup;
use scylla::errors::{ConnectionError, ConnectionPoolError, DbError, MetadataError, NewSessionError};

use crate::config::Config;

/// A port on which something else is spoken than we do.
const NO_TLS: &str =
    "if that port has no TLS, name the one that has in scylla.nodes, or leave out scylla.tls_ca";

/// What is said of it, if that is why.
pub(crate) fn told(config: &Config, error: &NewSessionError) -> Option<String> {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: error,
    })) = error
    else {
        return None;
    };
    let advice = match error {
        ConnectionError::ConnectionSetupRequestError(request) => match &request.error {
            // the driver's own words are for who writes programs
            Setup::MissingAuthentication => {
                return Some("a password is asked for; set scylla.user and scylla.password_file".into());
            }
            Setup::DbError(DbError::AuthenticationError, why) => {
                let advice = "set scylla.user and scylla.password_file to those of a role that may log in";
                return Some(format!("{why}; {advice}"));
            }
            Setup::BrokenConnection(_) => cut_off(config),
            _ => return None,
        },
        ConnectionError::BrokenConnection(_) => cut_off(config),
        ConnectionError::IoError(error) => handshake(config, error)?,
        _ => return None,
    };
    Some(format!("{error}; {advice}"))
}

/// A node ended the connection before it let us in.
fn cut_off(config: &Config) -> &'static str {
    if config.tls_ca.is_none() {
        return "if that port has TLS, set scylla.tls_ca";
    }
    "if a certificate is asked for, set scylla.tls_certificate and scylla.tls_key"
}

fn handshake(config: &Config, error: &io::Error) -> Option<&'static str> {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, UnknownCA, UnsupportedCertificate,
    };
    use CertificateError::{NotValidForName, NotValidForNameContext, UnknownIssuer};
    config.tls_ca.as_ref()?;
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<TlsError>()) else {
        let is_cut_off =
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
        return is_cut_off.then_some(NO_TLS);
    };
    Some(match error {
        TlsError::InvalidMessage(_) => NO_TLS,
        TlsError::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "give the node one that bears the address at which it is reached, or set scylla.tls_verify_address = false"
        }
        TlsError::InvalidCertificate(UnknownIssuer) => {
            "set scylla.tls_ca to the certificate of who signed the node's"
        }
        TlsError::InvalidCertificate(_) => "give the node another certificate",
        TlsError::AlertReceived(
            AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate,
        ) => "set scylla.tls_certificate and scylla.tls_key to a certificate that the node accepts",
        _ => "look at the log of the server",
    })
}
