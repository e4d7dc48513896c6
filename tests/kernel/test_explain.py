"""`weft explain` on the shop: what it says is what happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.lab.session import until
from tests.support.command import stopped, weft
from tests.support.mesh import ROOT, Mesh, shop

POLICIES = ROOT / "examples" / "policies"
FRONTEND = "spiffe://cluster.local/ns/shop/sa/frontend"


@pytest.fixture(scope="module")
def governed() -> Iterator[Mesh]:
    """The shop with the example policies in force."""
    with shop("x") as mesh:
        for file in POLICIES.glob("*.yaml"):
            mesh.write(file.name, file.read_text())
        until("the client outside is refused", lambda: mesh.curl("http://web.shop/", pod="outside/client").returncode)
        until("the frontend is let in", lambda: mesh.curl("http://web/").returncode == 0)
        yield mesh


def explained(mesh: Mesh, source: str, target: str) -> tuple[int, dict[str, Any]]:
    """Exit status and document."""
    done = weft("explain", "--lab", mesh.lab.name, "-o", "json", source, target)
    return done.returncode, json.loads(done.stdout)


def test_whom_the_policy_allows_is_allowed_from_end_to_end(governed: Mesh) -> None:
    status, found = explained(governed, "shop/frontend", "web:80")
    assert (status, found["verdict"], found["reason"]) == (0, "allowed", "explicitly allowed by: shop/allow-frontend")
    assert (found["from"]["identity"], found["departure"]["route"]) == (FRONTEND, "hbone")
    (end,) = found["endpoints"]
    assert (end["pod"], end["by"], end["policy"], end["rule"]) == ("shop/web", "hbone", "shop/allow-frontend", 0)
    assert found["to"]["addresses"] == [f"{governed.service('shop/web')[0]}:80"]


def test_whom_no_policy_allows_is_refused_and_told_which_to_extend(governed: Mesh) -> None:
    status, found = explained(governed, "shop/redis", "web:80")
    assert (status, found["verdict"]) == (1, "refused")
    principal = "cluster.local/ns/shop/sa/backend"
    assert found["advice"] == [
        f"Add a rule to AuthorizationPolicy shop/allow-frontend that allows principal {principal} to port 8080."
    ]
    assert governed.curl("http://web/", pod="shop/redis").returncode != 0


def test_a_pod_outside_is_refused_by_strict_and_told_to_enrol(governed: Mesh) -> None:
    status, found = explained(governed, "outside/client", "shop/greeter:2525")
    assert (status, found["endpoints"][0]["policy"]) == (1, "istio-system/istio_converted_static_strict")
    assert found["advice"] == [
        "Enrol outside/client: label namespace outside, or the pod, istio.io/dataplane-mode=ambient.",
        "Or set PeerAuthentication shop/strict to PERMISSIVE; "
        "then whoever has no identity may connect to shop/greeter too.",
    ]


def test_the_text_leads_with_the_verdict_and_ends_with_what_would_change_it(governed: Mesh) -> None:
    done = weft("explain", "--lab", governed.lab.name, "outside/client", "web.shop:80")
    assert done.returncode == 1
    assert done.stdout.startswith("REFUSED: outside/client to web.shop:80\n")
    assert "What would change it:\n  - Enrol outside/client" in done.stdout
    assert "Then add a rule to AuthorizationPolicy shop/allow-frontend" in done.stdout


def test_a_port_that_the_service_has_not_is_refused(governed: Mesh) -> None:
    status, found = explained(governed, "shop/frontend", "web:81")
    assert (status, found["advice"]) == (1, ["Call a port that the Service has (80), or add 81 to its ports."])


def test_what_is_outside_the_mesh_is_reached_in_the_clear(governed: Mesh) -> None:
    status, found = explained(governed, "shop/frontend", "192.0.2.1:443")
    assert (status, found["departure"]["route"], found["endpoints"][0]["by"]) == (0, "direct", "plain")
    status, found = explained(governed, "outside/client", "outside/client:9")
    assert (status, found["departure"]) == (0, None)


def test_a_pod_that_does_not_exist_cannot_be_told(governed: Mesh) -> None:
    status, found = explained(governed, "shop/nobody", "web:80")
    assert (status, found["verdict"]) == (2, "unknown")
    assert found["reason"].startswith("no pod shop/nobody is known to the proxies; of its namespace they know: ")


@pytest.mark.parametrize("arguments", [("frontend", "web:80"), ("shop/frontend", "web"), ("shop/frontend",)])
def test_what_cannot_be_read_is_wrong_usage(governed: Mesh, arguments: tuple[str, ...]) -> None:
    assert weft("explain", "--lab", governed.lab.name, *arguments).returncode == 64


def test_a_lab_that_does_not_run_cannot_be_asked() -> None:
    done = weft("explain", "--lab", "no-such-lab", "shop/frontend", "web:80")
    assert done.returncode == 2
    assert "no lab 'no-such-lab' runs here" in done.stderr


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_while_a_proxy_is_away_the_other_end_is_told_and_the_verdict_is_not(governed: Mesh, node: str) -> None:
    with stopped(governed, f"{node}-proxy"):
        status, found = explained(governed, "shop/frontend", "web:80")
    assert (status, found["verdict"]) == (2, "unknown")
    assert f"the node proxy of {node} does not answer on port 15000: timed out" in found["reason"]
    (end,) = found["endpoints"]
    assert end["verdict"] == ("allowed" if node == "node-1" else "unknown")
    assert (found["departure"] is None) == (node == "node-1")
    until("the frontend is let in", lambda: governed.curl("http://web/").returncode == 0)


def test_while_the_controller_is_away_the_proxies_tell_what_they_do(governed: Mesh) -> None:
    with stopped(governed, "controller"):
        status, found = explained(governed, "shop/frontend", "web:80")
    assert (status, found["verdict"]) == (0, "allowed")


def test_a_pod_is_described_as_its_node_agent_has_it(governed: Mesh) -> None:
    done = weft("describe", "--lab", governed.lab.name, "-o", "json", "shop/web")
    found = json.loads(done.stdout)
    (pod,) = found["pods"]
    assert (done.returncode, pod["state"], pod["node"], pod["strict_by"]) == (
        0,
        "enrolled",
        "node-2",
        "PeerAuthentication shop/strict",
    )
    assert [(each["name"], each["enforced"]) for each in found["policies"]] == [("shop/allow-frontend", True)]
    assert found["services"][0]["addresses"] == list(governed.service("shop/web"))
