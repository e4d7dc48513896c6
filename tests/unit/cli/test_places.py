import pytest

from agent.cli.places import PodName, Target, hostnames, joined, pod_name, target
from agent.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("shop/web:8080", Target(PodName("shop", "web"), 8080)),
        ("web:80", Target("web", 80)),
        ("web.shop.svc.cluster.local.:80", Target("web.shop.svc.cluster.local.", 80)),
        ("10.0.0.7:80", Target("10.0.0.7", 80)),
        ("[fd00::0:1]:80", Target("fd00::1", 80)),
    ],
)
def test_a_target_is_a_pod_a_name_or_an_address_with_a_port(text: str, meant: Target) -> None:
    assert target(text) == meant


@pytest.mark.parametrize(
    "text", ["web", "web:", "web:0", "web:65536", "web:http", ":80", "shop/:80", "a b:80", "/web:80", "fd00::1:80"]
)
def test_what_is_no_target_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(ConfigError, match=r"accepted|neither a name nor an address"):
        target(text)


def test_a_pod_is_named_with_its_namespace() -> None:
    assert str(pod_name("shop/web")) == "shop/web"
    with pytest.raises(ConfigError, match=r"^'web' is not a pod; accepted is NAMESPACE/POD$"):
        pod_name("web")


def test_a_short_name_is_looked_for_as_a_resolver_does() -> None:
    expected = ["web.shop.svc.cluster.local", "web.svc.cluster.local", "web.cluster.local", "web"]
    assert list(hostnames("Web", "shop")) == expected
    assert list(hostnames("web.", "shop")) == ["web"]


def test_an_ipv6_address_and_its_port_are_kept_apart() -> None:
    assert (joined("fd00::1", 80), joined("10.0.0.1", 80)) == ("[fd00::1]:80", "10.0.0.1:80")
    assert str(Target("fd00::1", 80)) == "[fd00::1]:80"
