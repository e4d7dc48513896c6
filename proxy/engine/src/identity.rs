//! The identity of a workload: the SPIFFE ID of its service account.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A service account in a trust domain. Made by parsing or by [`Identity::new`], both of which
/// accept only what a SPIFFE ID may contain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub trust_domain: Arc<str>,
    pub namespace: Arc<str>,
    pub service_account: Arc<str>,
}

/// Says which text is not an identity, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an identity: {fault}")]
pub struct IdentityError {
    text: String,
    fault: &'static str,
}

impl Identity {
    /// Each part must be allowed in a SPIFFE ID (SPIFFE-ID standard, sections 2.1 and 2.2).
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Identity, IdentityError> {
        let faults = [
            trust_domain_fault(trust_domain),
            segment_fault(namespace),
            segment_fault(service_account),
        ];
        if let Some(fault) = faults.into_iter().flatten().next() {
            let text = format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}");
            return Err(IdentityError { text, fault });
        }
        Ok(Identity {
            trust_domain: trust_domain.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
        })
    }

    /// The form that policies compare with: the SPIFFE ID without its scheme.
    pub fn principal(&self) -> String {
        format!(
            "{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "spiffe://{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Identity, IdentityError> {
        let shape = || IdentityError {
            text: text.to_owned(),
            fault: "expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT",
        };
        let path = text.strip_prefix("spiffe://").ok_or_else(shape)?;
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            [trust_domain, "ns", namespace, "sa", account] => Identity::new(trust_domain, namespace, account),
            _ => Err(shape()),
        }
    }
}

fn trust_domain_fault(text: &str) -> Option<&'static str> {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c);
    match text {
        "" => Some("the trust domain is empty"),
        _ if text.len() > 255 => Some("the trust domain is longer than 255 bytes"),
        _ if !text.bytes().all(allowed) => Some("a trust domain has only a-z, 0-9, '.', '-' and '_'"),
        _ => None,
    }
}

fn segment_fault(text: &str) -> Option<&'static str> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
    match text {
        "" => Some("the namespace or service account is empty"),
        "." | ".." => Some("a path segment is '.' or '..'"),
        _ if !text.bytes().all(allowed) => Some("a path segment has only letters, digits, '.', '-' and '_'"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
