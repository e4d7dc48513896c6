//! What several tests need: certificates, connected sockets, HTTP/2 over memory.

use crate::{certificates::Credentials, identity::Identity};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// A certificate authority of a test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root: Certificate,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// Credentials for `identity` that believe in this authority.
    pub(crate) fn issue(&self, identity: &str) -> Credentials {
        self.issue_with(identity, |_| {}, self)
    }

    /// The same, after a change to the certificate, believing in `trusted`.
    pub(crate) fn issue_with(
        &self,
        identity: &str,
        change: impl FnOnce(&mut CertificateParams),
        trusted: &Authority,
    ) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params
            .subject_alt_names
            .push(SanType::URI(identity.try_into().unwrap()));
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let (chain, roots) = ([leaf.pem().into_bytes()], [trusted.root.pem().into_bytes()]);
        Credentials::parse(
            &identity.parse().unwrap(),
            key.serialize_pem().as_bytes(),
            &chain,
            &roots,
        )
        .unwrap()
    }
}

/// Makes a certificate that ended long ago.
pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
}

pub(crate) fn identity(account: &str) -> Identity {
    format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().unwrap()
}

/// Two ends of one TCP connection over loopback.
pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Credentials that nobody asks anything of.
pub(crate) fn any_credentials() -> Arc<Credentials> {
    Arc::new(Authority::new().issue("spiffe://cluster.local/ns/shop/sa/any"))
}
