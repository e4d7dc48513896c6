"""`weft render`: what node proxies would be told of some manifests, without a cluster."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.json_format import MessageToDict

from agent import kube, manifests, wire
from agent.cli.files import texts
from agent.controller import workloads
from agent.controller.authorizations import Authorizations
from agent.controller.cluster import ClusterState
from agent.controller.entries.messages import Place
from agent.controller.entries.publication import Publication
from agent.controller.resources import Resource
from agent.documents import UnreadableError
from agent.errors import InvalidObjectError
from agent.kube import Object
from agent.proto import authorization_pb2

_RUNNING = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


@click.command()
@click.option("-f", "--filename", "first", multiple=True, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Choice(["json"]), default="json", show_default=True)
@click.argument("more", nargs=-1, type=click.Path(path_type=Path))
def render(first: tuple[Path, ...], output: str, more: tuple[Path, ...]) -> None:
    """Print what node proxies would be told of manifests.

    Pods count as running and ready unless their manifest has a status; a Deployment stands for
    one pod of its name. Only what the cluster itself gives, such as addresses, is left out.
    What a policy or an entry asks for and node proxies cannot do is said on standard error.
    """
    logging.getLogger("agent").addHandler(logging.NullHandler())  # all that is logged is said below
    told, problems = tell(read([*first, *more]))
    for problem in problems:
        click.echo(f"weft: {problem}", err=True)
    click.echo(json.dumps(told, indent=2))


def read(paths: Iterable[Path]) -> list[manifests.Manifest]:
    """Every object of the files; InvalidObjectError names each one that cannot be used."""
    readings = {name: _reading(name, text) for name, text in texts(paths)}
    wanted, problems = manifests.combine({file: reading.manifests for file, reading in readings.items()})
    problems += [problem for reading in readings.values() for problem in reading.problems]
    if problems:
        raise InvalidObjectError("\n".join(problem.text for problem in sorted(problems)))
    return manifests.in_order(wanted.values())


def tell(objects: Sequence[manifests.Manifest]) -> tuple[dict[str, list[Object]], list[str]]:
    """Policies, workloads and services as protobuf JSON, and what policies and entries fall short of."""
    state = ClusterState("manifests")
    policies: dict[str, Resource] = {}

    def publish(type_url: str, changed: list[Resource], removed: list[str]) -> None:
        policies.update({new.name: new for new in changed})
        for name in removed:
            policies.pop(name, None)

    authorizations = Authorizations(state, publish)
    for manifest in objects:
        kind, found = _as_it_runs(manifest)
        authorizations.update(state.apply(kube.Change(kube.ChangeType.ADDED, kind, found)))
    publication = Publication(state, Place(wire.DEFAULT_CLUSTER, wire.DEFAULT_TRUST_DOMAIN))
    entries = {holder: publication.of(holder) for holder in sorted(state.entries.holders())}
    services = [
        workloads.service(found, state.annotations.get(key[0], {})).service
        for key, found in sorted(state.services.items())
        if workloads.is_routed(found)
    ]
    services += [found for outcome in entries.values() for found in outcome.services.values()]
    others = [MessageToDict(found) for outcome in entries.values() for found in outcome.workloads.values()]
    told = {
        "policies": [_policy(found) for _, found in sorted(policies.items())],
        "workloads": [*_workloads(state, publication), *others],
        "services": list(map(MessageToDict, services)),
    }
    shortfalls = [f"{holder}: {each.text}" for holder, outcome in entries.items() for each in outcome.told()]
    return told, [*authorizations.problems(), *shortfalls]


def _reading(name: str, text: str | UnreadableError) -> manifests.Reading:
    if isinstance(text, str):
        return manifests.read(text, name)
    return manifests.Reading(problems=(manifests.Problem(name, str(text), text.line),))


def _as_it_runs(manifest: manifests.Manifest) -> tuple[kube.Kind, Object]:
    found = manifest.object
    if manifest.kind is kube.DEPLOYMENT:
        template = found["spec"]["template"]
        names = {key: found["metadata"][key] for key in ("name", "namespace")}
        owner = {"kind": "Deployment", "name": names["name"], "controller": True}
        metadata = {**(template.get("metadata") or {}), **names, "ownerReferences": [owner]}
        found = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        return kube.POD, {**found, "status": _RUNNING}
    if manifest.kind is kube.POD:
        return kube.POD, {"status": _RUNNING, **found}
    return manifest.kind, found


def _policy(found: Resource) -> Object:
    """With istiod's names, in which a rule is a group and a clause is one of its rules."""
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(found.encoded)
    policy = authorization_pb2.Authorization.FromString(response.resources[0].resource.value)
    told = {"scope": "GLOBAL", "action": "ALLOW", **MessageToDict(policy)}
    rules = told.pop("rules", [])
    return {**told, "groups": [{"rules": rule.get("clauses", [])} for rule in rules]}


def _workloads(state: ClusterState, publication: Publication) -> Iterator[Object]:
    for _, candidate in sorted(state.candidates.items()):
        pod = candidate.pod
        found = workloads.workload(
            candidate,
            state.services_selecting(pod),
            cluster=wire.DEFAULT_CLUSTER,
            trust_domain=wire.DEFAULT_TRUST_DOMAIN,
            policies=state.listed_policies(pod),
        )
        for service, ports in publication.joined(candidate):
            found.workload.services[service].CopyFrom(ports)
        yield MessageToDict(found.workload)
