"""Reading what is to be analysed, and leaving out what its author knows of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.analysis import analyzers
from agent.analysis.corpus import Corpus, Finding
from agent.analysis.run import Material, Suppression, analyze
from agent.api.kubernetes import Namespace
from agent.errors import ConfigError
from agent.manifests import Key

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n"


def material(*texts: str) -> Material:
    made = Material()
    for number, text in enumerate(texts):
        made.add_text(text, f"{number}.yaml")
    return made


def codes(found: list[Finding]) -> list[tuple[str, str, int]]:
    return [(finding.code, finding.file, finding.line) for finding in found]


@pytest.fixture
def broken_analyzer(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(corpus: Corpus) -> Iterator[Finding]:
        yield corpus.of(Namespace)[0].finding("IST0133", "metadata", "name", error="told before")
        raise KeyError("missing")

    monkeypatch.setattr("agent.analysis.run.ANALYZERS", {"broken": broken, **analyzers.ANALYZERS})


def test_a_text_that_cannot_be_read_is_a_finding_with_its_line() -> None:
    found = analyze(material("a: 1\nb: [\n", NAMESPACE.format(name="shop")))
    assert codes(found) == [("IST0106", "0.yaml", 3)]


def test_every_fault_of_an_object_is_a_finding_of_its_own() -> None:
    pod = "kind: Pod\napiVersion: v1\nmetadata:\n  name: web\n  labels: x\nspec:\n  containers: 1\n"
    assert codes(analyze(material(pod))) == [("IST0106", "0.yaml", 5), ("IST0106", "0.yaml", 7)]


def test_a_failing_analyzer_is_told_and_hides_nothing(broken_analyzer: None) -> None:
    found = analyze(material(NAMESPACE.format(name="shop")))
    assert [(each.code, each.text) for each in found] == [
        (
            "IST0001",
            "analyzer broken failed, so that what it looks for was not looked for: KeyError: 'missing'",
        ),
        ("IST0133", "told before"),
    ]


def test_an_annotation_leaves_out_what_it_names(broken_analyzer: None) -> None:
    text = NAMESPACE.format(name="shop") + "  annotations: {galley.istio.io/analyze-suppress: 'IST0002, IST0133'}\n"
    assert [each.code for each in analyze(material(text))] == ["IST0001"]


@pytest.mark.parametrize(
    ("text", "covers"),
    [
        ("IST0106=Pod web.shop", True),
        ("IST0106=* *", True),
        ("IST0106=Pod w*.shop", True),
        ("IST0106=Pod web", False),
        ("IST0133=Pod web.shop", False),
        ("IST0106=Service web.shop", False),
    ],
)
def test_a_suppression_covers_the_objects_it_names(text: str, covers: bool) -> None:
    finding = Finding("", 0, "IST0106", Key("Pod", "shop", "web"), "")
    assert Suppression.parse(text).covers(finding) is covers


@pytest.mark.parametrize("text", ["IST0106", "IST0106=Pod", "=Pod web", "IST9999=Pod web.shop"])
def test_a_suppression_of_another_form_says_what_is_accepted(text: str) -> None:
    with pytest.raises(ConfigError, match="--suppress"):
        Suppression.parse(text)


def test_an_object_without_a_name_is_a_mistake_unless_it_is_another_programs() -> None:
    assert [each.code for each in analyze(material("apiVersion: v1\nkind: Service\nmetadata: {}\n"))] == ["IST0106"]
    assert analyze(material("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n")) == []
