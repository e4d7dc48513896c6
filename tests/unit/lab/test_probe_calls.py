"""What a kubelet takes for a good answer."""

from __future__ import annotations

import pytest

from agent.lab.probe_calls import refusal


@pytest.mark.parametrize("line", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 204\r\n", b"HTTP/1.1 399 So it is\r\n"])
def test_from_200_to_399_is_a_success(line: bytes) -> None:
    assert refusal(line) == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "status 400"),
        (b"HTTP/1.1 199 Early\r\n", "status 199"),
        (b"HTTP/1.1 OK\r\n", "the answer is not HTTP"),
        (b"220 welcome\r\n", "the answer is not HTTP"),
        (b"", "the answer is not HTTP"),
    ],
)
def test_anything_else_is_none_and_it_is_said_why(line: bytes, reason: str) -> None:
    assert refusal(line) == reason
