"""`weft status` on the shop: what is well, what is not, and what cannot be told."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.lab import namespaces
from agent.lab.addresses import CONTROL_ADDRESS, node_plans
from agent.lab.session import until
from tests.support.command import stopped, weft
from tests.support.mesh import ROOT, Mesh, shop

ALLOW_FRONTEND = (ROOT / "examples" / "policies" / "allow-frontend.yaml").read_text()


@pytest.fixture(scope="module")
def governed() -> Iterator[Mesh]:
    """The shop with a policy in force."""
    with shop("s") as mesh:
        mesh.write("policy.yaml", ALLOW_FRONTEND)
        until("the policy is in force", lambda: mesh.curl("http://web.shop/", pod="outside/client").returncode)
        until("all is well", lambda: told(mesh)[0] == 0)
        yield mesh


def told(mesh: Mesh) -> tuple[int, dict[str, Any]]:
    """Exit status and document."""
    done = weft("status", "--lab", mesh.lab.name, "-o", "json")
    return done.returncode, json.loads(done.stdout)


def test_a_mesh_that_is_well_shows_pods_proxies_certificates_and_policies(governed: Mesh) -> None:
    status, found = told(governed)
    assert (status, found["state"], found["problems"], found["unreachable"]) == (0, "well", [], [])
    assert [(node["node"], node["agent_up"], node["proxy_up"]) for node in found["nodes"]] == [
        ("node-1", True, True),
        ("node-2", True, True),
    ]
    for proxy in found["proxies"]:
        assert proxy["connected"] and proxy["version"] and proxy["uptime_seconds"] > 0
        assert {each["state"] for each in proxy["discovery"].values()} == {"synced"}
    states = {f"{pod['namespace']}/{pod['name']}": pod["state"] for pod in found["pods"]}
    assert states["outside/client"] == "outside"
    assert {state for name, state in states.items() if name.startswith("shop/")} == {"enrolled"}
    identities = {(each["node"], each["identity"].rpartition("/")[2]) for each in found["certificates"]}
    assert identities == {("node-1", "frontend"), ("node-2", "backend")}
    assert all(80000 < each["seconds_left"] <= 86400 for each in found["certificates"])
    (policy,) = found["policies"]
    assert (policy["name"], policy["scope"], policy["enforced"]) == ("allow-frontend", "workloads", True)
    assert (policy["missing_on"], policy["differs_on"]) == ([], [])


def test_the_tables_end_with_that_all_is_well(governed: Mesh) -> None:
    done = weft("status", "--lab", governed.lab.name)
    assert done.returncode == 0
    for title in ("Nodes", "Node proxies", "Pods not enrolled", "Certificates", "Policies"):
        assert f"\n{title} " in done.stdout
    assert done.stdout.strip().endswith("All is well.")
    other = weft("status", "--lab", governed.lab.name, "-n", "outside").stdout
    assert "outside/client" in other and "allow-frontend" not in other


def test_a_broken_policy_is_named_with_file_and_field_and_the_last_good_one_stays(governed: Mesh) -> None:
    before = told(governed)[1]["policies"]
    governed.write("policy.yaml", ALLOW_FRONTEND.replace("principals", "principles"))
    try:
        until("the problem is found", lambda: told(governed)[0] == 1)
        found = told(governed)[1]
        (problem,) = found["problems"]
        assert problem["kind"] == "object"
        assert problem["text"].startswith(f"{governed.manifests / 'policy.yaml'}")
        assert "AuthorizationPolicy shop/allow-frontend: spec.rules[0].from[0].source.principles" in problem["text"]
        assert problem["text"].endswith("its last good state, if it had one, stays in force")
        assert found["policies"] == before
        assert "principles" in weft("status", "--lab", governed.lab.name).stdout
        assert governed.curl("http://web/").returncode == 0
        assert governed.curl("http://web.shop/", pod="outside/client").returncode != 0
    finally:
        governed.write("policy.yaml", ALLOW_FRONTEND)
    until("all is well again", lambda: told(governed)[0] == 0)


@pytest.mark.parametrize(
    ("process", "name"),
    [
        ("controller", "the controller"),
        ("node-1-node", "the node agent of node-1"),
        ("node-2-proxy", "the node proxy of node-2"),
    ],
)
def test_whoever_does_not_answer_is_named_and_the_others_are_shown(governed: Mesh, process: str, name: str) -> None:
    with stopped(governed, process):
        status, found = told(governed)
    assert (status, found["state"]) == (2, "unknown")
    assert all(text.startswith(f"{name} does not answer on port ") for text in found["unreachable"])
    assert found["unreachable"]
    assert len(found["proxies"]) == (1 if process == "node-2-proxy" else 2)
    until("all is well again", lambda: told(governed)[0] == 0)


def test_without_a_lab_nothing_can_be_told() -> None:
    done = weft("status", "--lab", "no-such-lab")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no lab 'no-such-lab' runs here" in done.stderr


def test_state_is_told_on_a_process_s_own_loopback_only(governed: Mesh) -> None:
    netns = governed.lab.netns("control")
    assert http_status(netns, "127.0.0.1", "/debug/syncz") == 200
    address = str(CONTROL_ADDRESS.v4)
    for path in ("/debug/syncz", "/debug/problems", "/debug/policies"):
        assert http_status(governed.lab.netns("node-1"), address, path) == 403
        assert http_status(netns, address, path) == 403
    for path in ("/metrics", "/readyz"):
        assert http_status(governed.lab.netns("node-1"), address, path) == 200
    agent = str(node_plans(1)[0].address.v4)
    assert http_status(netns, agent, "/debug/pods") == 403
    assert http_status(netns, agent, "/metrics") == 200


def http_status(netns: str, address: str, path: str) -> int:
    def ask() -> int:
        connection = http.client.HTTPConnection(address, 15014, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status

    return namespaces.inside(netns, ask)
