//! Whom the two sides of a tunnel believe, by real handshakes in memory.

use crate::{
    certificates::Credentials,
    fixtures::{Authority, expired, identity},
    identity::Identity,
    tls::peer_identity,
};
use rustls::ClientConfig;
use std::{io, sync::Arc};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const FRONT: &str = "spiffe://cluster.local/ns/shop/sa/front";
const BACK: &str = "spiffe://cluster.local/ns/shop/sa/back";

/// The client's identity as the server sees it; the client's error comes first.
async fn shake(client: Arc<ClientConfig>, server: &Credentials) -> io::Result<Option<Identity>> {
    let (near, far) = duplex(1 << 16);
    let name = std::net::IpAddr::from([10, 0, 0, 7]).into();
    let client = async {
        let mut session = TlsConnector::from(client).connect(name, near).await?;
        session.write_all(b"!").await?;
        session.read_u8().await // a refusal of our certificate comes only after our side is done
    };
    let server = async {
        let mut session = TlsAcceptor::from(server.server()).accept(far).await?;
        let leaf = session.get_ref().1.peer_certificates().unwrap()[0].clone();
        let byte = session.read_u8().await?;
        session.write_u8(byte).await?;
        session.shutdown().await?;
        io::Result::Ok(peer_identity(&leaf, "cluster.local"))
    };
    let (client, server) = tokio::join!(client, server);
    client?;
    server
}

fn expecting(client: &Credentials, account: &str) -> Arc<ClientConfig> {
    client.client(&[identity(account)])
}

#[tokio::test]
async fn both_sides_of_one_authority_believe_each_other() {
    let authority = Authority::new();
    let (front, back) = (authority.issue(FRONT), authority.issue(BACK));
    let seen = shake(expecting(&front, "back"), &back).await.unwrap();
    assert_eq!(seen, Some(identity("front")));
}

#[tokio::test]
async fn the_client_refuses_another_identity_than_the_expected() {
    let authority = Authority::new();
    let (front, back) = (authority.issue(FRONT), authority.issue(BACK));
    let error = shake(expecting(&front, "other"), &back).await.unwrap_err().to_string();
    assert!(error.contains(BACK), "{error}");
    assert!(shake(front.client(&[]), &back).await.is_err(), "nobody is expected");
}

#[tokio::test]
async fn neither_side_believes_another_authority() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let front = ours.issue(FRONT);
    let stranger = theirs.issue_with(BACK, |_| {}, &ours);
    assert!(shake(expecting(&front, "back"), &stranger).await.is_err());
    let intruder = theirs.issue_with(FRONT, |_| {}, &ours);
    assert!(shake(expecting(&intruder, "back"), &ours.issue(BACK)).await.is_err());
}

#[tokio::test]
async fn neither_side_believes_an_expired_certificate() {
    let authority = Authority::new();
    let old_back = authority.issue_with(BACK, expired, &authority);
    assert!(
        shake(expecting(&authority.issue(FRONT), "back"), &old_back)
            .await
            .is_err()
    );
    let old_front = authority.issue_with(FRONT, expired, &authority);
    assert!(
        shake(expecting(&old_front, "back"), &authority.issue(BACK))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_server_refuses_a_foreign_trust_domain() {
    let authority = Authority::new();
    let foreign = authority.issue("spiffe://other.example/ns/shop/sa/front");
    assert!(
        shake(expecting(&foreign, "back"), &authority.issue(BACK))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_server_refuses_a_client_without_a_certificate() {
    let authority = Authority::new();
    let nobody = expecting(&authority.issue(FRONT), "back");
    let mut nobody = ClientConfig::clone(&nobody);
    nobody.client_auth_cert_resolver = Arc::new(Nobody);
    assert!(shake(Arc::new(nobody), &authority.issue(BACK)).await.is_err());
}

#[derive(Debug)]
struct Nobody;

impl rustls::client::ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }
    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_certificate_for_another_identity_is_not_accepted_for_ours() {
    let authority = Authority::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["front.shop".to_owned()]).unwrap();
    let leaf = params.self_signed(&key).unwrap();
    let (chain, roots) = ([leaf.pem().into_bytes()], [authority.root.pem().into_bytes()]);
    let refused = Credentials::parse(&identity("front"), key.serialize_pem().as_bytes(), &chain, &roots);
    assert!(refused.unwrap_err().to_string().contains("not for this identity"));
}
