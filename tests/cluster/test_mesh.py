"""The mesh on a real API server: what is written there reaches a node proxy, and only who may is served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from typing import Any

import grpc
import pytest
from cryptography import x509

from tests.support.cluster import ControlPlane
from tests.support.cluster_mesh import (
    PROXY_POD,
    SYSTEM,
    Controller,
    Json,
    Proxy,
    a_controller,
    a_pod,
    a_proxy,
    bound_token,
    eventually,
    get,
    put,
    refusal,
    report,
)
from tests.support.controller import certificate, connected


def a_service(namespace: str, name: str = "web", **spec: Any) -> Json:
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports, **spec}}


def a_policy(namespace: str, *methods: str) -> Json:
    operation = {"ports": ["8080"], **({"methods": list(methods)} if methods else {})}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "front", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "rules": [{"to": [{"operation": operation}]}]},
    }


def health(proxy: Proxy, namespace: str, name: str) -> int | None:
    found = proxy.workload(namespace, name)
    return found.status if found is not None else None


async def test_a_node_proxy_follows_pods_and_services_as_they_come_and_go(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, namespace: str
) -> None:
    pod = a_pod(namespace, "web-1", app="web")
    host = f"{namespace}/web.{namespace}.svc.cluster.local"
    async with a_proxy(controller, roots, token) as proxy:
        put(plane, pod, a_service(namespace, selector={"app": "web"}))
        await proxy.until("the service is known", lambda seen: host in seen.addresses)
        assert proxy.workload(namespace, "web-1") is None  # it has no address yet
        report(plane, pod, "192.0.2.10", ready=False)
        await proxy.until("the pod is known", lambda seen: health(seen, namespace, "web-1") == 1)
        workload = proxy.workload(namespace, "web-1")
        assert workload is not None
        assert (workload.locality.region, workload.locality.zone, workload.node) == ("north", "a", "node-1")
        assert [(port.service_port, port.target_port) for port in workload.services[host].ports] == [(80, 8080)]
        report(plane, pod, "192.0.2.10")
        await proxy.until("the pod is ready", lambda seen: health(seen, namespace, "web-1") == 0)
        plane.kubectl("delete", "pod", "web-1", f"--namespace={namespace}", "--force", "--grace-period=0")
        await proxy.until("the pod is gone", lambda seen: seen.workload(namespace, "web-1") is None)
        plane.kubectl("delete", "service", "web", f"--namespace={namespace}")
        await proxy.until("the service is gone", lambda seen: host not in seen.addresses)


async def test_a_service_without_a_selector_has_the_endpoints_that_slices_name(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, namespace: str
) -> None:
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "db-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 5432, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["192.0.2.20"]}],
    }
    name = f"Kubernetes/discovery.k8s.io/EndpointSlice/{namespace}/db/192.0.2.20"
    async with a_proxy(controller, roots, token) as proxy:
        put(plane, a_service(namespace, "db"), endpoints)
        await proxy.until("the endpoint is known", lambda seen: name in seen.addresses)
        (ports,) = proxy.addresses[name].workload.services.values()
        assert [(port.service_port, port.target_port) for port in ports.ports] == [(80, 5432)]
        plane.kubectl("delete", "endpointslice", "db-1", f"--namespace={namespace}")
        await proxy.until("the endpoint is gone", lambda seen: name not in seen.addresses)


async def test_a_policy_reaches_proxies_and_its_status_says_what_becomes_of_it(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, namespace: str
) -> None:
    name = f"{namespace}/front"

    def condition() -> Json:
        status = get(plane, "authorizationpolicy", "front", f"--namespace={namespace}").get("status", {})
        return next(iter(status.get("conditions", [])), {})

    async with a_proxy(controller, roots, token) as proxy:
        put(plane, a_policy(namespace))
        await proxy.until("the policy is known", lambda seen: name in seen.policies)
        first = await eventually("it is accepted", condition, lambda seen: seen.get("status") == "True")
        put(plane, a_policy(namespace, "GET"))
        await proxy.until("its change is known", lambda seen: not seen.policies[name].rules)
        second = await eventually("it is not enforced", condition, lambda seen: seen.get("status") == "False")
        assert (first["observedGeneration"], second["observedGeneration"]) == (1, 2)
        assert second["reason"] == "UnsupportedValue"
        await check_that_it_is_left_alone(plane, namespace)
        plane.kubectl("delete", "authorizationpolicy", "front", f"--namespace={namespace}")
        await proxy.until("the policy is gone", lambda seen: name not in seen.policies)


async def check_that_it_is_left_alone(plane: ControlPlane, namespace: str) -> None:
    """Statuses are written one after the other: once a later policy has its own, the first was looked at again."""

    def version() -> str:
        found = get(plane, "authorizationpolicy", "front", f"--namespace={namespace}")
        return str(found["metadata"]["resourceVersion"])

    before = version()
    later = a_policy(namespace)
    later["metadata"]["name"] = "later"
    put(plane, later)
    policy = ("authorizationpolicy", "later", f"--namespace={namespace}")
    await eventually("the later one has a status", lambda: get(plane, *policy), lambda seen: "status" in seen)
    assert version() == before


async def test_certificates_are_for_pods_of_the_callers_node(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, namespace: str
) -> None:
    here, elsewhere = a_pod(namespace, "here", account="near"), a_pod(namespace, "there", node="node-2", account="far")
    for account in ("near", "far"):
        plane.kubectl("create", "serviceaccount", account, f"--namespace={namespace}")
    put(plane, here, elsewhere)
    async with a_proxy(controller, roots, token) as proxy:
        for number, pod in enumerate((here, elsewhere)):
            report(plane, pod, f"192.0.2.{30 + number}")
        await proxy.until(
            "both are known", lambda seen: all(seen.workload(namespace, name) for name in ("here", "there"))
        )
    async with connected(roots, port=controller.port) as channel:
        issued = await certificate(channel, token, f"spiffe://cluster.local/ns/{namespace}/sa/near")
        leaf = x509.load_pem_x509_certificate(issued.cert_chain[0].encode())
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(roots))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await certificate(channel, token, f"spiffe://cluster.local/ns/{namespace}/sa/far")
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_token_for_another_audience_is_refused(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str
) -> None:
    other = bound_token(plane, "weft-proxy", PROXY_POD, audience="another")
    assert await refusal(controller, roots, other) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_that_is_bound_to_no_node_is_refused(
    plane: ControlPlane, controller: Controller, roots: bytes
) -> None:
    unbound = plane.kubectl("create", "token", "weft-proxy", f"--namespace={SYSTEM}", "--audience=istio-ca").strip()
    assert await refusal(controller, roots, unbound) is grpc.StatusCode.PERMISSION_DENIED


async def test_the_token_of_a_pod_that_is_no_node_proxy_is_refused(
    plane: ControlPlane, controller: Controller, roots: bytes
) -> None:
    put(plane, a_pod(SYSTEM, "other"))
    other = bound_token(plane, "default", "other")
    assert await refusal(controller, roots, other) is grpc.StatusCode.PERMISSION_DENIED


async def test_the_token_of_a_deleted_pod_is_refused(plane: ControlPlane, controller: Controller, roots: bytes) -> None:
    put(plane, a_pod(SYSTEM, "short-lived", account="weft-proxy"))
    given = bound_token(plane, "weft-proxy", "short-lived")
    async with a_proxy(controller, roots, given) as proxy:
        await proxy.until("it is served", lambda seen: bool(seen.addresses))
    plane.kubectl("delete", "pod", "short-lived", f"--namespace={SYSTEM}", "--force", "--grace-period=0")
    # The API server itself believes a token for ten seconds after it has looked at it, and so do we.
    async with asyncio.timeout(40):
        while (code := await _answer(controller, roots, given)) is None:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.5)
    assert code is grpc.StatusCode.UNAUTHENTICATED


async def _answer(controller: Controller, roots: bytes, token: str) -> grpc.StatusCode | None:
    async with connected(roots, port=controller.port) as channel:
        try:
            await certificate(channel, token, f"spiffe://cluster.local/ns/{SYSTEM}/sa/weft-proxy")
        except grpc.aio.AioRpcError as exc:
            return exc.code()
    return None


async def test_every_namespace_has_the_roots_and_keeps_them(
    plane: ControlPlane, controller: Controller, roots: bytes, namespace: str
) -> None:
    def stored() -> str:
        maps = get(plane, "configmaps", f"--namespace={namespace}")["items"]
        return next(
            (each["data"]["root-cert.pem"] for each in maps if each["metadata"]["name"] == "istio-ca-root-cert"), ""
        )

    await eventually("they are written", stored, lambda seen: seen.encode() == roots)
    broken = json.dumps({"data": {"root-cert.pem": "mine"}})
    plane.kubectl("patch", "configmap", "istio-ca-root-cert", f"--namespace={namespace}", f"--patch={broken}")
    await eventually("they are put right", stored, lambda seen: seen.encode() == roots)
    plane.kubectl("delete", "configmap", "istio-ca-root-cert", f"--namespace={namespace}")
    await eventually("they are written again", stored, lambda seen: seen.encode() == roots)


async def test_the_webhook_is_registered_by_whoever_leads(plane: ControlPlane, controller: Controller) -> None:
    def stored() -> list[str]:
        return [each["metadata"]["name"] for each in get(plane, "validatingwebhookconfigurations")["items"]]

    await eventually("it is registered", stored, lambda seen: "weft-validator-istio-system" in seen)


def leader(plane: ControlPlane) -> str:
    with contextlib.suppress(KeyError):
        return str(get(plane, "lease", "weft-controller", f"--namespace={SYSTEM}")["spec"]["holderIdentity"])
    return ""


async def test_a_controller_that_loses_the_lease_writes_no_more_until_it_has_it_again(
    plane: ControlPlane, controller: Controller, namespace: str
) -> None:
    mine = await eventually("one leads", lambda: leader(plane), bool)
    taken = json.dumps({"spec": {"holderIdentity": "another", "leaseDurationSeconds": 6}})
    plane.kubectl("patch", "lease", "weft-controller", f"--namespace={SYSTEM}", "--type=merge", f"--patch={taken}")
    await eventually("it knows", lambda: b"".join(controller.log), lambda seen: b"leading no more" in seen)
    put(plane, a_policy(namespace))
    policy = ("authorizationpolicy", "front", f"--namespace={namespace}")
    assert "status" not in get(plane, *policy)
    await eventually("it has a status", lambda: get(plane, *policy), lambda seen: "status" in seen)
    assert leader(plane) == mine


# The last one: it ends the controller that the others share.
async def test_a_second_controller_serves_and_takes_over_when_the_first_is_killed(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, namespace: str
) -> None:
    first = await eventually("one leads", lambda: leader(plane), bool)
    with a_controller(plane) as second:
        pod = a_pod(namespace, "web-1", app="web")
        put(plane, pod)
        async with a_proxy(second, roots, token) as proxy:
            report(plane, pod, "192.0.2.40")
            await proxy.until("the second serves", lambda seen: seen.workload(namespace, "web-1") is not None)
            assert leader(plane) == first
            controller.process.send_signal(signal.SIGKILL)
            await eventually("the second leads", lambda: leader(plane), lambda seen: seen not in ("", first))
            put(plane, a_policy(namespace))
            await proxy.until("the policy is known", lambda seen: f"{namespace}/front" in seen.policies)
            policy = ("authorizationpolicy", "front", f"--namespace={namespace}")
            await eventually("it has a status", lambda: get(plane, *policy), lambda seen: "status" in seen)
        second.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(second.process.wait, 10) == 0
        assert leader(plane) == ""  # given back, so that the next one need not wait
