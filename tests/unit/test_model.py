import pytest

from agent.errors import InvalidObjectError
from agent.model import Identity, NodeName, Pod, PodUid, sidecar_of


def test_an_identity_is_its_spiffe_id() -> None:
    identity = Identity("shop", "web", "example.org")
    assert str(identity) == "spiffe://example.org/ns/shop/sa/web"
    assert Identity.parse(str(identity)) == identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://a/ns/b/sa/c",
        "spiffe://a/ns/b",
        "spiffe:///ns/b/sa/c",
        "spiffe://a/ns/b/sa/c/d",
        "spiffe://a/sa/c/ns/b",
    ],
)
def test_anything_else_is_no_identity(text: str) -> None:
    with pytest.raises(InvalidObjectError, match="is not of the form"):
        Identity.parse(text)


def test_a_pod_is_named_with_its_namespace_and_has_its_accounts_identity() -> None:
    pod = Pod(PodUid("1"), "web-1", "shop", "web", NodeName("node-1"))
    assert (pod.full_name, pod.identity("example.org")) == ("shop/web-1", Identity("shop", "web", "example.org"))


@pytest.mark.parametrize(
    ("annotations", "containers", "said"),
    [
        ({}, ["web"], ""),
        ({}, ["web", "istio-proxy"], "container istio-proxy"),
        ({}, [None, "linkerd-proxy"], "container linkerd-proxy"),
        ({"sidecar.istio.io/status": ""}, ["web"], "annotation sidecar.istio.io/status"),
        ({"sidecar.istio.io/inject": "true"}, ["istio-proxy-2"], ""),
    ],
)
def test_a_sidecar_is_known_by_its_name_or_by_what_injected_it(
    annotations: dict[str, str], containers: list[str | None], said: str
) -> None:
    assert sidecar_of(annotations, containers) == said
