"""Checks of limits of connections, of outlier detection and of TLS towards a service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from agent.api.networking.connection_pool import ConnectionPool, HttpSettings, OutlierDetection, TcpSettings
from agent.api.networking.destination_rule import ClientTls
from agent.api.validation import formats
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, error, faulty, said, warning

_MILLISECOND: Final = timedelta(milliseconds=1)
_CONFIG_MAP: Final = "configmap://"
_HTTP_LIMITS: Final = {
    "http1_max_pending_requests": "http1MaxPendingRequests",
    "http2_max_requests": "http2MaxRequests",
    "max_requests_per_connection": "maxRequestsPerConnection",
    "max_retries": "maxRetries",
    "max_concurrent_streams": "maxConcurrentStreams",
}


def of_pool(pool: ConnectionPool | None, path: Path) -> Iterator[Remark]:
    if pool is None:
        return
    if pool.tcp is None and pool.http is None:
        yield error("empty; accepted is tcp, http or both", *path)
    if pool.tcp is not None:
        yield from _tcp(pool.tcp, (*path, "tcp"))
    if pool.http is not None:
        yield from _http(pool.http, (*path, "http"))


def of_outlier_detection(detection: OutlierDetection | None, path: Path) -> Iterator[Remark]:
    if detection is None:
        return
    if detection.consecutive_errors:
        told = "without effect: write consecutiveGatewayErrors or consecutive5xxErrors"
        yield warning(told, *path, "consecutiveErrors", code="IST0002")
    if detection.consecutive_local_origin_failures and not detection.split_external_local_origin_errors:
        told = "accepted with splitExternalLocalOriginErrors: true, without which nobody counts them"
        yield error(told, *path, "consecutiveLocalOriginFailures")
    for field, share in (
        ("maxEjectionPercent", detection.max_ejection_percent),
        ("minHealthPercent", detection.min_health_percent),
    ):
        if not 0 <= share <= 100:
            yield error(said(share, "a number from 0 to 100"), *path, field)
    for field, time in (("interval", detection.interval), ("baseEjectionTime", detection.base_ejection_time)):
        yield from _whole(time, (*path, field))


def of_client_tls(tls: ClientTls | None, namespace: str, path: Path) -> Iterator[Remark]:
    """`namespace` is that of the resource; empty for settings of the mesh."""
    if tls is None:
        return
    yield from _config_map(tls.credential_name, namespace, (*path, "credentialName"))
    yield from _unverified(tls, path)
    files = {
        "clientCertificate": tls.client_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
        "caCrl": tls.ca_crl,
    }
    if tls.mode in ("SIMPLE", "MUTUAL") and tls.credential_name:
        for field, file in files.items():
            if file:
                yield error("not accepted beside credentialName, whose Secret holds it", *path, field)
    elif tls.mode == "MUTUAL":
        for field in ("clientCertificate", "privateKey"):
            if not files[field]:
                yield error("missing; mode MUTUAL needs it, or a credentialName", *path, field)


def _unverified(tls: ClientTls, path: Path) -> Iterator[Remark]:
    """What would verify the server, where nothing is to be verified."""
    if not tls.insecure_skip_verify or tls.mode not in ("SIMPLE", "MUTUAL"):
        return
    given = {
        "caCertificates": bool(tls.ca_certificates),
        "credentialName": bool(tls.credential_name) and tls.mode == "SIMPLE",
        "subjectAltNames": bool(tls.subject_alt_names),
    }
    for field, is_given in given.items():
        if is_given:
            yield error("not accepted with insecureSkipVerify: true", *path, field)


def _config_map(name: str, namespace: str, path: Path) -> Iterator[Remark]:
    if not name.startswith(_CONFIG_MAP):
        return
    found, slash, own = name.removeprefix(_CONFIG_MAP).partition("/")
    if not (slash and own and namespace and found == namespace):
        yield error(said(name, f"{_CONFIG_MAP}{namespace or 'NAMESPACE'}/NAME, in the resource's own namespace"), *path)


def _tcp(settings: TcpSettings, path: Path) -> Iterator[Remark]:
    yield from _limit(settings.max_connections, (*path, "maxConnections"))
    yield from _whole(settings.connect_timeout, (*path, "connectTimeout"))
    yield from _whole(settings.max_connection_duration, (*path, "maxConnectionDuration"))
    yield from _idle(settings.idle_timeout, (*path, "idleTimeout"))
    if settings.tcp_keepalive is not None:
        yield from _whole(settings.tcp_keepalive.time, (*path, "tcpKeepalive", "time"))
        yield from _whole(settings.tcp_keepalive.interval, (*path, "tcpKeepalive", "interval"))


def _http(settings: HttpSettings, path: Path) -> Iterator[Remark]:
    for attribute, field in _HTTP_LIMITS.items():
        yield from _limit(getattr(settings, attribute), (*path, field))
    yield from _whole(settings.idle_timeout, (*path, "idleTimeout"))
    if settings.use_client_protocol and settings.h2_upgrade_policy == "UPGRADE":
        yield error("not accepted with h2UpgradePolicy UPGRADE", *path, "useClientProtocol")
    keepalive = settings.http2_keep_alive
    if keepalive is not None:
        for field, time in (("interval", keepalive.interval), ("timeout", keepalive.timeout)):
            if time is None:
                yield error("missing; it is required", *path, "http2KeepAlive", field)
            yield from _whole(time, (*path, "http2KeepAlive", field))


def _idle(time: timedelta | None, path: Path) -> Iterator[Remark]:
    """Less than a millisecond is never, as 0s is."""
    if time is not None and time < timedelta():
        yield error("read a negative duration; accepted is 0s, or 1ms or more", *path)
    elif time is not None and time >= _MILLISECOND:
        yield from _whole(time, path)


def _limit(count: int, path: Path) -> Iterator[Remark]:
    if count < 0:
        yield error(said(count, "0, or more"), *path)


def _whole(time: timedelta | None, path: Path) -> Iterator[Remark]:
    if time is not None:
        yield from faulty(formats.duration(time), *path)
