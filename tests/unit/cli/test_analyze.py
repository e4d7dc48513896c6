"""`weft analyze`: what it reads, what it leaves out, how it tells it, and with which exit status."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from agent.analysis.analyzers import ANALYZERS
from agent.analysis.messages import MESSAGES
from agent.cli.analyze import analyze
from agent.errors import ConfigError, InvalidObjectError, NotFoundError
from agent.kube import NAMESPACE, POD, StateDirectory

OPEN = "apiVersion: v1\nkind: Namespace\nmetadata: {name: NAME}\n"
POD_IN = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: NAME}\nspec: {containers: [{name: web}]}\n"
ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.example.com]
  http:
  - route: [{destination: {host: nowhere}}]
"""
SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: NAME, namespace: shop}\nspec: {ports: [{port: 80, name: http}]}\n"
)
LOGS = """\
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: logs, namespace: shop}
spec: {accessLogging: [{filter: {expression: 'true'}}]}
"""
FOUND, CLEAN, HINT = 79, 0, "What a code means and what to do: weft analyze --explain CODE"


def opened(namespace: str) -> str:
    """A namespace that nobody enrolled, with a pod: one Info."""
    return "---\n".join((OPEN, POD_IN)).replace("NAME", namespace)


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(analyze, arguments, input=given, catch_exceptions=False)


def codes(result: Result) -> list[str]:
    return [each["code"] for each in json.loads(result.stdout)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One Error and two Infos, in three files, one of them further down."""
    (tmp_path / "route.yaml").write_text(ROUTE)
    (tmp_path / "shop.yaml").write_text(opened("shop"))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "blog.yaml").write_text(opened("blog"))
    return tmp_path


def test_an_error_is_told_with_its_place_and_ends_with_79(folder: Path) -> None:
    result = run(str(folder))
    assert result.exit_code == FOUND
    told = "it refers to host nowhere, which does not exist"
    assert result.stdout.splitlines()[0] == f"Error [IST0101] (VirtualService shop/web {folder}/route.yaml:7) {told}"
    assert result.stdout.splitlines()[-1] == HINT


def test_nothing_wrong_is_said_and_ends_with_0() -> None:
    result = run("-", given=SERVICE.replace("NAME", "web"))
    assert (result.exit_code, result.stdout) == (CLEAN, "✔ No issues found in 1 objects.\n")


def test_folders_within_are_read_when_asked(folder: Path) -> None:
    assert codes(run(str(folder), "-o", "json")) == ["IST0101", "IST0102"]
    assert codes(run("-R", str(folder), "-o", "json")) == ["IST0101", "IST0102", "IST0102"]


def test_infos_alone_do_not_fail_unless_the_threshold_says_so() -> None:
    assert run("-", given=opened("shop")).exit_code == CLEAN
    assert run("--failure-threshold", "info", "-", given=opened("shop")).exit_code == FOUND
    assert run("--failure-threshold", "Warning", "-", given=opened("shop")).exit_code == CLEAN


def test_what_is_below_the_output_threshold_is_not_shown_and_still_counts(folder: Path) -> None:
    result = run("--output-threshold", "Error", "-o", "json", str(folder))
    assert codes(result) == ["IST0101"]
    result = run("--output-threshold", "Error", "--failure-threshold", "Info", "-", given=opened("shop"))
    assert (result.exit_code, result.stdout) == (FOUND, "✔ No issues found in 2 objects.\n")


def test_a_namespace_leaves_out_the_others(folder: Path) -> None:
    found = json.loads(run("-R", "-n", "blog", "-o", "json", str(folder)).stdout)
    assert [each["origin"] for each in found] == ["Namespace blog"]
    assert codes(run("-R", "-A", "-o", "json", str(folder))) == ["IST0101", "IST0102", "IST0102"]


def test_suppressed_findings_are_not_told(folder: Path) -> None:
    rest = run("-S", "IST0101=VirtualService web.shop", "-o", "json", str(folder))
    assert (rest.exit_code, codes(rest)) == (CLEAN, ["IST0102"])
    both = run("-S", "IST0101=* *", "--suppress", "IST0102=Namespace *", "-o", "json", str(folder))
    assert codes(both) == []


def test_an_annotation_of_the_object_suppresses_too() -> None:
    given = ROUTE.replace("namespace: shop}", "namespace: shop, annotations: {galley.istio.io/analyze-suppress: '*'}}")
    assert codes(run("-o", "json", "-", given=given)) == []


def test_json_and_yaml_say_the_same(folder: Path) -> None:
    as_json = json.loads(run("-o", "json", str(folder)).stdout)
    assert as_json[0] == {
        "code": "IST0101",
        "level": "Error",
        "origin": "VirtualService shop/web",
        "reference": f"{folder}/route.yaml:7",
        "message": "it refers to host nowhere, which does not exist",
    }
    assert yaml.safe_load(run("-o", "yaml", str(folder)).stdout) == as_json


def test_a_state_directory_is_analysed_and_a_file_takes_the_place_of_a_namesake(tmp_path: Path) -> None:
    state = StateDirectory.create_at(tmp_path / "state")
    for kind, text in ((NAMESPACE, OPEN), (POD, POD_IN)):
        asyncio.run(state.create(kind, yaml.safe_load(text.replace("NAME", "shop"))))
    arguments = ("--state-directory", str(tmp_path / "state"), "-o", "json")
    assert codes(run(*arguments)) == ["IST0102"]
    enrolled = OPEN.replace("{name: NAME}", "{name: shop, labels: {istio.io/dataplane-mode: ambient}}")
    assert codes(run(*arguments, "-", given=enrolled)) == []


def test_a_file_that_mends_an_object_takes_back_what_was_said_of_it(tmp_path: Path) -> None:
    broken, mended = tmp_path / "broken.yaml", tmp_path / "mended.yaml"
    mended.write_text(SERVICE.replace("NAME", "web"))
    broken.write_text(SERVICE.replace("NAME", "web").replace("port: 80", "port: none"))
    assert codes(run("-o", "json", str(broken))) == ["IST0106"]
    assert codes(run("-o", "json", str(broken), str(mended))) == []


def test_the_settings_of_the_mesh_come_from_a_file(tmp_path: Path) -> None:
    settings = tmp_path / "mesh.yaml"
    settings.write_text("defaultProviders: {accessLogging: [envoy]}\n")
    assert codes(run("-o", "json", "-", given=LOGS)) == ["IST0157"]
    assert codes(run("-o", "json", "--meshConfigFile", str(settings), "-", given=LOGS)) == []


def test_settings_of_the_mesh_that_cannot_be_read_say_which_field(tmp_path: Path) -> None:
    settings = tmp_path / "mesh.yaml"
    settings.write_text("connectTimeout: soon\n")
    with pytest.raises(InvalidObjectError, match=r"mesh\.yaml.*connectTimeout"):
        run("--meshConfigFile", str(settings), "-", given=LOGS)


def test_one_analyzer_is_run_when_it_is_named(folder: Path) -> None:
    assert codes(run("--analyzer", "enrolment.namespaces", "-o", "json", str(folder))) == ["IST0102"]
    assert run("-L").stdout.split() == list(ANALYZERS)


def test_a_code_is_explained_by_its_section() -> None:
    told = run("--explain", "weft0003").stdout
    message = MESSAGES["WEFT0003"]
    assert told.startswith("WEFT0003 WaypointNotFound (Error)\n")
    assert message.explanation.rstrip() in told
    assert len(run("--explain", "all").stdout.splitlines()) == len(MESSAGES)


def test_a_code_that_is_left_out_is_explained_by_the_reason() -> None:
    assert "istioctl asks the sidecar" in run("--explain", "IST0143").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--explain", "IST9999"), "there is no such code"),
        (("-S", "IST9999=Pod web", "-"), "there is no code IST9999"),
        (("-S", "IST0101", "-"), "accepted is CODE=KIND NAME.NAMESPACE"),
    ],
)
def test_a_code_that_does_not_exist_is_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):  # agent.cli.main ends with 64 for it
        run(*arguments, given="")


@pytest.mark.parametrize(
    "arguments",
    [(), ("-n", "shop", "-A", "-"), ("--analyzer", "nothing", "-"), ("--failure-threshold", "bad", "-"), ("-o", "xml")],
)
def test_wrong_usage_is_refused(arguments: tuple[str, ...]) -> None:
    assert run(*arguments, given="").exit_code == 2  # of click by itself; agent.cli.main makes it 64


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="missing"):
        run(str(tmp_path / "missing"))
    with pytest.raises(NotFoundError, match="missing"):
        run("--state-directory", str(tmp_path / "missing"))


def test_a_cluster_that_nobody_can_reach_is_an_error_that_names_the_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        run("--use-kube", "--kubeconfig", str(tmp_path / "missing"))
