"""Rules of reading manifests."""

import json

import pytest

from agent.documents import UnreadableError
from agent.kube import PEER_AUTHENTICATION
from agent.manifests import MAX_BYTES, Key, Manifest, Reading, combine, decode, in_order, read, still_good, written

SHOP = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n"
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: web, command: [sleep]}]
"""


STRICT = """\
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  portLevelMtls: {8080: {mode: STRICT}}
"""


def test_reads_every_document_of_a_file() -> None:
    reading = read(f"{SHOP}---\n{POD}", "shop.yaml")
    assert [manifest.key for manifest in reading.manifests] == [
        Key("Namespace", "", "shop"),
        Key("Pod", "default", "web"),
    ]
    assert reading.problems == ()


def test_reads_the_items_of_a_list_in_json() -> None:
    item = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [item]})
    assert [str(manifest.key) for manifest in read(text, "a.json").manifests] == ["Namespace a"]


def test_what_is_not_yaml_names_the_file() -> None:
    reading = read("a: [", "shop.yaml")
    assert reading.problems[0].text.startswith("shop.yaml:2: not YAML: ")
    assert reading.broken == {None}


def test_an_unknown_label_value_names_file_object_and_field() -> None:
    reading = read(SHOP + "  labels: {istio.io/dataplane-mode: ambiant}\n", "shop.yaml")
    assert "shop.yaml:5: Namespace shop: metadata.labels: " in reading.problems[0].text
    assert reading.broken == {Key("Namespace", "", "shop")}


def test_a_kind_that_the_lab_does_not_run_is_kept() -> None:
    text = "apiVersion: example.org/v1\nkind: Later\nmetadata: {name: x, namespace: shop}\n"
    assert read(text, "x.yaml") == Reading(kept=("Later shop/x",))


def test_an_object_without_a_name_is_a_problem() -> None:
    reading = read("kind: Pod\n", "x.yaml")
    assert [problem.text for problem in reading.problems] == [
        "x.yaml: object 1 has no apiVersion, kind or metadata.name"
    ]


def test_a_broken_object_stays_as_it_last_was_good() -> None:
    good = read(f"{SHOP}---\n{POD}", "f").manifests
    broken = read(SHOP + "---\n" + POD.replace("[sleep]", "7"), "f")
    assert [manifest.key.kind for manifest in still_good(good, broken)] == ["Namespace", "Pod"]


def test_nothing_is_removed_while_the_file_is_not_yaml() -> None:
    good = read(SHOP, "f").manifests
    assert still_good(good, read("a: [", "f")) == good


def test_what_was_taken_out_is_gone() -> None:
    good = read(f"{SHOP}---\n{POD}", "f").manifests
    assert [manifest.key.kind for manifest in still_good(good, read(SHOP, "f"))] == ["Namespace"]


def test_of_two_files_with_one_object_the_first_counts() -> None:
    first, second = read(SHOP, "a").manifests, read(SHOP, "b").manifests
    wanted, problems = combine({"b": second, "a": first})
    assert wanted == {Key("Namespace", "", "shop"): first[0]}
    assert [problem.text for problem in problems] == ["b: Namespace shop is in a too, which counts"]


def test_namespaces_come_before_what_is_in_them() -> None:
    both: tuple[Manifest, ...] = read(f"{POD}---\n{SHOP}", "f").manifests
    assert [manifest.kind.name for manifest in in_order(both)] == ["Namespace", "Pod"]


def test_an_older_version_of_an_api_becomes_the_one_that_is_stored() -> None:
    (manifest,) = read(STRICT, "f").manifests
    assert (manifest.kind, manifest.object["apiVersion"]) == (PEER_AUTHENTICATION, "security.istio.io/v1")


def test_numbers_as_keys_are_what_json_makes_of_them() -> None:
    (manifest,) = read(STRICT, "f").manifests
    assert manifest.object["spec"]["portLevelMtls"] == {"8080": {"mode": "STRICT"}}


def test_a_policy_that_is_broken_stays_as_it_last_was_good() -> None:
    good = read(STRICT, "f").manifests
    broken = read(STRICT.replace("STRICT", "STRIKT"), "f")
    assert still_good(good, broken) == good
    assert broken.problems[0].text == (
        "f:6: PeerAuthentication shop/web: spec.portLevelMtls.8080.mode: read 'STRIKT': "
        "accepted is 'UNSET', 'DISABLE', 'PERMISSIVE' or 'STRICT'"
    )


def test_a_problem_knows_the_line_of_its_field() -> None:
    reading = read(f"{SHOP}---\n" + STRICT.replace("STRICT", "STRIKT"), "shop.yaml")
    assert [problem.line for problem in reading.problems] == [11]


def test_the_items_of_a_list_know_their_lines() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- kind: A\n- kind: B\n  metadata:\n    name: b\n"
    assert [one.lines.line for one in written(text, "a.yaml")] == [4, 5]
    assert written(text, "a.yaml")[1].lines.find(["metadata", "name"]) == 7


def test_text_in_another_encoding_is_refused_with_its_line() -> None:
    with pytest.raises(UnreadableError, match=r"a\.yaml:1: byte 0xff: not UTF-8, which is accepted"):
        decode(SHOP.encode("utf-16"), "a.yaml")
    with pytest.raises(UnreadableError, match=r"a\.yaml:2: byte 0xe9"):
        decode("a: 1\nb: caf\xe9\n".encode("latin-1"), "a.yaml")
    assert decode(SHOP.encode("utf-8-sig"), "a.yaml") == SHOP


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(UnreadableError, match=r"a\.yaml: larger than 16 MiB; split it"):
        decode(b"#" * (MAX_BYTES + 1), "a.yaml")
