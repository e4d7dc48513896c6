"""A Pod that asks for all that whoever runs pods has to honour."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_TOKEN = {"serviceAccountToken": {"audience": "istio-ca", "expirationSeconds": 43200, "path": "token"}}
_FACTS = {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
_CPU = {"resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}}
VOLUMES: list[Object] = [
    {"name": "run", "hostPath": {"path": "/run/weft", "type": "DirectoryOrCreate"}},
    {"name": "tmp", "emptyDir": {}},
    {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    {"name": "settings", "configMap": {"name": "settings", "optional": True, "items": [{"key": "a", "path": "b/a"}]}},
    {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 256}},
    {"name": "facts", "downwardAPI": {"items": [*_FACTS["items"], {"path": "cpu", **_CPU}]}},
    {
        "name": "identity",
        "projected": {
            "sources": [
                _TOKEN,
                {"configMap": {"name": "istio-ca-root-cert", "items": [{"key": "root-cert.pem", "path": "root.pem"}]}},
                {"secret": {"name": "extra", "optional": True}},
                {"downwardAPI": _FACTS},
            ]
        },
    },
]
VARIABLES: list[Object] = [
    {"name": "PLAIN", "value": "$(NODE)"},
    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
    {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level", "optional": True}}},
    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}},
]
SECURITY: Object = {
    "runAsUser": 0,
    "runAsNonRoot": False,
    "privileged": False,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "appArmorProfile": {"type": "Unconfined"},
    "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
}
MAIN: Object = {
    "name": "main",
    "image": "weft",
    "command": ["weft", "node"],
    "env": VARIABLES,
    "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}}],
    "ports": [{"name": "http", "containerPort": 8000}],
    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "128Mi"}},
    "securityContext": SECURITY,
    "startupProbe": {"tcpSocket": {"port": "http"}, "failureThreshold": 30},
    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
    "livenessProbe": {"exec": {"command": ["true"]}},
    "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
    "volumeMounts": [
        {"name": "run", "mountPath": "/run/weft", "mountPropagation": "HostToContainer"},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "memory", "mountPath": "/cache", "subPath": "part"},
        {"name": "settings", "mountPath": "/etc/weft", "readOnly": True},
        {"name": "keys", "mountPath": "/keys"},
        {"name": "facts", "mountPath": "/facts"},
        {"name": "identity", "mountPath": "/var/run/secrets/tokens"},
    ],
}


def a_full_pod(name: str = "full", namespace: str = "default") -> Object:
    """As a person writes it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "hostPID": True,
            "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["ca.test"]}],
            "securityContext": {
                "fsGroup": 1337,
                "supplementalGroups": [7],
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 30,
            "nodeSelector": {"kubernetes.io/hostname": "no-such-node"},  # a Pod that runs nowhere is gone at once
            "volumes": VOLUMES,
            "initContainers": [
                {"name": "first", "image": "weft", "command": ["true"]},
                {"name": "beside", "image": "weft", "command": ["sleep"], "restartPolicy": "Always"},
            ],
            "containers": [MAIN],
        },
    }
