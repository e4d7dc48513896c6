"""Pods as a kubelet needs them: everything that says how containers are run.

Whoever runs a pod must not overlook what it asks for, so what cannot be honoured is refused:
volumes of unknown kinds that a container mounts, sysctls, a user namespace of its own. All
other unknown fields are ignored, as an older kubelet would do.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.api.kubernetes import pod_as
from agent.api.pods.spec import RunnablePod


def runnable_pod(object: Mapping[str, object], where: str) -> RunnablePod:
    """A Pod, as an API server gives it, with all that is needed to run it.

    where: the watch or file that it comes from. Fails as agent.api.kubernetes.parse() does.
    """
    return pod_as(RunnablePod, object, where)
