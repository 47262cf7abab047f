//! TLS to the server.

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};

/// A connector that trusts the certificate authorities in `roots` (PEM), or the public ones.
/// The server's certificate and name are always verified.
pub(super) fn connector(roots: Option<&[u8]>) -> Result<MakeRustlsConnect> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                store.add(certificate).map_err(|error| unusable(&error))?;
            }
        }
    }
    if store.is_empty() {
        return Err(Error::usage("the TLS roots hold no certificate"));
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::database(format!("TLS can't be set up: {error}")))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn unusable(error: &dyn std::fmt::Display) -> Error {
    Error::usage(format!("the TLS roots can't be used: {error}"))
}
