"""What is said of the kinds of security.istio.io, telemetry.istio.io and extensions.istio.io, and of ProxyConfig."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support.validation import errors, warnings

POLICY = "security.istio.io/v1/AuthorizationPolicy"
PEERS = "security.istio.io/v1/PeerAuthentication"
REQUESTS = "security.istio.io/v1/RequestAuthentication"
TELEMETRY = "telemetry.istio.io/v1/Telemetry"
WASM = "extensions.istio.io/v1alpha1/WasmPlugin"
EXTENSION = "extensions.istio.io/v1alpha1/TrafficExtension"
PROXIES = "networking.istio.io/v1beta1/ProxyConfig"
CUSTOM = "action: CUSTOM\nprovider: {name: a}\n"
DRY_RUN = {"annotations": {"istio.io/dry-run": "true"}}

_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_EC = ec.generate_private_key(ec.SECP256R1())
PUBLIC = RSAAlgorithm.to_jwk(_RSA.public_key(), as_dict=True)
PUBLIC_EC = ECAlgorithm.to_jwk(_EC.public_key(), as_dict=True)
PRIVATE = RSAAlgorithm.to_jwk(_RSA, as_dict=True)


def keys(*found: Any) -> str:
    return json.dumps({"jwtRules": [{"issuer": "a", "jwks": json.dumps({"keys": found})}]})


def with_keys(text: str) -> str:
    return json.dumps({"jwtRules": [{"issuer": "a", "jwks": text}]})


def rule(parts: str, action: str = "ALLOW") -> str:
    return f"action: {action}\nrules: [{{{parts}}}]"


def to_path(path: str) -> str:
    return rule(f"to: [{{operation: {{paths: ['{path}']}}}}]")


def custom(parts: str) -> str:
    return f"{CUSTOM}rules: [{{{parts}}}]"


PATH = "spec.rules[0].to[0].operation.paths[0]"
SOURCE = "spec.rules[0].from[0].source"
KEY = "spec.rules[0].when[0].key"
JWKS = "spec.jwtRules[0].jwks"


@pytest.mark.parametrize(
    ("kind", "spec", "field", "says"),
    [
        (POLICY, "action: DENY", "spec.rules", "never happens"),
        (POLICY, CUSTOM, "spec.rules", "never happens"),
        (POLICY, custom("from: [{source: {principals: [a]}}]"), f"{SOURCE}.principals", "CUSTOM"),
        (POLICY, custom("from: [{source: {notNamespaces: [a]}}]"), f"{SOURCE}.notNamespaces", "CUSTOM"),
        (POLICY, custom("from: [{source: {requestPrincipals: [a]}}]"), f"{SOURCE}.requestPrincipals", "CUSTOM"),
        (POLICY, custom("when: [{key: source.namespace, values: [a]}]"), KEY, "CUSTOM"),
        (POLICY, custom("when: [{key: 'request.auth.claims[a]', values: [a]}]"), KEY, "CUSTOM"),
        (POLICY, to_path("/a/{x}"), PATH, "segments, {*}"),
        (POLICY, to_path("/a/{*}b"), PATH, "segments, {*}"),
        (POLICY, to_path("/{**}/{*}"), PATH, "{**} at most once"),
        (POLICY, to_path("/{**}/{**}"), PATH, "{**} at most once"),
        (POLICY, to_path("/{*}/*"), PATH, "segments, {*}"),
        (POLICY, to_path("/{*}/a?b"), PATH, "segments, {*}"),
        (POLICY, rule("when: [{key: 'request.headers[]', values: [a]}]"), KEY, "with its argument"),
        (POLICY, rule("when: [{key: request.auth.claims, values: [a]}]"), KEY, "with its argument"),
        (POLICY, rule("from: [{source: {trustDomains: [a/b]}}]"), f"{SOURCE}.trustDomains[0]", "without a path"),
        (REQUESTS, "jwtRules: [{}]", "spec.jwtRules[0].issuer", "unless there is a jwksUri"),
        (REQUESTS, "jwtRules: [{issuer: a, timeout: 1.0001s}]", "spec.jwtRules[0].timeout", "whole milliseconds"),
        (
            REQUESTS,
            "jwtRules: [{issuer: a, fromHeaders: [{name: 'a b'}]}]",
            "spec.jwtRules[0].fromHeaders[0].name",
            "a header's name",
        ),
        (
            REQUESTS,
            "jwtRules: [{issuer: a, outputPayloadToHeader: 'a:'}]",
            "spec.jwtRules[0].outputPayloadToHeader",
            "a header's name",
        ),
        (REQUESTS, with_keys("{"), JWKS, "a JSON Web Key Set"),
        (REQUESTS, with_keys("{}"), JWKS, "at least one key"),
        (REQUESTS, keys(), JWKS, "at least one key"),
        (REQUESTS, keys("a"), JWKS, "key 0: read 'a'"),
        (REQUESTS, keys({"kty": "AES"}), JWKS, "key 0: kty: read 'AES'"),
        (REQUESTS, keys({**PUBLIC, "n": ""}), JWKS, "key 0: n: accepted is a text in base64url"),
        (REQUESTS, keys({**PUBLIC, "e": "a+b"}), JWKS, "key 0: e: accepted is a text in base64url"),
        (REQUESTS, keys({**PUBLIC_EC, "x": PUBLIC_EC["y"]}), JWKS, "key 0: no public key"),
        (REQUESTS, keys({**PUBLIC_EC, "crv": "P-999"}), JWKS, "key 0: no public key"),
        (
            TELEMETRY,
            "tracing: [{customTags: {'': {literal: {value: a}}}}]",
            "spec.tracing[0].customTags.",
            "the name of a tag",
        ),
        (
            TELEMETRY,
            "metrics: [{overrides: [{tagOverrides: {a: {}}}]}]",
            "spec.metrics[0].overrides[0].tagOverrides.a.value",
            "UPSERT needs it",
        ),
        (
            TELEMETRY,
            "accessLogging: [{filter: {expression: 'response.code >='}}]",
            "spec.accessLogging[0].filter.expression",
            "an expression of CEL",
        ),
        (
            TELEMETRY,
            "accessLogging: [{filter: {}}]",
            "spec.accessLogging[0].filter.expression",
            "an expression of CEL",
        ),
        (WASM, "url: '#%blah'", "spec.url", "two hexadecimal digits"),
        (EXTENSION, "wasm: {url: 'https://a/%'}", "spec.wasm.url", "two hexadecimal digits"),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_and_what_is_accepted(
    kind: str, spec: str, field: str, says: str
) -> None:
    found = errors(kind, spec)
    assert list(found) == [field]
    assert says in found[field]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (POLICY, "{}"),
        (POLICY, "action: DENY\nrules: [{}]"),
        (POLICY, custom("from: [{source: {ipBlocks: [10.0.0.1]}}]")),
        (POLICY, custom("when: [{key: 'request.headers[a]', values: [a]}]")),
        (POLICY, to_path("/a/{*}/b/{**}")),
        (POLICY, to_path("/{**}/b")),
        (POLICY, to_path("*")),
        (POLICY, rule("to: [{operation: {methods: [GET]}}]")),
        (POLICY, rule("to: [{operation: {methods: [GET], ports: ['80']}}]", "DENY")),
        (POLICY, rule("from: [{source: {namespaces: [a]}}]", "DENY")),
        (POLICY, rule("from: [{source: {trustDomains: ['a*']}}]")),
        (PEERS, "mtls: {mode: STRICT}"),
        (REQUESTS, "jwtRules: [{jwksUri: 'https://a/b'}]"),
        (REQUESTS, "jwtRules: [{issuer: a, fromHeaders: [{name: x-a}], outputPayloadToHeader: x-b}]"),
        (REQUESTS, keys(PUBLIC, PUBLIC_EC, {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})),
        (TELEMETRY, "tracing: [{providers: [{name: a}], customTags: {a: {header: {name: b}}}}]"),
        (TELEMETRY, "metrics: [{reportingInterval: 1.5s, overrides: [{tagOverrides: {a: {value: b}}}]}]"),
        (TELEMETRY, "accessLogging: [{filter: {expression: \"response.code >= 400 && !('a' in x)\"}}]"),
        (WASM, "url: 'https://a/b%20c'"),
        (EXTENSION, "wasm: {url: 'oci://a/b:1'}\nselector: {matchLabels: {a: b}}"),
        (PROXIES, "concurrency: 0"),
    ],
)
def test_what_nearly_makes_no_sense_is_accepted_without_a_word(kind: str, spec: str) -> None:
    assert warnings(kind, spec) == {}


@pytest.mark.parametrize(
    ("kind", "spec", "field", "says"),
    [
        *(
            (kind, f"selector: {{}}\n{rest}", "spec.selector", "no labels")
            for kind, rest in (
                (POLICY, ""),
                (PEERS, ""),
                (REQUESTS, ""),
                (TELEMETRY, ""),
                (WASM, "url: a"),
                (EXTENSION, "lua: {inlineCode: a}"),
                (PROXIES, ""),
            )
        ),
        (POLICY, rule("to: [{operation: {methods: [GET]}}]", "DENY"), "spec.rules[0]", "every TCP connection"),
        (POLICY, rule("from: [{source: {requestPrincipals: ['*']}}]", "DENY"), "spec.rules[0]", "every TCP connection"),
        (
            POLICY,
            rule("from: [{source: {namespaces: [a]}}], to: [{operation: {paths: [/]}}]", "DENY"),
            "spec.rules[0]",
            "every TCP connection",
        ),
        (PEERS, "mtls: {mode: DISABLE}", "spec.mtls.mode", "PERMISSIVE"),
        (REQUESTS, keys(PRIVATE), JWKS, "key 0 is secret"),
        (REQUESTS, keys({"kty": "oct", "k": "AAAA"}), JWKS, "key 0 is secret"),
        (TELEMETRY, "tracing: [{customTags: {a: {}}}]", "spec.tracing[0].customTags.a", "none of literal"),
        (REQUESTS, keys(PUBLIC, {**PUBLIC, "n": ""}), JWKS, "key 1: n: accepted is a text in base64url"),
        (TELEMETRY, "tracing: [{}, {}]", "spec.tracing[1]", "only the first"),
        (TELEMETRY, "tracing: [{providers: [{name: a}, {name: b}]}]", "spec.tracing[0].providers", "only the first"),
        (
            TELEMETRY,
            "metrics: [{overrides: [{tagOverrides: {'': {value: a}}}]}]",
            "spec.metrics[0].overrides[0].tagOverrides.",
            "the name of a tag",
        ),
    ],
)
def test_what_is_hardly_meant_is_told(kind: str, spec: str, field: str, says: str) -> None:
    found = warnings(kind, spec)
    assert list(found) == [field]
    assert says in found[field]


def test_a_secret_key_is_not_shown() -> None:
    broken = {**PRIVATE, "n": "!"}
    assert str(PRIVATE["d"]) not in str(errors(REQUESTS, keys(broken)))


def test_only_what_is_allowed_or_denied_can_be_tried() -> None:
    assert warnings(POLICY, "rules: [{}]", **DRY_RUN) == {}
    field = "metadata.annotations.istio.io/dry-run"
    assert list(errors(POLICY, "action: AUDIT\nrules: [{}]", **DRY_RUN)) == [field]
    assert list(errors(PEERS, "mtls: {mode: STRICT}", **DRY_RUN)) == [field]


def test_annotations_of_istio_itself_are_nobody_else_s() -> None:
    name = "internal.istio.io/parent-namespace"
    assert list(errors(PEERS, "{}", annotations={name: "a"})) == [f"metadata.annotations.{name}"]
