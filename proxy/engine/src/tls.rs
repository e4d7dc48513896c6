//! Mutual TLS as HBONE wants it: TLS 1.3, ALPN h2, SPIFFE IDs instead of names.
//!
//! Both sides check the chain against the roots that came with their own certificate. Then the
//! client wants one of the identities that discovery named; the server wants any of its own trust
//! domain. No SNI, no resumption: a resumed session would skip these checks.

use crate::identity::Identity;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

/// The only application protocol inside.
const ALPN: &[u8] = b"h2";
/// What a session holds of encrypted bytes that the socket does not take yet.
pub const WRITE_BUFFER: usize = 1 << 20;

/// AES-128 first: it is the faster one, and the server takes the client's first choice it knows.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        use aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
        Arc::new(CryptoProvider {
            cipher_suites: vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384],
            ..aws_lc_rs::default_provider()
        })
    })
}

/// The SPIFFE IDs among a certificate's URI names, in their order; other names are skipped.
pub fn identities(certificate: &CertificateDer<'_>) -> Vec<Identity> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.parse().ok(),
        _ => None,
    });
    uris.collect()
}

/// The first identity of `trust_domain` in a certificate: who the peer is.
pub fn peer_identity(certificate: &CertificateDer<'_>, trust_domain: &str) -> Option<Identity> {
    identities(certificate)
        .into_iter()
        .find(|identity| *identity.trust_domain == *trust_domain)
}

/// When a certificate ceases to be valid: the second that it names is still within (RFC 5280, 4.1.2.5).
pub fn expiry(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(time(parsed.validity().not_after) + Duration::from_secs(1))
}

/// A certificate's time; one before 1970 is 1970.
pub fn time(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.timestamp().try_into().unwrap_or(0))
}

/// A configuration for one tunnel, to a peer that must be one of `expected`.
pub fn client(key: Arc<CertifiedKey>, roots: Arc<RootCertStore>, expected: Vec<Identity>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites for TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier { roots, expected }))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The configuration of a pod's HBONE listener: any client of `trust_domain` that our roots vouch for.
pub fn server(
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    trust_domain: Arc<str>,
) -> Result<Arc<ServerConfig>, rustls::server::VerifierBuilderError> {
    let chain = WebPkiClientVerifier::builder_with_provider(roots, provider().clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites for TLS 1.3")
        .with_client_cert_verifier(Arc::new(ClientVerifier { chain, trust_domain }))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn listed(identities: &[Identity]) -> String {
    let texts: Vec<String> = identities.iter().map(Identity::to_string).collect();
    if texts.is_empty() {
        "nobody with a SPIFFE ID".into()
    } else {
        texts.join(", ")
    }
}

/// What the two sides' verifiers have in common: rustls knows no trait for it. Whoever shows a
/// certificate has to sign for it, in TLS 1.3.
macro_rules! tls13_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("only TLS 1.3 is spoken here".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &provider().signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

/// What a client asks of a server's certificate.
#[derive(Debug)]
struct ServerVerifier {
    roots: Arc<RootCertStore>,
    expected: Vec<Identity>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        let shown = identities(end_entity);
        if shown.iter().any(|identity| self.expected.contains(identity)) {
            return Ok(ServerCertVerified::assertion());
        }
        let reason = format!("the peer is {}, expected {}", listed(&shown), listed(&self.expected));
        Err(rustls::Error::General(reason))
    }

    tls13_signatures!();
}

/// What a server asks of a client's certificate.
#[derive(Debug)]
struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    trust_domain: Arc<str>,
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        match peer_identity(end_entity, &self.trust_domain) {
            Some(_) => Ok(verified),
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    tls13_signatures!();
}

#[cfg(test)]
mod tests;
