import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from agent.api import kubernetes
from agent.controller.auth import (
    Caller,
    KeyFile,
    authenticate,
    bearer_token,
    granted_identity,
    parse_keys,
    require_node_proxy,
)
from agent.errors import ForbiddenError, InvalidObjectError, UnauthenticatedError
from agent.model import Identity, Pod
from tests.support.objects import a_pod
from tests.support.signer import Signer, claims_of

TRUSTED = ("istio-system/ztunnel", "istio-system/weft-proxy")
PROXY = Caller("istio-system", "weft-proxy", pod="weft-proxy-node-1", node="node-1")
WEB = "spiffe://cluster.local/ns/shop/sa/web"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def caller_of(signer: Signer, token: str) -> Caller:
    return authenticate(token, parse_keys(signer.key_set().encode(), "jwks"))


def test_a_bound_token_proves_account_pod_and_node(signer: Signer) -> None:
    assert caller_of(signer, signer.token(claims_of())) == PROXY


def test_a_token_that_is_bound_to_nothing_proves_its_account(signer: Signer) -> None:
    bound = {"namespace": "shop", "serviceaccount": {"name": "web"}}
    assert caller_of(signer, signer.token(claims_of("shop", "web", **{"kubernetes.io": bound}))) == Caller(
        "shop", "web"
    )


@pytest.mark.parametrize("missing", ["iss", "aud", "sub", "iat", "nbf", "exp", "kubernetes.io"])
def test_a_token_without_a_claim_that_we_need_is_not_believed(signer: Signer, missing: str) -> None:
    with pytest.raises(UnauthenticatedError):
        caller_of(signer, signer.token(claims_of(**{missing: None})))


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": int(time.time()) - 60},
        {"nbf": int(time.time()) + 600},
        {"iat": int(time.time()) + 600},
        {"aud": ["kubernetes.default.svc"]},
        {"aud": "istio-ca-2"},
        {"iss": "https://elsewhere.example"},
        {"sub": "system:serviceaccount:istio-system:other"},
        {"sub": "weft-proxy"},
        {"kubernetes.io": "text"},
        {"kubernetes.io": {"namespace": "istio-system"}},
        {"kubernetes.io": {"namespace": "istio-system", "serviceaccount": {"name": 7}}},
        {"kubernetes.io": {"namespace": ["istio-system"], "serviceaccount": {"name": "weft-proxy"}}},
    ],
)
def test_a_token_with_a_wrong_claim_is_not_believed(signer: Signer, changed: dict[str, Any]) -> None:
    with pytest.raises(UnauthenticatedError, match="not valid"):
        caller_of(signer, signer.token(claims_of(**changed)))


def test_a_token_of_another_key_is_not_believed_even_under_a_known_id(signer: Signer) -> None:
    with pytest.raises(UnauthenticatedError, match="Signature"):
        caller_of(signer, Signer().token(claims_of()))


def test_a_token_of_an_unknown_key_id_is_not_believed(signer: Signer) -> None:
    with pytest.raises(UnauthenticatedError, match="not known"):
        caller_of(signer, Signer("other").token(claims_of()))


def test_a_token_without_signature_is_not_believed(signer: Signer) -> None:
    token = jwt.encode(claims_of(), None, algorithm="none", headers={"kid": signer.key_id})
    with pytest.raises(UnauthenticatedError):
        caller_of(signer, token)


def test_a_token_signed_with_a_shared_secret_is_not_believed(signer: Signer) -> None:
    token = jwt.encode(claims_of(), "s" * 64, algorithm="HS256", headers={"kid": signer.key_id})
    with pytest.raises(UnauthenticatedError):
        caller_of(signer, token)


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "…", "." * 50, "null.null.null"])
def test_noise_is_not_believed(signer: Signer, token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        caller_of(signer, token)


def test_a_changed_payload_is_not_believed(signer: Signer) -> None:
    header, _, signature = signer.token(claims_of()).split(".")
    _, payload, _ = signer.token(claims_of(node="node-2")).split(".")
    with pytest.raises(UnauthenticatedError):
        caller_of(signer, f"{header}.{payload}.{signature}")


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization", "Basic abc")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer a"), ("authorization", "Bearer b")],
        [("authorization", b"Bearer a")],
        [("x-forwarded-client-cert", "By=spiffe://x"), ("clusterid", "Kubernetes")],
        [("authorization", "Bearer " + "a" * 20_000)],
    ],
)
def test_a_call_without_exactly_one_bearer_token_is_from_nobody(metadata: list[tuple[str, str | bytes]]) -> None:
    with pytest.raises(UnauthenticatedError):
        bearer_token(metadata)


def test_the_bearer_token_is_the_only_thing_taken_from_metadata() -> None:
    assert bearer_token([("clusterid", "east"), ("authorization", "Bearer abc")]) == "abc"


def _web(**changed: Any) -> Pod:
    parsed = kubernetes.parse(a_pod(**changed), "state")
    assert isinstance(parsed, kubernetes.Pod)
    return kubernetes.to_pod(parsed)


def grant(caller: Caller, requested: str, *pods: Pod) -> Identity:
    return granted_identity(caller, requested, trusted=TRUSTED, live_pods=pods, trust_domain="cluster.local")


def test_a_node_proxy_gets_identities_of_the_pods_on_its_node() -> None:
    assert grant(PROXY, WEB, _web()) == Identity("shop", "web")


def test_a_node_proxy_gets_no_identity_that_no_pod_of_its_node_has() -> None:
    for requested in (WEB, "spiffe://cluster.local/ns/shop/sa/admin"):
        with pytest.raises(ForbiddenError, match="no pod on node node-1 runs as"):
            grant(PROXY, requested, _web(account="other"))


def test_a_node_proxy_with_another_trust_domain_is_told_which_setting_is_wrong() -> None:
    with pytest.raises(ForbiddenError, match=r"is not of trust domain cluster\.local; set the"):
        grant(PROXY, "spiffe://example.org/ns/shop/sa/web", _web())


def test_a_node_proxy_gets_no_identity_of_a_host_network_pod() -> None:
    with pytest.raises(ForbiddenError):
        grant(PROXY, WEB, _web(host_network=True))


def test_a_node_proxy_gets_no_identity_of_another_trust_domain() -> None:
    with pytest.raises(ForbiddenError):
        grant(PROXY, "spiffe://example.org/ns/shop/sa/web", _web())


def test_everybody_gets_their_own_identity() -> None:
    caller = Caller("shop", "web", node="node-1")
    assert grant(caller, "") == grant(caller, WEB) == Identity("shop", "web")
    assert grant(PROXY, "") == Identity("istio-system", "weft-proxy")


def test_nobody_but_a_node_proxy_gets_another_identity() -> None:
    with pytest.raises(ForbiddenError, match="is not one of a node proxy"):
        grant(Caller("shop", "other", node="node-1"), WEB, _web())


def test_a_node_proxy_whose_token_is_bound_to_no_node_gets_nothing_but_its_own() -> None:
    unbound = Caller("istio-system", "weft-proxy")
    with pytest.raises(ForbiddenError, match="bound to no node"):
        grant(unbound, WEB, _web())
    with pytest.raises(ForbiddenError, match="bound to no node"):
        require_node_proxy(unbound, TRUSTED)


def test_an_account_of_the_same_name_elsewhere_is_no_node_proxy() -> None:
    with pytest.raises(ForbiddenError):
        require_node_proxy(Caller("shop", "weft-proxy", node="node-1"), TRUSTED)


@pytest.mark.parametrize("requested", ["web", "spiffe://cluster.local/ns/shop", "spiffe://cluster.local/ns//sa/web"])
def test_an_identity_that_is_none_is_refused(requested: str) -> None:
    with pytest.raises(InvalidObjectError):
        grant(PROXY, requested, _web())


def test_the_key_file_is_read_again_when_it_changes_and_broken_news_are_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, path = Signer("a"), Signer("b"), tmp_path / "jwks.json"
    keys = KeyFile(path)
    assert keys.keys() == {}
    path.write_text(first.key_set())
    assert list(keys.keys()) == ["a"]
    path.write_text("{")
    assert list(keys.keys()) == list(keys.keys()) == ["a"]
    path.write_text(json.dumps(json.loads(second.key_set())))
    assert list(keys.keys()) == ["b"]
    assert len(caplog.records) == 2


def test_keys_of_other_algorithms_are_not_used() -> None:
    symmetric = {"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "x", "alg": "HS256"}]}
    assert parse_keys(json.dumps(symmetric).encode(), "jwks") == {}
