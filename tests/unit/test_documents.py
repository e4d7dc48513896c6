"""Documents are read as kubectl reads them, in bounded time, and every value knows its line."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.documents import MAX_ALIASED, MAX_DEPTH, UnreadableError, load

_KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
# Without what kubectl takes for a boolean or a number, and PyYAML for a text: y, 1e3, 0o7.
_WORDS = _KEYS.filter(lambda word: word not in ("y", "Y", "n", "N") and not re.match(r"[-+.]*[0-9]", word))
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _WORDS
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=4), max_leaves=20
)


def value(text: str) -> object:
    [document] = load(text)
    return document.value


def fault(text: str) -> tuple[int, str]:
    with pytest.raises(UnreadableError) as caught:
        load(text)
    return caught.value.line, str(caught.value)


@given(st.lists(_VALUES.filter(lambda found: found is not None), max_size=3))
def test_what_a_yaml_library_writes_is_read_back(values: list[object]) -> None:
    written = yaml.safe_dump_all(values, explicit_start=True, allow_unicode=True)
    assert [document.value for document in load(written)] == values


@given(_VALUES.filter(lambda found: isinstance(found, list | dict)), st.booleans())
def test_what_a_json_library_writes_is_read_back(found: object, is_ascii: bool) -> None:
    assert value(json.dumps(found, ensure_ascii=is_ascii)) == found


@given(st.text(alphabet="ab:-?[]{}&*!|>'\"%@#, \n\t<0", max_size=60))
def test_any_text_is_read_or_refused_with_its_line(text: str) -> None:
    try:
        load(text)
    except UnreadableError as exc:
        assert 1 <= exc.line <= text.count("\n") + 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True),
        ("off", False),
        ("'yes'", "yes"),
        ("22:30", "22:30"),
        ("2020-01-01", "2020-01-01"),
        ("0777", 0o777),
        ("0x1F", 31),
        ("-1_000", -1000),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("[~, null, '']", [None, None, ""]),
        ("!!str 12", "12"),
        ("80: web\ntrue: b", {"80": "web", "true": "b"}),
        ("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
    ],
)
def test_scalars_and_keys_mean_what_they_mean_to_kubectl(text: str, expected: object) -> None:
    assert value(text) == expected


def test_every_value_knows_its_line() -> None:
    [first, second] = load(
        "# a comment\nspec:\n  http:\n    - route: x\n      retries:\n        attempts: 3\n---\nb: 1\n"
    )
    assert first.lines.find(["spec", "http", 0, "retries", "attempts"]) == 6
    assert first.lines.find(["spec", "http", 0, "missing"]) == 4
    assert second.lines.find(["b"]) == 8


def test_a_key_given_twice_is_refused_with_both_lines() -> None:
    assert fault("a:\n  b: 1\n  c: 2\n  b: 3\n") == (4, "key 'b' is given twice, first on line 2")


def test_an_alias_that_multiplies_is_refused() -> None:
    layers = [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    line, text = fault("\n".join(["a0: &a0 [x]", *layers]))
    assert line < 10
    assert f"more than {MAX_ALIASED} values" in text


def test_nesting_is_bounded() -> None:
    assert fault("[" * 100_000) == (1, f"nested deeper than {MAX_DEPTH} levels")
    assert fault("- " * 5_000)[1] == f"nested deeper than {MAX_DEPTH} levels"
    assert value("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_a_value_that_holds_itself_is_refused() -> None:
    assert fault("a: &a\n  b: *a") == (2, "*a: no value with this anchor ends before it")


def test_a_tag_of_another_program_is_refused() -> None:
    assert fault("a: !Ref b") == (1, "tag !Ref: accepted are the tags of JSON's types, such as !!str")
    assert "tag:yaml.org,2002:python/object" in fault("a: !!python/object:os.system {}")[1]


def test_a_helm_template_is_recognised() -> None:
    assert "helm template" in fault("metadata:\n  name: {{ .Release.Name }}")[1]


def test_a_long_number_takes_no_long_time() -> None:
    assert value("a: " + "9" * 100_000) == {"a": "9" * 100_000}
