import json
import logging
import sys

from agent.logs import JsonFormatter, PlainFormatter


def a_record(message: str = "pod is served", **facts: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "agent.proxy", "levelname": "INFO", "msg": message, "created": 0.0, "msecs": 7, **facts}
    )


def test_a_plain_line_has_its_facts_behind_the_message() -> None:
    line = PlainFormatter().format(a_record(pod="shop/web", seconds=5))
    assert line == "1970-01-01T00:00:00.007Z info agent.proxy pod is served pod=shop/web seconds=5"


def test_a_fact_never_makes_a_line_of_its_own() -> None:
    line = PlainFormatter().format(a_record(reason="x\n1970 error forged"))
    assert line.splitlines() == [line]


def test_a_json_line_has_facts_as_keys() -> None:
    assert json.loads(JsonFormatter().format(a_record(pod="shop/web"))) == {
        "time": "1970-01-01T00:00:00.007Z",
        "level": "info",
        "scope": "agent.proxy",
        "message": "pod is served",
        "pod": "shop/web",
    }


def test_a_trace_follows_the_line_or_is_a_key() -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        record = a_record(exc_info=sys.exc_info())
    assert PlainFormatter().format(record).endswith("ValueError: boom")
    assert json.loads(JsonFormatter().format(record))["stack"].endswith("ValueError: boom")
