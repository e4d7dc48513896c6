"""The last discovery state, kept on the node so that a restart does not need the controller.

One file for each type: SHA-256 of the rest, then a DeltaDiscoveryResponse with every resource.
Renamed into place, so a reader sees one state or the other.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from agent.errors import UnavailableError
from agent.proxy.ledger import Resource, Update, update

logger = logging.getLogger(__name__)
_DIGEST_BYTES = hashlib.sha256().digest_size


class SavedState:
    """A folder with one file for each type; made when first written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, type_url: str) -> Update | None:
        """What was saved; None when there is nothing, or nothing that can be believed (which is logged)."""
        path = self._path(type_url)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            logger.error("saved state cannot be read", extra={"path": path, "reason": exc.strerror})
            return None
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        try:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(body)
        except DecodeError:
            response = None
        if response is None or digest != hashlib.sha256(body).digest() or response.type_url != type_url:
            logger.error("saved state is damaged and ignored", extra={"path": path})
            return None
        return update(response)

    def save(self, type_url: str, resources: Iterable[Resource]) -> None:
        """Replace what was saved of a type; UnavailableError when the disk does not take it."""
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=type_url)
        for resource in resources:
            item = response.resources.add(name=resource.name, version=resource.version)
            item.resource.type_url = type_url
            item.resource.value = resource.value
        body = response.SerializeToString()
        try:
            self._write(self._path(type_url), hashlib.sha256(body).digest() + body)
        except OSError as exc:
            raise UnavailableError(f"{self._folder}: state cannot be saved: {exc.strerror}") from exc

    def _path(self, type_url: str) -> Path:
        return self._folder / f"{type_url.rpartition('/')[2]}.pb"

    def _write(self, path: Path, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            # Without it a power cut may leave a renamed, empty file.
            os.fsync(file.fileno())
        temporary.rename(path)
