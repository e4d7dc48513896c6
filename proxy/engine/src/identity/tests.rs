use super::*;

#[test]
fn a_spiffe_id_is_the_same_after_parsing_and_printing() {
    let text = "spiffe://cluster.local/ns/shop/sa/front-end";
    let identity: Identity = text.parse().unwrap();
    assert_eq!(identity, Identity::new("cluster.local", "shop", "front-end").unwrap());
    assert_eq!(identity.to_string(), text);
    assert_eq!(identity.principal(), "cluster.local/ns/shop/sa/front-end");
}

#[test]
fn what_is_not_exactly_a_service_accounts_id_is_refused() {
    for text in [
        "",
        "cluster.local/ns/shop/sa/web",
        "https://cluster.local/ns/shop/sa/web",
        "SPIFFE://cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local",
        "spiffe://cluster.local/ns/shop",
        "spiffe://cluster.local/sa/web/ns/shop",
        "spiffe://cluster.local/ns/shop/sa/web/",
        "spiffe://cluster.local/ns/shop/sa/web/more",
        "spiffe://cluster.local//ns/shop/sa/web",
        "spiffe:///ns/shop/sa/web",
        "spiffe://cluster.local/ns//sa/web",
        "spiffe://cluster.local/ns/shop/sa/",
        "spiffe://cluster.local/ns/../sa/web",
        "spiffe://cluster.local/ns/shop/sa/.",
        "spiffe://Cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local:8080/ns/shop/sa/web",
        "spiffe://user@cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web?query",
        "spiffe://cluster.local/ns/sh%6fp/sa/web",
        " spiffe://cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web\n",
    ] {
        assert!(text.parse::<Identity>().is_err(), "{text:?}");
    }
}

#[test]
fn a_refusal_says_what_was_read_and_why() {
    let error = "spiffe://A/ns/b/sa/c".parse::<Identity>().unwrap_err();
    let expected = "\"spiffe://A/ns/b/sa/c\" is not an identity: a trust domain has only a-z, 0-9, '.', '-' and '_'";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn parts_cannot_smuggle_in_a_path() {
    assert!(Identity::new("cluster.local", "shop/sa/admin", "web").is_err());
    assert!(Identity::new("cluster.local/ns/x", "shop", "web").is_err());
}
