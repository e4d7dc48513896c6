"""`weft validate`: manifests in, verdicts with lines out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.cli.main import USAGE_EXIT, main
from agent.cli.validate import INVALID_EXIT, validate
from agent.manifests import MAX_BYTES

GOOD = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
"""
BAD = """\
# A comment, so that lines differ.
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
  namespace: shop
spec:
  host: reviews
  trafficPolicy:
    connectionPool:
      tcp:
        maxConnections: -1
        connectTimeout: 1.5ms
"""
DOUBTFUL = GOOD + "  workloadSelector: {}\n"
JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\nspec: {}\n"


def run(*arguments: object, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(validate, list(map(str, arguments)), input=given)


def said_of(text: str | bytes, folder: Path, name: str = "a.yaml") -> tuple[int, list[str]]:
    """Exit status and lines of output for one file, its name left out."""
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = run("-f", file)
    return done.exit_code, done.stdout.replace(str(file), name).splitlines()


def test_a_valid_file_is_said_to_be_valid(tmp_path: Path) -> None:
    assert said_of(GOOD, tmp_path) == (0, ['"a.yaml" is valid'])


def test_every_fault_is_told_with_line_object_field_value_and_what_is_accepted(tmp_path: Path) -> None:
    field = "DestinationRule shop/reviews: spec.trafficPolicy.connectionPool.tcp"
    assert said_of(BAD, tmp_path) == (
        INVALID_EXIT,
        [
            f"a.yaml:12: error: {field}.maxConnections: read -1; accepted is 0, or more",
            f"a.yaml:13: error: {field}.connectTimeout: read '0:00:00.001500'; "
            "accepted is a duration in whole milliseconds",
        ],
    )


def test_a_warning_is_told_and_the_file_is_valid(tmp_path: Path) -> None:
    status, [told, verdict] = said_of(DOUBTFUL, tmp_path)
    assert (status, verdict) == (0, '"a.yaml" is valid')
    assert told.startswith("a.yaml:6: warning: DestinationRule shop/reviews: spec.workloadSelector: has no labels")


def test_lines_are_those_of_the_document_and_of_the_item_of_a_list(tmp_path: Path) -> None:
    assert said_of(f"{GOOD}---\n{BAD}", tmp_path)[1][0].startswith("a.yaml:18: error: ")
    items = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: security.istio.io/v1\n  kind: PeerAuthentication\n"
    assert said_of(f"{items}  metadata: {{name: a}}\n  spec: {{mtls: {{mode: HARD}}}}\n", tmp_path)[1][0].startswith(
        "a.yaml:7: error: PeerAuthentication default/a: spec.mtls.mode: "
    )


def test_all_files_of_a_folder_are_read_and_with_r_those_of_the_folders_in_it(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "inner/b.yml").write_text(BAD)
    assert run(tmp_path).exit_code == 0
    done = run("-R", tmp_path)
    assert done.exit_code == INVALID_EXIT
    assert f'"{tmp_path}/a.yaml" is valid' in done.stdout
    assert f"{tmp_path}/inner/b.yml:12: error: " in done.stdout


def test_standard_input_is_read() -> None:
    done = run("-f", "-", given=BAD)
    assert (done.exit_code, done.stdout.splitlines()[0].partition(" ")[0]) == (INVALID_EXIT, "-:12:")


def test_json_has_a_map_for_each_remark(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DOUBTFUL)
    done = run("-o", "json", tmp_path / "a.yaml")
    [remark] = json.loads(done.stdout)
    assert remark.pop("text").startswith("has no labels")
    assert remark == {
        "file": str(tmp_path / "a.yaml"),
        "line": 6,
        "severity": "warning",
        "object": "DestinationRule shop/reviews",
        "field": "spec.workloadSelector",
    }
    assert json.loads(run("-o", "json", "-", given=GOOD).stdout) == []


def test_sarif_has_what_its_schema_requires_and_the_place_of_each_remark() -> None:
    done = run("-o", "sarif", "-", given=BAD)
    assert done.exit_code == INVALID_EXIT
    log = json.loads(done.stdout)
    assert log["version"] == "2.1.0"
    [found] = log["runs"]
    assert found["tool"]["driver"]["name"] == "weft"
    assert [result["level"] for result in found["results"]] == ["error", "error"]
    first: dict[str, Any] = found["results"][0]
    assert first["message"]["text"].startswith("DestinationRule shop/reviews: spec.trafficPolicy.")
    assert first["ruleId"] == "invalid-object"
    assert [place["physicalLocation"] for place in first["locations"]] == [
        {"artifactLocation": {"uri": "-"}, "region": {"startLine": 12}}
    ]


def test_sarif_of_valid_manifests_has_no_results() -> None:
    [found] = json.loads(run("-o", "sarif", "-", given=GOOD).stdout)["runs"]
    assert found["results"] == []


def status_of_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    """What the whole command exits with, which tells errors of the file system from wrong usage."""
    monkeypatch.setattr("sys.argv", ["weft", "validate", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return done.value.code


def test_a_file_that_is_not_there_and_wrong_usage_have_statuses_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of_main(monkeypatch, tmp_path / "none.yaml") == 1
    assert f"weft: cannot read {tmp_path}/none.yaml: No such file" in capsys.readouterr().err
    assert status_of_main(monkeypatch) == USAGE_EXIT
    assert status_of_main(monkeypatch, "-o", "xml", tmp_path) == USAGE_EXIT
    (tmp_path / "a.yaml").write_text(GOOD)
    assert status_of_main(monkeypatch, tmp_path) == 0


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (
            "a: &a [b,b]\n" + "".join(f"a{i}: &a{i} [{','.join(['*a'] * 99999)}]\n" for i in range(3)),
            2,
            "aliases stand",
        ),
        ("metadata:\n  name: a\n  name: b\n", 3, "key 'name' is given twice, first on line 2"),
        ("a: " + "[" * 300, 1, "nested deeper than 200 levels"),
        ('{"a": ' * 300, 1, "nested deeper than 200 levels"),
        (b"\xff\xfea\x00:\x00", 1, "not UTF-8"),
        ("a: b\nc: \xff".encode("latin-1"), 2, "byte 0xff: not UTF-8"),
        (b"#" * (MAX_BYTES + 1), 1, "larger than 16 MiB"),
        ("metadata:\n  name: {{ .Values.name }}\n", 2, "render it first (helm template)"),
        ("{{- if .Values.enabled }}\na: b\n{{- end }}\n", 1, "render it first (helm template)"),
        ("a: !!python/object:os.system b\n", 1, "accepted are the tags of JSON's types"),
        ("a: b: c\n", 1, "not YAML"),
        ("a\tb: [\n", 2, "not YAML"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_text_that_cannot_be_read_is_refused_with_its_line(
    text: str | bytes, line: int, says: str, tmp_path: Path
) -> None:
    status, [told] = said_of(text, tmp_path)
    assert (status, told.partition(" ")[0]) == (INVALID_EXIT, f"a.yaml:{line}:")
    assert says in told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: a}", "networking.istio.io/v1 Gateway"),
        (GOOD.replace("spec:\n  host: reviews", "spec: [host]"), "a map"),
        (GOOD.replace("{name: reviews, namespace: shop}", "[name]"), "an object needs"),
        (GOOD.replace("name: reviews, ", ""), "an object needs"),
        (GOOD.replace("kind: DestinationRule\n", ""), "an object needs"),
        ("- a\n- b\n", "an object needs"),
        ("just a text\n", "an object needs"),
        (GOOD.replace("host:", "hosts:"), "unknown field"),
        (GOOD.replace("name: reviews", "name: 5"), "an object needs"),
        (GOOD.replace("host: reviews", "host: '{{ .Values.host }}'"), "a DNS name"),
    ],
)
def test_what_is_no_object_or_none_of_its_kind_is_refused(text: str, says: str, tmp_path: Path) -> None:
    status, lines = said_of(text, tmp_path)
    assert status == INVALID_EXIT
    assert says in "\n".join(lines)


def test_a_half_of_a_character_is_refused_in_a_form_that_can_be_printed(tmp_path: Path) -> None:
    spec = {"host": "a", "subsets": [{"name": "a", "labels": {"\ud800": "a"}}]}
    whole = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "a"}, "spec": spec}
    status, [told] = said_of(json.dumps(whole), tmp_path)
    assert status == INVALID_EXIT
    assert "spec.subsets[0].labels.\\ud800: read '\\ud800'" in told


def test_one_broken_file_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [")
    (tmp_path / "b.yaml").write_text(BAD)
    assert len(run(tmp_path).stdout.splitlines()) == 3


def test_an_empty_file_is_valid_and_said_to_hold_nothing(tmp_path: Path) -> None:
    for text in ("", "\n---\n# nothing\n---\n"):
        (tmp_path / "a.yaml").write_text(text)
        done = run(tmp_path / "a.yaml")
        assert (done.exit_code, done.stderr) == (0, f"weft: {tmp_path}/a.yaml holds no object\n")


def test_objects_of_others_are_passed_over_and_counted_beside_the_output() -> None:
    done = run(
        "-", given=f"{JOB}---\n{GOOD}---\n{JOB}---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: a}}"
    )
    assert (done.exit_code, done.stdout) == (0, '"-" is valid\n')
    assert (
        done.stderr
        == "weft: not checked, of kinds that the mesh does not read: 1 apps/v1 StatefulSet, 2 batch/v1 Job\n"
    )


def test_a_name_may_be_left_to_kubernetes() -> None:
    made_up = GOOD.replace("name: reviews", "generateName: reviews-")
    assert run("-", given=made_up).exit_code == 0
    told = run("-", given=made_up.replace("host: reviews", "host: a_b")).stdout
    assert told.startswith("-:5: error: DestinationRule shop/reviews-*: spec.host: ")
