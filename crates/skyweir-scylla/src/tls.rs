//! TLS to the nodes: whom we believe, and what we show.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use skyweir_store::Result;

use crate::access::{read, unusable};
use crate::config::Config;

/// What the settings say; `None` is without TLS.
pub(crate) async fn client(config: &Config) -> Result<Option<Arc<ClientConfig>>> {
    let Some(path) = &config.tls_ca else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls_ca", path).await? {
        roots.add(certificate).map_err(|error| unusable("tls_ca", path, error))?;
    }
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has suites for the versions that are on by default");
    let builder = if config.tls_verify_address {
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AtAnyAddress { roots, algorithms }))
    };
    let (Some(chain), Some(key)) = (&config.tls_certificate, &config.tls_key) else {
        return Ok(Some(Arc::new(builder.with_no_client_auth())));
    };
    let shown =
        builder.with_client_auth_cert(certificates("tls_certificate", chain).await?, secret(key).await?);
    let shown = shown.map_err(|error| {
        unusable("tls_key", key, format!("{error}; expected the key of scylla.tls_certificate"))
    });
    shown.map(|client| Some(Arc::new(client)))
}

async fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(key, path).await?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<std::result::Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(key, path, "expected certificates in PEM, there is none")),
        Err(error) => Err(unusable(key, path, format!("{error}; expected certificates in PEM"))),
    }
}

/// The first key of a file. What is wrong with it isn't told, as that may quote it.
async fn secret(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let bytes = read("tls_key", path).await?;
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| unusable("tls_key", path, "expected a key in PEM that isn't encrypted"))
}

/// Believes whoever has a certificate of the authorities, at any address.
#[derive(Debug)]
struct AtAnyAddress {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AtAnyAddress {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        let (roots, algorithms) = (&self.roots, self.algorithms.all);
        verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
