"""A mesh whose processes are answers: each connection is one end of a socket pair, with HTTP at the other."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any

from agent.cli.reach import CONTROLLER, Process
from agent.errors import UnavailableError


class FakeMesh:
    """`answers`: by process and port, by path without query, the JSON to give, or a status and a text.

    A process without answers does not run. What was asked is in `asked`, with the query.
    """

    def __init__(self, nodes: tuple[str, ...], answers: dict[tuple[Process, int], dict[str, Any]]) -> None:
        self.nodes = nodes
        self.controllers = (CONTROLLER,)
        self.answers = answers
        self.written: list[str] = []
        self.asked: list[str] = []

    def connect(self, process: Process, port: int) -> socket.socket:
        if (process, port) not in self.answers:
            raise UnavailableError(f"the {process} does not answer on port {port}: Connection refused")
        ours, theirs = socket.socketpair()
        paths = self.answers[process, port]
        threading.Thread(target=self._serve, args=(theirs, process, paths), daemon=True).start()
        return ours

    def problems(self) -> list[str]:
        return self.written

    def _serve(self, end: socket.socket, process: Process, paths: dict[str, Any]) -> None:
        with contextlib.closing(end), end.makefile("rb") as reader:
            line = reader.readline().decode()
            while reader.readline().strip():
                pass
            if not line:
                return  # looked whether somebody is there, no more
            target = line.split()[1]
            self.asked.append(f"{process}: {target}")
            found = paths.get(target.partition("?")[0], (404, "no such page\n"))
            found = found(target) if callable(found) else found
            status, text = found if isinstance(found, tuple) else (200, json.dumps(found))
            head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(text.encode())}\r\n\r\n"
            end.sendall(head.encode() + text.encode())
