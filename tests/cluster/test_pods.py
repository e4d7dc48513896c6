"""Pods as a real API server returns them, with all that it adds, read as whoever runs them reads them."""

import json

from agent.api.pods import runnable_pod
from agent.api.pods.spec import RunnablePod
from agent.api.pods.volumes import HostPath, Projected
from tests.support.cluster import ControlPlane
from tests.support.full_pod import a_full_pod


def test_a_pod_that_asks_for_everything_is_the_same_before_and_after_the_api_server(
    plane: ControlPlane, namespace: str
) -> None:
    plane.kubectl("create", "-f", "-", stdin=json.dumps(a_full_pod(namespace=namespace)))
    returned = json.loads(plane.kubectl("get", "pod", "full", f"--namespace={namespace}", "-o", "json"))
    written, read = runnable_pod(a_full_pod(namespace=namespace), "test"), runnable_pod(returned, "API server")
    added = read.volume(read.spec.containers[0].volume_mounts[-1].name)
    assert isinstance(added.source, Projected)  # the token of its service account
    assert [source.service_account_token is not None for source in added.source.sources] == [True, False, False]
    assert without_what_is_added(read) == without_what_is_added(written)
    assert isinstance(read.volume("run").source, HostPath)


def without_what_is_added(pod: RunnablePod) -> object:
    """The spec as far as the API server leaves it as it was written."""
    spec = pod.spec.model_dump()
    for container in (*spec["init_containers"], *spec["containers"]):
        mounts = [mount for mount in container["volume_mounts"] if not mount["name"].startswith("kube-api-access")]
        container["volume_mounts"] = mounts
    spec["volumes"] = [volume for volume in spec["volumes"] if not volume["name"].startswith("kube-api-access")]
    return spec
