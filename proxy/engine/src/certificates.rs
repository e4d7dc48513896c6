//! The certificates in force, by identity.

use crate::{clock::rfc3339, error::Error, identity::Identity, tls};
use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::SystemTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A key with its chain and roots, checked to belong together.
#[derive(Debug)]
pub struct Credentials {
    identity: Identity,
    key: Arc<CertifiedKey>,
    expires: SystemTime,
    roots: Arc<RootCertStore>,
    root_certificates: Vec<CertificateDer<'static>>,
    server: Arc<ServerConfig>,
}

impl Credentials {
    /// Reads PEM: a PKCS#8 key, the chain leaf first, the roots; an entry may hold several.
    pub fn parse(identity: &Identity, key: &[u8], chain: &[Vec<u8>], roots: &[Vec<u8>]) -> Result<Self, Error> {
        Self::checked(identity, key, chain, roots).map_err(|reason| Error::Certificate {
            identity: identity.to_string(),
            reason,
        })
    }

    fn checked(identity: &Identity, key: &[u8], chain: &[Vec<u8>], roots: &[Vec<u8>]) -> Result<Self, String> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|e| format!("the key is not PKCS#8 PEM: {e}"))?;
        let chain = certificates(chain).map_err(|e| format!("chain: {e}"))?;
        let leaf = chain.first().ok_or("the chain is empty")?;
        if !tls::identities(leaf).contains(identity) {
            return Err("the first certificate of the chain is not for this identity".into());
        }
        let expires = tls::expiry(leaf).ok_or("the first certificate of the chain does not say when it expires")?;
        let key = CertifiedKey::from_der(chain, PrivateKeyDer::Pkcs8(key), tls::provider())
            .map_err(|e| format!("key and chain do not fit: {e}"))?;
        let root_certificates = certificates(roots).map_err(|e| format!("roots: {e}"))?;
        let mut trusted = RootCertStore::empty();
        for root in &root_certificates {
            trusted.add(root.clone()).map_err(|e| format!("roots: {e}"))?;
        }
        let (key, roots) = (Arc::new(key), Arc::new(trusted));
        let server = tls::server(key.clone(), roots.clone(), identity.trust_domain.clone())
            .map_err(|e| format!("roots: {e}"))?;
        Ok(Self {
            identity: identity.clone(),
            key,
            expires,
            roots,
            root_certificates,
            server,
        })
    }

    /// For the pod's HBONE listener.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// For a tunnel to a peer that must be one of `expected`.
    pub fn client(&self, expected: &[Identity]) -> Arc<ClientConfig> {
        tls::client(self.key.clone(), self.roots.clone(), expected.to_vec())
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "identity": self.identity.to_string(),
            "state": "Available",
            "certChain": self.key.cert.iter().map(certificate_json).collect::<Vec<_>>(),
            "caCert": self.root_certificates.iter().map(certificate_json).collect::<Vec<_>>(),
        })
    }
}

fn certificates(pems: &[Vec<u8>]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = |pem: &Vec<u8>| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let parts = pems
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    Ok(parts.into_iter().flatten().collect())
}

fn certificate_json(certificate: &CertificateDer<'_>) -> serde_json::Value {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return json!(null);
    };
    json!({
        "serialNumber": parsed.raw_serial_as_string(),
        "validFrom": rfc3339(tls::time(parsed.validity().not_before)),
        "expirationTime": rfc3339(tls::time(parsed.validity().not_after)),
    })
}

type Held = BTreeMap<Identity, Arc<Credentials>>;

/// All of them; read without a lock, replaced whole.
#[derive(Debug, Default)]
pub struct Certificates {
    held: ArcSwap<Held>,
}

impl Certificates {
    /// What is in force for an identity now, or why nothing is. The same `Arc` until it is replaced.
    pub fn current(&self, identity: &Identity) -> Result<Arc<Credentials>, String> {
        let held = self.held.load();
        let credentials = held
            .get(identity)
            .ok_or_else(|| format!("no certificate for {identity}"))?;
        if credentials.expires <= SystemTime::now() {
            let expired = rfc3339(credentials.expires);
            return Err(format!("the certificate for {identity} expired at {expired}"));
        }
        Ok(credentials.clone())
    }

    pub fn set(&self, credentials: Credentials) {
        let credentials = Arc::new(credentials);
        self.held.rcu(|held| {
            let mut next = Held::clone(held);
            next.insert(credentials.identity.clone(), credentials.clone());
            next
        });
    }

    pub fn remove(&self, identity: &Identity) {
        self.held.rcu(|held| {
            let mut next = Held::clone(held);
            next.remove(identity);
            next
        });
    }

    pub fn json(&self) -> serde_json::Value {
        self.held
            .load()
            .values()
            .map(|credentials| credentials.json())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Authority, expired, identity};

    const FRONT: &str = "spiffe://cluster.local/ns/shop/sa/front";

    #[test]
    fn a_certificate_that_has_expired_is_not_in_force_and_the_reason_says_when() {
        let (authority, certificates) = (Authority::new(), Certificates::default());
        certificates.set(authority.issue(FRONT));
        assert!(certificates.current(&identity("front")).is_ok());
        certificates.set(authority.issue_with(FRONT, expired, &authority));
        let reason = certificates.current(&identity("front")).unwrap_err();
        assert_eq!(
            reason,
            format!("the certificate for {FRONT} expired at 2021-01-01T00:00:01.000000Z")
        );
        certificates.remove(&identity("front"));
        let reason = certificates.current(&identity("front")).unwrap_err();
        assert_eq!(reason, format!("no certificate for {FRONT}"));
    }
}
