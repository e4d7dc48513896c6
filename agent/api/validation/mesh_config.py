"""Checks of the mesh's own settings: the ConfigMap `istio`, or `istio-REVISION`, of the root namespace.

Its values are texts of YAML. What is wrong in one is told of the text's own line, and of the
field within it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from agent import documents
from agent.api.configuration import ConfigMap
from agent.api.mesh_config.mesh import MeshConfig
from agent.api.mesh_config.reading import read_mesh_config, read_mesh_networks
from agent.api.validation.connections import of_client_tls, of_outlier_detection, of_pool
from agent.api.validation.destinations import Path
from agent.api.validation.http_policies import of_retries
from agent.api.validation.load_balancing import of_localities, of_zones
from agent.api.validation.remarks import Remark, error, said, warning
from agent.errors import Fault, InvalidObjectError
from agent.wire import SYSTEM_NAMESPACE

_NAME: Final = "istio"
_MESH: Final = "mesh"
_NETWORKS: Final = "meshNetworks"
_CURVES: Final = ("P-224", "P-256", "P-384", "P-521", "X25519", "X25519Kyber768Draft00", "X25519MLKEM768")
_OLD_ALLOCATION: Final = "ISTIO_META_DNS_AUTO_ALLOCATE"


def texts(found: ConfigMap) -> Iterator[Remark]:
    """Every other ConfigMap is somebody else's, and nothing is said of it."""
    is_named = found.metadata.name == _NAME or found.metadata.name.startswith(f"{_NAME}-")
    if found.metadata.namespace != SYSTEM_NAMESPACE or not is_named:
        return
    if _MESH in found.data:
        yield from _text(found.data[_MESH], _MESH, _mesh)
    if _NETWORKS in found.data:
        yield from _text(found.data[_NETWORKS], _NETWORKS, _networks)


def of_mesh_config(given: object) -> Iterator[Remark]:
    """What is said of a MeshConfig, whose fields `given` holds; paths begin within it."""
    read = read_mesh_config(given, "mesh")
    yield from (Remark(_left_out(fault), is_error=False) for fault in read.left_out)
    yield from _providers(given)
    yield from _balancing(read.value)
    yield from _defaults(read.value)
    yield from _tls(read.value)


def _text(text: str, key: str, check: Callable[[object], Iterator[Remark]]) -> Iterator[Remark]:
    path = ("data", key)
    try:
        found = documents.load(text)
    except documents.UnreadableError as exc:
        yield error(f"line {exc.line} of the text: {exc}", *path)
        return
    if len(found) > 1:
        yield error(said(f"{len(found)} documents", "one"), *path)
        return
    value, lines = (found[0].value, found[0].lines) if found else (None, documents.Lines(1))
    try:
        remarks = list(check(value))
    except InvalidObjectError as exc:
        remarks = [Remark(fault, is_error=True) for fault in exc.faults]
    for remark in remarks:
        told = f"line {lines.find(remark.fault.path)} of the text: {remark.fault.text}"
        yield Remark(Fault((*path, *remark.fault.path), told), remark.is_error)


def _mesh(given: object) -> Iterator[Remark]:
    if not isinstance(given, Mapping | None):
        yield error(said(given, "a map"))
        return
    yield from of_mesh_config(given)


def _networks(given: object) -> Iterator[Remark]:
    if not isinstance(given, Mapping | None):
        yield error(said(given, "a map"))
        return
    read = read_mesh_networks(given, _NETWORKS)
    yield from (Remark(_left_out(fault), is_error=False) for fault in read.left_out)


def _left_out(fault: Fault) -> Fault:
    """Nothing in it takes the rest of the settings away, as with Istio."""
    return Fault(fault.path, f"{fault.text}; it is left out")


def _providers(given: object) -> Iterator[Remark]:
    """Of two with one name the later counts, so that the model no longer has the other."""
    written = given.get("extensionProviders") if isinstance(given, Mapping) else None
    names = (
        [each.get("name") for each in written or () if isinstance(each, Mapping)] if isinstance(written, list) else []
    )
    for name, count in Counter(name for name in names if isinstance(name, str)).items():
        if count > 1:
            yield warning(f"{name!r} is there {count} times; only the last counts", "extensionProviders")


def _balancing(mesh: MeshConfig) -> Iterator[Remark]:
    # Whether failing endpoints are found is each service's own business.
    yield from of_localities(mesh.locality_lb_setting, ("localityLbSetting",), has_detection=True)
    yield from of_zones(mesh.zone_aware_lb_setting, ("zoneAwareLbSetting",), has_detection=True)


def _defaults(mesh: MeshConfig) -> Iterator[Remark]:
    path: Path = ("defaultTrafficPolicy",)
    if mesh.default_traffic_policy is not None:
        yield from of_pool(mesh.default_traffic_policy.connection_pool, (*path, "connectionPool"))
        yield from of_outlier_detection(mesh.default_traffic_policy.outlier_detection, (*path, "outlierDetection"))
    if mesh.default_http_retry_policy is not None:
        yield from of_retries(mesh.default_http_retry_policy, ("defaultHttpRetryPolicy",))
    if _OLD_ALLOCATION in mesh.default_config.proxy_metadata:
        told = "deprecated: ServiceEntries get addresses in their status without it"
        yield warning(told, "defaultConfig", "proxyMetadata", _OLD_ALLOCATION)


def _tls(mesh: MeshConfig) -> Iterator[Remark]:
    tracing = mesh.default_config.tracing
    if tracing is not None:
        yield from of_client_tls(tracing.tls_settings, "", ("defaultConfig", "tracing", "tlsSettings"))
    curves = mesh.tls_defaults.ecdh_curves if mesh.tls_defaults is not None else ()
    for number, curve in enumerate(curves):
        path = ("tlsDefaults", "ecdhCurves", number)
        if curve and curve not in _CURVES:
            yield warning(said(curve, f"one of {', '.join(_CURVES)}"), *path)
        elif curve in curves[:number]:
            yield warning(f"read {curve!r}, which is given already", *path)
