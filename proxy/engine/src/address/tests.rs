use super::*;
use crate::testing::{ip, raw};

fn holds(prefix: &str, length: u32, address: &str) -> bool {
    Prefix::new(&raw(prefix), length).unwrap().contains(ip(address))
}

#[test]
fn a_prefix_holds_the_addresses_that_share_its_bits() {
    for (prefix, length, address, expected) in [
        ("10.1.2.3", 32, "10.1.2.3", true),
        ("10.1.2.3", 32, "10.1.2.4", false),
        ("10.1.0.0", 16, "10.1.255.1", true),
        ("10.1.0.0", 16, "10.2.0.1", false),
        ("10.1.2.3", 16, "10.1.9.9", true),
        ("0.0.0.0", 0, "192.0.2.1", true),
        ("fd00::", 8, "fd12::1", true),
        ("fd00::", 8, "fe80::1", false),
        ("2001:db8::1", 128, "2001:db8::1", true),
        ("::", 0, "2001:db8::1", true),
    ] {
        assert_eq!(
            holds(prefix, length, address),
            expected,
            "{address} in {prefix}/{length}"
        );
    }
}

#[test]
fn the_families_are_apart() {
    assert!(!holds("0.0.0.0", 0, "2001:db8::1"));
    assert!(!holds("::", 0, "192.0.2.1"));
}

#[test]
fn a_mapped_ipv4_address_is_the_ipv4_address() {
    assert!(holds("10.0.0.0", 8, "::ffff:10.1.2.3"));
    assert!(holds("::ffff:10.0.0.0", 104, "10.1.2.3"));
    assert_eq!(parse(&raw("::ffff:10.1.2.3")).unwrap(), ip("10.1.2.3"));
}

#[test]
fn a_prefix_longer_than_its_address_is_refused() {
    assert_eq!(
        Prefix::new(&raw("10.0.0.0"), 33).unwrap_err().to_string(),
        "a prefix of 33 bits is longer than its address"
    );
    assert!(Prefix::new(&raw("fd00::"), 129).is_err());
}

#[test]
fn only_4_and_16_bytes_are_an_address() {
    for length in [0, 3, 5, 15, 17] {
        let reason = parse(&vec![0; length]).unwrap_err().to_string();
        assert_eq!(reason, format!("an address has {length} bytes, not 4 or 16"));
    }
}
