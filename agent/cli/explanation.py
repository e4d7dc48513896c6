"""Finding out what becomes of a connection: both ends' proxies are asked, and their answers put together."""

from __future__ import annotations

from agent.cli import advice, places, reach, verdict
from agent.cli.catalogue import Catalogue, Workload, uids_served
from agent.cli.inquiry import Inquiry
from agent.cli.verdict import ALLOWED, REFUSED, UNKNOWN, Answer, Client, Destination, Json, Leg
from agent.errors import NotFoundError, RefusedError, UnavailableError, WeftError


def explain(mesh: reach.Mesh, source: places.PodName, target: places.Target) -> Answer:
    """What would become of a connection now. What cannot be told is in the answer, not raised."""
    answer = Answer(source, target)
    inquiry = Inquiry(mesh)
    try:
        catalogue = inquiry.catalogue()
        workload = catalogue.pod(source)
        if workload is None:
            raise NotFoundError(_why_unknown(inquiry, catalogue, source))
        answer.client = _client(inquiry, answer, workload)
        answer.destinations = verdict.destinations(catalogue, workload, target)
    except WeftError as exc:
        answer.reason = str(exc)
        answer.away += [] if isinstance(exc, NotFoundError) else [str(exc)]
        return answer
    for destination in answer.destinations:
        _follow(inquiry, catalogue, answer, answer.client, destination)
    answer.conclude()
    answer.advice = advice.advise(answer, catalogue, inquiry.policies(), inquiry.pod_row(source))
    return answer


def _why_unknown(inquiry: Inquiry, catalogue: Catalogue, name: places.PodName) -> str:
    row = inquiry.pod_row(name)
    if row is None:
        return verdict.unknown_pod(name, catalogue)
    return f"pod {name} is on {row['node']}, but discovery does not tell of it: {row['reason'] or 'it is starting'}"


def _client(inquiry: Inquiry, answer: Answer, workload: Workload) -> Client:
    if not workload.is_enrolled:
        return Client(workload)
    try:
        uid = uids_served(inquiry.dump(workload.node)).get(workload.name)
    except UnavailableError as exc:
        answer.away.append(f"{exc}; while it is down, what enrolled pods of {workload.node} send is refused")
        return Client(workload)
    if uid is None:
        answer.away.append(
            f"pod {workload.name} is enrolled, but the node proxy of {workload.node} does not serve it yet"
        )
    return Client(workload, uid)


def _follow(inquiry: Inquiry, catalogue: Catalogue, answer: Answer, client: Client, destination: Destination) -> None:
    """One address: first out of the client's node, then into whatever it may lead to."""
    departure = _departure(inquiry, answer, client, destination)
    if departure is not None and departure["route"] == "refused":
        answer.legs.append(Leg(str(destination), verdict.NOWHERE, REFUSED, departure["reason"]))
        return
    service = destination.service
    if service is None or not service.addresses:
        answer.endpoints += 1
        answer.legs.append(_to_a_pod(inquiry, client, destination))
        return
    found = verdict.endpoints(catalogue, client.workload, service, destination.port, destination.address)
    answer.endpoints = len(found)
    if not found:
        reason = verdict.why_no_endpoint(service, destination.port)
        answer.legs.append(Leg(str(destination), verdict.NOWHERE, REFUSED, reason))
    for pod, port in found[: verdict.MOST_ENDPOINTS]:
        address = pod.address_like(destination.address) or pod.addresses[0]
        answer.legs.append(_leg(inquiry, client, pod, places.joined(address, port)))


def _departure(inquiry: Inquiry, answer: Answer, client: Client, destination: Destination) -> Json | None:
    if client.uid is None or _is_itself(client, destination):
        return None
    try:
        found = inquiry.departure(client.workload.node, client.uid, str(destination))
    except (UnavailableError, RefusedError) as exc:
        answer.away.append(str(exc))
        return None
    answer.departure = answer.departure or found
    return found


def _is_itself(client: Client, destination: Destination) -> bool:
    """Whether a pod calls its own address, which is not redirected; by way of a Service it is."""
    return destination.pod is not None and destination.pod.uid == client.workload.uid


def _to_a_pod(inquiry: Inquiry, client: Client, destination: Destination) -> Leg:
    if _is_itself(client, destination):
        reason = "the pod calls itself: nothing judges the connection"
        return Leg(str(destination), verdict.PLAIN, ALLOWED, reason, destination.pod)
    return _leg(inquiry, client, destination.pod, str(destination))


def _leg(inquiry: Inquiry, client: Client, pod: Workload | None, target: str) -> Leg:
    """Into one endpoint, or to an address that no pod has."""
    if pod is None or not pod.is_enrolled:
        reason = "the destination is outside the mesh: nothing judges the connection"
        return Leg(target, verdict.PLAIN, ALLOWED, reason, pod)
    by = verdict.HBONE if client.identity else verdict.PLAIN
    try:
        trouble = _trouble(inquiry, client, pod) if by == verdict.HBONE else None
        if trouble is not None:
            return Leg(target, by, REFUSED, trouble, pod, is_judged=True)
        return _judged(inquiry, client, pod, target, by)
    except RefusedError as exc:
        reason = str(exc)
    except UnavailableError as exc:
        reason = f"{exc}; while it is down, what comes to enrolled pods of {pod.node} is refused"
    return Leg(target, by, UNKNOWN, reason, pod, is_judged=True)


def _judged(inquiry: Inquiry, client: Client, pod: Workload, target: str, by: str) -> Leg:
    """What the server's proxy says; if it refuses a client without an identity, also of one that shows its own."""
    address = client.workload.address_like(target) or client.workload.addresses[0]
    found = inquiry.arrival(pod.node, target, client.identity, address)
    as_itself = None
    if not found["allowed"] and client.identity is None:
        as_itself = inquiry.arrival(pod.node, target, client.workload.identity, address)
    return Leg(
        target,
        by,
        ALLOWED if found["allowed"] else REFUSED,
        found["reason"],
        pod,
        found["policy"],
        found["rule"],
        found.get("field"),
        tuple(found.get("considered") or ()),
        found.get("consideredMore") or 0,
        found.get("trial"),
        is_judged=True,
        as_itself=as_itself,
    )


def _trouble(inquiry: Inquiry, client: Client, pod: Workload) -> str | None:
    """What is wrong with the certificates that a tunnel needs, the server's first; the client's, if it can be told."""
    server = inquiry.trouble_with(pod.node, pod.identity)
    if server is not None or client.uid is None:
        return server
    return inquiry.trouble_with(client.workload.node, client.workload.identity)
