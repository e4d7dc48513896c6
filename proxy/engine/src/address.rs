//! IP addresses and prefixes as discovery writes them: raw bytes in network order.
//!
//! An IPv4 address mapped into IPv6 is the IPv4 address everywhere in the engine's state, since a
//! dual-stack socket reports IPv4 peers in the mapped form.

use std::fmt;
use std::net::IpAddr;

use crate::fault::Fault;

/// The address in 4 or 16 raw bytes.
pub fn parse(bytes: &[u8]) -> Result<IpAddr, Fault> {
    Ok(raw(bytes)?.to_canonical())
}

fn raw(bytes: &[u8]) -> Result<IpAddr, Fault> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(v6) => Ok(IpAddr::from(v6)),
        Err(_) => Err(Fault::AddressLength(bytes.len())),
    }
}

/// All addresses that share their first `length` bits with `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u32,
}

impl Prefix {
    /// `length` counts bits; 0 is every address of the family.
    pub fn new(bytes: &[u8], length: u32) -> Result<Prefix, Fault> {
        let address = raw(bytes)?;
        if length > width(address) {
            return Err(Fault::PrefixLength(length));
        }
        // A mapped prefix keeps meaning IPv4 only while it is inside ::ffff:0:0/96.
        Ok(match address.to_canonical() {
            v4 @ IpAddr::V4(_) if address.is_ipv6() && length >= 96 => Prefix {
                address: v4,
                length: length - 96,
            },
            _ => Prefix { address, length },
        })
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(theirs)) => {
                let mask = u32::MAX.checked_shl(32 - self.length).unwrap_or(0);
                (mine.to_bits() ^ theirs.to_bits()) & mask == 0
            }
            (IpAddr::V6(mine), IpAddr::V6(theirs)) => {
                let mask = u128::MAX.checked_shl(128 - self.length).unwrap_or(0);
                (mine.to_bits() ^ theirs.to_bits()) & mask == 0
            }
            _ => false,
        }
    }

    /// The one prefix of that length, no longer than its address, which holds `ip`.
    pub fn around(ip: IpAddr, length: u32) -> Prefix {
        let address = match ip {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Prefix { address, length }
    }

    /// Without the bits beyond its length: equal for two prefixes that hold the same.
    pub fn normal(&self) -> Prefix {
        Prefix::around(self.address, self.length)
    }

    pub fn is_v6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// Whether it holds one address only.
    pub fn is_single(&self) -> bool {
        self.length == width(self.address)
    }

    pub fn length(&self) -> u32 {
        self.length
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests;
