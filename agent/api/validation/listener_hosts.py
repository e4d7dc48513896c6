"""Checks of hosts as listeners name them: NAMESPACE/HOST."""

from __future__ import annotations

from collections.abc import Iterator

from agent.api.validation import formats
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, error, faulty, said


def of_gateway(written: str, path: Path) -> Iterator[Remark]:
    """A Gateway's: a namespace is not needed, and an address will do."""
    namespace, slash, host = written.rpartition("/")
    if slash and namespace not in ("*", ".") and formats.name_of_label(namespace):
        yield error(said(written, "NAMESPACE/HOST, where NAMESPACE may be '*' or '.'"), *path)
    elif not formats.is_address(host):
        yield from _host(written, host, path)


def of_egress(written: str, path: Path) -> Iterator[Remark]:
    """A Sidecar's; ~NAMESPACE is none of that namespace."""
    namespace, slash, host = written.partition("/")
    own = namespace.removeprefix("~")
    if not (slash and namespace and host):
        yield error(said(written, "NAMESPACE/HOST"), *path)
    elif own not in ("", "*", ".") and formats.name_of_label(own):
        yield error(said(written, "NAMESPACE/HOST, where NAMESPACE may be '*', '.' or '~'"), *path)
    else:
        yield from _host(written, host, path)


def _host(written: str, host: str, path: Path) -> Iterator[Remark]:
    if host == "*":
        return
    if "." not in host:
        yield error(said(written, "a full name such as reviews.shop.svc.cluster.local, or '*'"), *path)
    elif formats.is_partial_wildcard(host):
        yield error(said(written, "a wildcard for whole labels, such as *.example.com"), *path)
    else:
        yield from faulty(formats.host_or_wildcard(host), *path)
