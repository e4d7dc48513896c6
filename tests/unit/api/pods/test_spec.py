import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.api.kubernetes import ExecAction, FieldReference, TcpSocketAction
from agent.api.pods import runnable_pod
from agent.api.pods.containers import HttpProbe, RunnableContainer, SleepAction
from agent.api.pods.security import AppArmorProfile, Capabilities, PodSecurityContext, SeccompProfile, SecurityContext
from agent.api.pods.spec import HostAlias
from agent.api.pods.variables import KeyReference, ResourceFieldReference
from agent.api.pods.volumes import (
    ConfigMapFiles,
    DownwardFile,
    DownwardFiles,
    EmptyDir,
    HostPath,
    KeyToPath,
    Projected,
    ProjectedToken,
    SecretFiles,
    VolumeMount,
)
from agent.errors import InvalidObjectError
from tests.support.full_pod import Object, a_full_pod

DAEMONSET = Path(__file__).parents[4] / "daemonset"


def main_of(given: Object) -> Any:
    return given["spec"]["containers"][0]


def test_what_a_pod_says_of_itself_as_a_whole() -> None:
    spec = runnable_pod(a_full_pod(), "test").spec
    assert spec.security_context == PodSecurityContext(
        fs_group=1337, supplemental_groups=(7,), seccomp_profile=SeccompProfile(type="RuntimeDefault")
    )
    assert (spec.host_pid, spec.host_network, spec.restart_policy, spec.dns_policy) == (
        *(True, False),
        *("Always", "ClusterFirst"),
    )
    assert spec.host_aliases == (HostAlias(ip="10.0.0.9", hostnames=("ca.test",)),)
    assert [(container.name, container.is_sidecar) for container in spec.init_containers] == [
        ("first", False),
        ("beside", True),
    ]


def test_volumes_say_what_they_hold() -> None:
    facts = (
        DownwardFile(path="labels", field_ref=FieldReference(field_path="metadata.labels")),
        DownwardFile(
            path="cpu", resource_field_ref=ResourceFieldReference(container_name="main", resource="limits.cpu")
        ),
    )
    found = {volume.name: volume.source for volume in runnable_pod(a_full_pod(), "test").spec.volumes}
    identity = found.pop("identity")
    assert found == {
        "run": HostPath(path="/run/weft", type="DirectoryOrCreate"),
        "tmp": EmptyDir(),
        "memory": EmptyDir(medium="Memory", size_limit="64Mi"),
        "settings": ConfigMapFiles(name="settings", optional=True, items=(KeyToPath(key="a", path="b/a"),)),
        "keys": SecretFiles(secret_name="keys", default_mode=0o400),
        "facts": DownwardFiles(items=facts),
    }
    assert isinstance(identity, Projected)
    assert identity.sources[0].service_account_token == ProjectedToken(
        path="token", audience="istio-ca", expiration_seconds=43200
    )


def test_a_container_says_how_it_is_run() -> None:
    main = runnable_pod(a_full_pod(), "test").spec.containers[0]
    assert main.security_context == SecurityContext(
        run_as_user=0,
        run_as_non_root=False,
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        app_armor_profile=AppArmorProfile(type="Unconfined"),
        capabilities=Capabilities(add=("NET_ADMIN",), drop=("ALL",)),
    )
    assert main.volume_mounts[0] == VolumeMount(name="run", mount_path="/run/weft", mount_propagation="HostToContainer")
    assert (main.volume_mounts[2].sub_path, main.volume_mounts[3].read_only) == ("part", True)
    assert main.resources.limits == {"cpu": "2", "memory": "128Mi"}
    probes = (main.startup_probe, main.readiness_probe, main.liveness_probe)
    assert [probe and (probe.tcp_socket or probe.http_get or probe.exec) for probe in probes] == [
        TcpSocketAction(port="http"),
        HttpProbe(path="/readyz", port="http"),
        ExecAction(command=("true",)),
    ]
    assert main.lifecycle.pre_stop is not None
    assert main.lifecycle.pre_stop.sleep == SleepAction(seconds=2)


def test_variables_say_where_they_come_from() -> None:
    main = runnable_pod(a_full_pod(), "test").spec.containers[0]
    sources = [variable.value_from for variable in main.env[1:]]
    assert main.env[0].value == "$(NODE)"
    assert [
        source and (source.field_ref or source.resource_field_ref or source.config_map_key_ref or source.secret_key_ref)
        for source in sources
    ] == [
        FieldReference(field_path="spec.nodeName"),
        ResourceFieldReference(resource="limits.cpu", divisor="1"),
        KeyReference(name="settings", key="level", optional=True),
        KeyReference(name="keys", key="key"),
    ]
    assert [(source.prefix, source.config_map_ref is None) for source in main.env_from] == [("P_", False), ("", True)]


def test_a_divisor_of_zero_is_one_as_an_api_server_sends_it() -> None:
    assert ResourceFieldReference(resource="limits.cpu", divisor="0") == ResourceFieldReference(resource="limits.cpu")


def test_unknown_fields_are_ignored_and_null_is_absent() -> None:
    given = a_full_pod()
    given["spec"] |= {"overhead": {}, "volumes": [*given["spec"]["volumes"], {"name": "more", "emptyDir": None}]}
    main_of(given).update({"terminationMessagePath": "/dev/termination-log", "securityContext": None})
    read = runnable_pod(given, "test")
    assert read.volume("more").source == EmptyDir()
    assert read.spec.containers[0].security_context == SecurityContext()


def test_a_volume_of_an_unknown_kind_does_no_harm_until_it_is_mounted() -> None:
    given = a_full_pod()
    given["spec"]["volumes"] = [*given["spec"]["volumes"], {"name": "far", "nfs": {"server": "x", "path": "/"}}]
    assert runnable_pod(given, "test").volume("far").source is None
    main_of(given)["volumeMounts"] = [{"name": "far", "mountPath": "/far"}]
    with pytest.raises(InvalidObjectError) as caught:
        runnable_pod(given, "watch")
    assert "watch: Pod default/full: spec:" in str(caught.value)
    assert "container main: /far: volume far is nfs; accepted are hostPath, emptyDir, configMap" in str(caught.value)


REFUSED: list[tuple[Object, Object, str]] = [
    ({"containers": []}, {}, "spec.containers: read .*accepted is at least one"),
    ({"hostIPC": True}, {}, "spec.hostIPC"),
    ({"hostUsers": False}, {}, "spec.hostUsers"),
    ({"shareProcessNamespace": True}, {}, "spec.shareProcessNamespace"),
    ({"securityContext": {"sysctls": [{"name": "x", "value": "1"}]}}, {}, "sysctls are not supported"),
    ({"securityContext": {"runAsUser": -1}}, {}, "spec.securityContext.runAsUser"),
    ({"volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}]}, {}, "exactly one kind of volume"),
    ({"volumes": [{"name": "a", "hostPath": {"path": "x/y"}}]}, {}, "accepted is an absolute path"),
    ({"volumes": [{"name": "a", "hostPath": {"path": "/x/../y"}}]}, {}, "without '..'"),
    ({"volumes": [{"name": "a", "hostPath": {"path": "/x", "type": "Pipe"}}]}, {}, "hostPath.type"),
    ({"volumes": [{"name": "a"}, {"name": "a"}]}, {}, "volume a: the name is used twice"),
    ({"initContainers": [{"name": "main"}]}, {}, "container main: the name is used twice"),
    (
        {},
        {"volumeMounts": [{"name": "no", "mountPath": "/x"}]},
        "container main: /x: no volume 'no'; there are run, tmp",
    ),
    ({}, {"volumeMounts": [{"name": "tmp", "mountPath": "x"}]}, "accepted is an absolute path"),
    ({}, {"volumeMounts": [{"name": "tmp", "mountPath": "/x", "subPath": "../y"}]}, "accepted is a relative path"),
    ({}, {"securityContext": {"capabilities": {"add": ["CAP_NET_ADMIN"]}}}, "without CAP_"),
    ({}, {"securityContext": {"seccompProfile": {"type": "Localhost"}}}, "seccompProfile.type"),
    ({}, {"securityContext": {"procMount": "Unmasked"}}, "procMount"),
    (
        {},
        {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
        "allowPrivilegeEscalation false is not accepted with privileged",
    ),
    ({}, {"livenessProbe": {"periodSeconds": 1}}, "exactly one of httpGet, tcpSocket, exec, grpc"),
    ({}, {"lifecycle": {"preStop": {"httpGet": {"port": 1}}}}, "exactly one of exec, sleep"),
    ({}, {"lifecycle": {"postStart": {"exec": {"command": ["x"]}}}}, "lifecycle.postStart"),
    ({}, {"resources": {"limits": {"memory": "lots"}}}, "limits.memory.*accepted are quantities"),
    ({}, {"env": [{"name": "A", "valueFrom": {}}]}, "exactly one of fieldRef, resourceFieldRef"),
    ({}, {"envFrom": [{"prefix": "A"}]}, "exactly one of configMapRef, secretRef"),
    ({}, {"workingDir": "here"}, "workingDir"),
]


@pytest.mark.parametrize(("spec", "container", "said"), REFUSED, ids=[said for _, _, said in REFUSED])
def test_what_cannot_be_honoured_is_refused_with_field_and_reason(spec: Object, container: Object, said: str) -> None:
    given = copy.deepcopy(a_full_pod())
    main_of(given).update(container)
    given["spec"] |= spec
    if "volumes" in spec:
        main_of(given)["volumeMounts"] = []
    with pytest.raises(InvalidObjectError, match=said) as caught:
        runnable_pod(given, "watch")
    assert str(caught.value).startswith("watch: Pod default/full: spec")


def test_a_container_of_a_name_alone_has_the_defaults_of_kubernetes() -> None:
    given = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "main"}]}}
    assert runnable_pod(given, "test").spec.containers == (RunnableContainer(name="main"),)
    assert runnable_pod(given, "test").metadata.namespace == "default"


@pytest.mark.parametrize("manifest", ["node.yaml", "proxy.yaml", "controller.yaml"])
def test_the_pods_that_are_shipped_ask_for_nothing_that_is_refused(manifest: str) -> None:
    documents = yaml.safe_load_all((DAEMONSET / manifest).read_text())
    templates = [document["spec"]["template"] for document in documents if "template" in document.get("spec", {})]
    for template in templates:
        runnable_pod({**template, "metadata": {**template["metadata"], "name": "shipped"}}, manifest)
    assert templates
