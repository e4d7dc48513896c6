import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from agent.cli import reach
from agent.errors import ConfigError, InvalidObjectError, NotFoundError, RefusedError, UnavailableError
from tests.support.reach import FakeMesh

PROXY = reach.proxy_of("node-1")
MESH = FakeMesh(
    ("node-1",), {(PROXY, 15000): {"/status": {"version": "1"}, "/odd": (200, "text"), "/no": (400, "why\n")}}
)


def a_lab(run: Path, name: str, *problems: str) -> None:
    folder = run / name
    folder.mkdir(parents=True)
    record = {"supervisor": {"pid": 1, "start": 1}, "nodes": ["node-1"], "cgroup": "", "mounts": [], "netns": []}
    (folder / "lab.json").write_text(json.dumps(record))
    (folder / "report.json").write_text(json.dumps({"problems": [{"text": text} for text in problems]}))


def test_the_only_lab_that_runs_is_found_without_its_name(tmp_path: Path) -> None:
    a_lab(tmp_path, "mine", "web.yaml: broken")
    found = reach.running_lab(None, tmp_path)
    assert (found.name, found.nodes, found.problems()) == ("mine", ("node-1",), ["web.yaml: broken"])


def test_of_several_labs_one_must_be_named(tmp_path: Path) -> None:
    a_lab(tmp_path, "one")
    a_lab(tmp_path, "two")
    with pytest.raises(ConfigError, match="several labs run: one, two; choose one with --lab"):
        reach.running_lab(None, tmp_path)
    assert reach.running_lab("two", tmp_path).name == "two"


def test_a_lab_that_does_not_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no lab runs here; `weft lab up -d PATHS` makes one"):
        reach.running_lab(None, tmp_path)
    a_lab(tmp_path, "mine")
    with pytest.raises(NotFoundError, match="no lab 'other' runs here; there are: mine"):
        reach.running_lab("other", tmp_path)


def test_a_report_that_is_not_json_names_its_file(tmp_path: Path) -> None:
    a_lab(tmp_path, "mine")
    (tmp_path / "mine" / "report.json").write_text("{")
    with pytest.raises(InvalidObjectError, match=r"report\.json: not JSON"):
        reach.running_lab(None, tmp_path).problems()


def test_an_answer_is_read_as_json() -> None:
    assert reach.ask(MESH, PROXY, 15000, "/status", {"pod": "a b"}) == {"version": "1"}
    assert MESH.asked[-1] == "node proxy of node-1: /status?pod=a+b"


def test_a_refusal_carries_the_words_of_the_process() -> None:
    with pytest.raises(RefusedError, match=r"^the node proxy of node-1 answers /no with 400: why$"):
        reach.ask(MESH, PROXY, 15000, "/no")


def test_what_is_not_json_is_an_error() -> None:
    with pytest.raises(InvalidObjectError, match="answers /odd with what is not JSON"):
        reach.ask(MESH, PROXY, 15000, "/odd")


def test_a_process_that_is_down_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"^the controller does not answer on port 15014: Connection refused$"):
        reach.ask(MESH, reach.CONTROLLER, 15014, "/debug/syncz")


async def test_a_forwarded_port_leads_to_the_process_and_ends_with_its_block() -> None:
    async with reach.forwarded(MESH, PROXY, 15000) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /status HTTP/1.1\r\n\r\n")
        assert (await reader.read()).endswith(b'\r\n\r\n{"version": "1"}')
        writer.close()
        await writer.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_connections_that_are_open_when_forwarding_ends_are_closed() -> None:
    async with reach.forwarded(MESH, PROXY, 15000) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /status HTTP/1.1\r\n")
        await writer.drain()
    with contextlib.suppress(ConnectionResetError):  # when what was sent had not been read yet
        assert await reader.read() == b""
    writer.close()


async def test_a_process_that_is_down_is_not_forwarded_to() -> None:
    with pytest.raises(UnavailableError, match="the controller does not answer"):
        async with reach.forwarded(MESH, reach.CONTROLLER, 15014):
            raise AssertionError("nothing is forwarded")


async def test_a_local_port_that_is_taken_is_said_so() -> None:
    async with reach.forwarded(MESH, PROXY, 15000) as port:
        with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{port}: "):
            async with reach.forwarded(MESH, PROXY, 15000, port):
                raise AssertionError("the port is taken")
