"""A raw HBONE client: TLS by Python's ssl, HTTP/2 by the h2 library, no part of the mesh."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import h2.config
import h2.connection
import h2.events
import h2.exceptions


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client shows and believes, as PEM; no chain is no client certificate."""

    roots: bytes
    chain: bytes = b""
    key: bytes = b""

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        context.load_verify_locations(cadata=self.roots.decode())
        if self.chain:
            with tempfile.NamedTemporaryFile(suffix=".pem") as file:
                Path(file.name).write_bytes(self.chain + self.key)
                context.load_cert_chain(file.name)
        return context


class Tunnel:
    """One TLS connection to port 15008; `sock` is a connected TCP socket that it takes over."""

    def __init__(self, sock: socket.socket, credentials: Credentials) -> None:
        sock.settimeout(10)
        self._tls = credentials.context().wrap_socket(sock)
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, validate_outbound_headers=False)
        )
        self._h2.initiate_connection()
        self._flush()
        self._events: list[h2.events.Event] = []

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tls.close()

    @property
    def peer_certificate(self) -> bytes:
        """The server's leaf, DER."""
        found = self._tls.getpeercert(binary_form=True)
        assert found is not None
        return found

    def connect(self, authority: str, *extra: tuple[str, str], method: str = "CONNECT") -> tuple[int, int]:
        """(stream, status) of one CONNECT."""
        stream = self._h2.get_next_available_stream_id()
        headers = [(":method", method), (":authority", authority), *extra]
        if method != "CONNECT":
            headers += [(":scheme", "https"), (":path", "/")]
        self._h2.send_headers(stream, headers)
        self._flush()
        while True:
            event = self._next(stream)
            if isinstance(event, h2.events.ResponseReceived):
                return stream, int(dict(event.headers)[b":status"])
            if isinstance(event, h2.events.StreamReset):
                raise ConnectionResetError(f"stream reset with {event.error_code}")

    def exchange(self, stream: int, data: bytes, *, end: bool = True) -> bytes:
        """Send, then read until the other side ends its half."""
        self._h2.send_data(stream, data, end_stream=end)
        self._flush()
        received = b""
        while True:
            event = self._next(stream)
            if isinstance(event, h2.events.DataReceived):
                received += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, stream)
                self._flush()
            elif isinstance(event, h2.events.StreamEnded):
                return received
            elif isinstance(event, h2.events.StreamReset):
                raise ConnectionResetError(f"stream reset with {event.error_code}")

    def until_leaving(self) -> None:
        """Returns when the server has said that it takes no more streams. The tunnel is of no use then."""
        while self._h2.state_machine.state is not h2.connection.ConnectionState.CLOSED:
            # The library takes a GOAWAY for the end, and the ping that follows for an error.
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self._receive()

    def _next(self, stream: int) -> h2.events.Event:
        while True:
            for at, event in enumerate(self._events):
                if getattr(event, "stream_id", stream) == stream:
                    return self._events.pop(at)
            self._receive()

    def _receive(self) -> None:
        data = self._tls.recv(65536)
        if not data:
            raise ConnectionResetError("the server closed the tunnel")
        self._events += self._h2.receive_data(data)
        self._flush()

    def _flush(self) -> None:
        self._tls.sendall(self._h2.data_to_send())
