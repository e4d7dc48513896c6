import json
from typing import Any

import pytest
from rich.console import Console

from agent.cli import health, reach
from agent.cli.status import gather, of_namespace, tables
from agent.cli.tables import span
from tests.support.answers import ALLOW, NOW, a_pod, a_proxy, a_syncz
from tests.support.reach import FakeMesh


def a_mesh() -> FakeMesh:
    answers: dict[tuple[reach.Process, int], dict[str, Any]] = {
        (reach.CONTROLLER, 15014): {"/debug/syncz": a_syncz(), "/debug/policies": [ALLOW]},
        (reach.agent_of("node-1"), 15014): {"/debug/pods": [a_pod()]},
        (reach.proxy_of("node-1"), 15000): {"/status": a_proxy()},
    }
    return FakeMesh(("node-1",), answers)


def text_of(mesh: FakeMesh, most: int | None = None) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        for part in tables(health.document(gather(mesh), NOW), most):
            console.print(part)
    return capture.get()


def test_every_process_is_asked_and_the_tables_show_what_they_say() -> None:
    text = text_of(a_mesh())
    for part in (
        "Controller: up",
        "node-1  up     up     1         0        0",
        "node-1  0.1.0    60s     connected   synced     synced",
        "spiffe://cluster.local/ns/shop/sa/web  node-1  Available  60m",
        "shop       allow   AuthorizationPolicy  ALLOW   workloads  yes                  in force",
        "All is well.",
    ):
        assert part in text


def test_a_process_that_is_down_is_named_and_the_others_are_shown() -> None:
    mesh = a_mesh()
    del mesh.answers[reach.CONTROLLER, 15014]
    text = text_of(mesh)
    assert "Controller: DOWN" in text
    assert "the controller does not answer on port 15014: Connection refused" in text
    assert "node-1  0.1.0    60s     connected   ?          ?" in text
    assert "Not all of the mesh could be asked." in text


def test_a_process_that_answers_with_an_error_counts_as_not_asked() -> None:
    mesh = a_mesh()
    mesh.answers[reach.agent_of("node-1"), 15014] = {"/debug/pods": (503, "the cluster's pods are not known yet\n")}
    found = health.document(gather(mesh), NOW)
    assert found["state"] == "unknown"
    assert found["unreachable"] == [
        "the node agent of node-1 answers /debug/pods with 503: the cluster's pods are not known yet"
    ]


def test_what_is_wrong_with_manifests_is_among_the_problems() -> None:
    mesh = a_mesh()
    mesh.written = ["web.yaml: AuthorizationPolicy shop/allow: spec.rules: odd"]
    text = text_of(mesh)
    assert "web.yaml: AuthorizationPolicy shop/allow: spec.rules: odd; its last good state" in text
    assert "Problems: 1." in text


def test_notes_stand_before_the_conclusion() -> None:
    mesh = a_mesh()
    outside = a_pod(state="outside", injection="istio.io/rev=default")
    mesh.answers[reach.agent_of("node-1"), 15014] = {"/debug/pods": [a_pod(), outside]}
    text = text_of(mesh)
    assert "namespace shop has the label istio.io/rev=default and a pod" in text
    assert text.rstrip().endswith("All is well.")


def test_a_policy_that_is_not_wholly_enforced_comes_first_with_the_reason() -> None:
    mesh = a_mesh()
    short = {**ALLOW, "name": "short", "shortfalls": ["spec.rules[0]: only a waypoint can tell"]}
    dry = {**ALLOW, "name": "dry", "dry_run": True, "version": None, "resource": None}
    mesh.answers[reach.CONTROLLER, 15014]["/debug/policies"] = [ALLOW, dry, short]
    mesh.answers[reach.proxy_of("node-1"), 15000]["/status"] = a_proxy(policies={"shop/allow": "v1"})
    lines = [line for line in text_of(mesh).splitlines() if line.startswith("shop ")]
    assert "no: spec.rules[0]: only a waypoint can tell" in next(line for line in lines if " short " in line)
    assert "no: dry run" in lines[-1] and "not sent" in lines[-1]
    assert "not yet on node-1" in lines[0]


def test_long_tables_end_with_how_many_rows_there_are_besides() -> None:
    mesh = a_mesh()
    many = [a_pod(name=f"web-{number}", state="outside", reason="no label") for number in range(1000)]
    mesh.answers[reach.agent_of("node-1"), 15014]["/debug/pods"] = many
    short, whole = text_of(mesh, 40), text_of(mesh)
    assert "and 960 more, -A shows all" in short and len(short.splitlines()) < 80
    assert "web-999" in whole and "more, -A" not in whole


def test_one_namespace_is_filtered_by_pod_identity_and_policy() -> None:
    found = health.document(gather(a_mesh()), NOW)
    other = of_namespace(found, "other")
    assert (other["pods"], other["certificates"], other["policies"]) == ([], [], [])
    assert of_namespace(found, "shop") == found
    json.dumps(found)


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1, "over"), (0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172800, "2d")]
)
def test_a_length_of_time_is_said_in_its_largest_unit(seconds: float, said: str) -> None:
    assert span(seconds) == said
