"""What would change a verdict, in things that a person can do. Pure rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.cli.catalogue import Catalogue, Service, Workload
from agent.cli.verdict import NO_HEALTHY_ENDPOINT, NOWHERE, PLAIN, REFUSED, Answer, Client, Leg
from agent.controller.peers import STATIC_STRICT_NAME, converted_name, is_of_peers
from agent.node.selection import EXCLUDED_NAMESPACES
from agent.wire import DATAPLANE_MODE_LABEL

Json = dict[str, Any]


def advise(answer: Answer, catalogue: Catalogue, policies: Sequence[Json], row: Json | None) -> list[str]:
    """In order, each once. `policies`: the controller's list; `row`: what the node agent says of the client."""
    client = answer.client
    if client is None:
        return []
    found: list[str] = []
    for leg in answer.legs:
        if leg.by == NOWHERE and answer.service is not None:
            found += _towards(answer.service, answer.target.port, client, leg, catalogue)
        elif leg.verdict == REFUSED and leg.workload is not None:
            remedies = _Remedies(client, leg, leg.workload, catalogue, policies)
            found += remedies.with_identity() if client.identity else remedies.without_identity(row)
        elif leg.by == PLAIN and leg.workload is not None and leg.workload.uid != client.workload.uid:
            found += _into_the_mesh(client, leg.workload, row)
    return list(dict.fromkeys(found))


def _towards(service: Service, port: int, client: Client, leg: Leg, catalogue: Catalogue) -> Iterator[str]:
    if port not in service.ports:
        yield f"Call a port that the Service has ({_listed(service.ports)}), or add {port} to its ports."
    elif leg.reason.startswith(NO_HEALTHY_ENDPOINT):
        pods = [pod for uid in service.endpoints if (pod := catalogue.workload(uid)) is not None]
        unready = [str(pod.name) for pod in pods if not pod.is_healthy]
        if not pods:
            yield f"No pod has the labels that Service {service.hostname} selects: start one, or mend the selector."
        elif unready:
            yield f"Make one of its pods ready: {_listed(unready)}."
        if service.is_local:
            node = client.workload.node
            yield f"Run a pod of it on {node}: the Service keeps to that node (internalTrafficPolicy: Local)."


@dataclass(frozen=True, slots=True)
class _Remedies:
    """Against a refusal by the proxy of `server`."""

    client: Client
    leg: Leg
    server: Workload
    catalogue: Catalogue
    policies: Sequence[Json]

    def with_identity(self) -> Iterator[str]:
        yield from self._against("", self.leg.policy, self.leg.rule)

    def without_identity(self, row: Json | None) -> Iterator[str]:
        """Enrolling comes first, if what its identity would be refused by is not the same."""
        named = self.leg.as_itself
        if named is None or (
            not named["allowed"] and named["policy"] is not None and named["policy"] == self.leg.policy
        ):
            yield from self._against("", self.leg.policy, self.leg.rule)
            return
        yield from _enrol(self.client.workload, row)
        if not named["allowed"]:
            yield from self._against("Then ", named["policy"], named["rule"])
        if self.leg.policy is not None:
            yield from self._against("Or ", self.leg.policy, self.leg.rule)

    def _against(self, lead: str, policy: str | None, rule: int | None) -> Iterator[str]:
        for remedy in self._phrases(policy, rule):
            yield f"{lead}{remedy}." if lead else f"{remedy[:1].upper()}{remedy[1:]}."

    def _phrases(self, policy: str | None, rule: int | None) -> Iterator[str]:
        allowing = self.catalogue.allowing(self.server)
        port = self.leg.target.rpartition(":")[2]
        yield from self._shortfalls([policy] if policy is not None else allowing)
        if policy is None:
            if allowing:
                principal = self.client.workload.identity.removeprefix("spiffe://")
                one = "AuthorizationPolicy" if len(allowing) == 1 else "one of the AuthorizationPolicies"
                yield f"add a rule to {one} {_listed(allowing)} that allows principal {principal} to port {port}"
        elif is_of_peers(policy):
            if not allowing:  # these would go on refusing a client without an identity
                names = _strict_for(policy, self.server, self.policies)
                which = (
                    f"PeerAuthentication {_listed(names)}" if names else "the PeerAuthentication that is STRICT for it"
                )
                yield f"set {which} to PERMISSIVE; then whoever has no identity may connect to {self.server.name} too"
        elif rule is None:
            yield f"see in `weft status` why the node proxy of {self.server.node} cannot judge by policy {policy}"
        else:
            whom = self.client.identity or f"a client without an identity ({self.client.workload.addresses[0]})"
            yield f"change rule {rule} of AuthorizationPolicy {policy} so that it does not match {whom} on port {port}"

    def _shortfalls(self, names: Collection[str]) -> Iterator[str]:
        """What stands in a policy and only a waypoint could tell decides otherwise than its author may think."""
        for row in self.policies:
            if row["kind"] == "AuthorizationPolicy" and row["resource"] in names:
                for shortfall in row["shortfalls"]:
                    yield f"mend AuthorizationPolicy {row['resource']}, {shortfall}"


def _strict_for(policy: str, workload: Workload, policies: Sequence[Json]) -> list[str]:
    """The PeerAuthentication that a policy comes from; of the shared one those that may be meant.

    These are the strict ones of the workload's namespace, or else the mesh's.
    """
    if own := converted_name(policy):
        return [own]
    strict = [each for each in policies if each["resource"] == STATIC_STRICT_NAME]
    near = [each for each in strict if each["namespace"] == workload.name.namespace]
    meant = near or [each for each in strict if each["scope"] == "mesh"]
    return [f"{each['namespace']}/{each['name']}" for each in meant]


def _into_the_mesh(client: Client, server: Workload, row: Json | None) -> Iterator[str]:
    """The connection is let through, but in the clear."""
    if not client.workload.is_enrolled:
        yield from _enrol(client.workload, row)
    if not server.is_enrolled:
        yield from _enrol(server, None)


def _enrol(workload: Workload, row: Json | None) -> Iterator[str]:
    namespace = workload.name.namespace
    if workload.is_host_network:
        yield f"{workload.name} is in its host's network and cannot be enrolled: give it a network of its own."
    elif namespace in EXCLUDED_NAMESPACES:
        yield f"{workload.name} is in namespace {namespace}, which never belongs to the mesh: move it to another."
    elif row is not None and (row["unusable"] or row["state"] == "pending"):
        yield f"{workload.name} is not in the mesh for this reason: {row['reason']}."
    else:
        yield f"Enrol {workload.name}: label namespace {namespace}, or the pod, {DATAPLANE_MODE_LABEL}=ambient."


def _listed(names: Sequence[object], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more
