"""The last discovery state, kept on the node so that a restart does not need the controller.

One file: SHA-256 of the rest, then a DeltaDiscoveryResponse with every resource of every type.
Renamed into place, so a reader sees one state or the other, and never the policies of one with
the workloads of another.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from agent.errors import UnavailableError
from agent.proxy.ledger import TYPES, Resource, Update

logger = logging.getLogger(__name__)
_DIGEST_BYTES = hashlib.sha256().digest_size


class SavedState:
    """A folder with the file; made when first written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "discovery.pb"

    def load(self) -> list[Update]:
        """What was saved, one update for each type in the order of TYPES.

        Empty when there is nothing, or nothing that can be believed (which is logged).
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as exc:
            logger.error("saved state cannot be read", extra={"path": self._path, "reason": exc.strerror})
            return []
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        try:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(body)
        except DecodeError:
            response = None
        if response is None or digest != hashlib.sha256(body).digest():
            logger.error("saved state is damaged and ignored", extra={"path": self._path})
            return []
        return [Update(type_url, "", tuple(_of_type(type_url, response))) for type_url in TYPES]

    def save(self, resources: Mapping[str, Sequence[Resource]]) -> None:
        """Replace what was saved; `resources` by type. UnavailableError when the disk does not take it."""
        response = discovery_pb2.DeltaDiscoveryResponse()
        for type_url, of_type in resources.items():
            for resource in of_type:
                item = response.resources.add(name=resource.name, version=resource.version)
                item.resource.type_url = type_url
                item.resource.value = resource.value
        body = response.SerializeToString()
        try:
            self._write(hashlib.sha256(body).digest() + body)
        except OSError as exc:
            raise UnavailableError(f"{self._folder}: state cannot be saved: {exc.strerror}") from exc

    def _write(self, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            # Without it a power cut may leave a renamed, empty file.
            os.fsync(file.fileno())
        temporary.rename(self._path)


def _of_type(type_url: str, response: discovery_pb2.DeltaDiscoveryResponse) -> list[Resource]:
    return [
        Resource(item.name, item.version, item.resource.value)
        for item in response.resources
        if item.resource.type_url == type_url
    ]
