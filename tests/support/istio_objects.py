"""Objects of Istio's kinds: one of each, with many of its fields."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_GROUPS = {
    "networking.istio.io/v1": (
        "DestinationRule",
        "Gateway",
        "ServiceEntry",
        "Sidecar",
        "VirtualService",
        "WorkloadEntry",
        "WorkloadGroup",
    ),
    "networking.istio.io/v1alpha3": ("EnvoyFilter",),
    "networking.istio.io/v1beta1": ("ProxyConfig",),
    "security.istio.io/v1": ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"),
    "telemetry.istio.io/v1": ("Telemetry",),
    "extensions.istio.io/v1alpha1": ("TrafficExtension", "WasmPlugin"),
}
_VERSION_OF = {kind: version for version, kinds in _GROUPS.items() for kind in kinds}


def an_object(kind: str, spec: Object, name: str = "a", namespace: str = "shop", **more: Any) -> Object:
    """In the version that is stored, or that people use."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": _VERSION_OF[kind], "kind": kind, "metadata": metadata, "spec": spec, **more}


DESTINATION = {"host": "reviews", "subset": "v2", "port": {"number": 9080}}
GOOD: dict[str, Object] = {
    "VirtualService": {
        "hosts": ["reviews", "*.example.com"],
        "gateways": ["mesh", "istio-system/edge"],
        "exportTo": ["."],
        "http": [
            {
                "name": "first",
                "match": [
                    {
                        "uri": {"prefix": "/api"},
                        "method": {"exact": "GET"},
                        "headers": {"x-user": {"regex": "j.*"}, "x-there": {}},
                        "withoutHeaders": {"x-not": {}},
                        "queryParams": {"page": {"exact": "1"}},
                        "sourceLabels": {"app": "web"},
                        "port": 80,
                        "ignoreUriCase": True,
                    }
                ],
                "route": [
                    {"destination": DESTINATION, "weight": 90, "headers": {"request": {"set": {"x-a": "b"}}}},
                    {"destination": {"host": "ratings"}, "weight": 10},
                ],
                "timeout": "1.5s",
                "retries": {"attempts": 3, "perTryTimeout": "250ms", "retryOn": "5xx,reset", "backoff": "1m30s"},
                "fault": {
                    "delay": {"fixedDelay": "5s", "percentage": {"value": 0.1}},
                    "abort": {"httpStatus": 503, "percentage": {"value": 100}},
                },
                "mirrors": [{"destination": {"host": "shadow"}, "percentage": {"value": 1}}],
                "corsPolicy": {"allowOrigins": [{"exact": "https://a"}], "maxAge": "24h", "allowCredentials": False},
                "headers": {"response": {"remove": ["x-b"]}},
                "rewrite": {"uriRegexRewrite": {"match": "^/a/(.*)", "rewrite": "/\\1"}},
            },
            {"redirect": {"uri": "/v1", "derivePort": "FROM_REQUEST_PORT", "redirectCode": 308}},
            {"directResponse": {"status": 418, "body": {"bytes": "dGVh"}}},
            {"mirror": {"host": "b"}, "mirror_percent": 50, "route": [{"destination": {"host": "a"}}]},
        ],
        "tls": [{"match": [{"sniHosts": ["a.example.com"], "port": 443}], "route": [{"destination": {"host": "a"}}]}],
        "tcp": [{"match": [{"destinationSubnets": ["10.0.0.0/8"]}], "route": [{"destination": {"host": "b"}}]}],
    },
    "DestinationRule": {
        "host": "reviews.shop.svc.cluster.local",
        "workloadSelector": {"matchLabels": {"app": "web"}},
        "trafficPolicy": {
            "loadBalancer": {
                "consistentHash": {
                    "httpCookie": {"name": "user", "ttl": "0s", "attributes": [{"name": "SameSite", "value": "Lax"}]},
                    "maglev": {"tableSize": 65537},
                },
                "localityLbSetting": {"distribute": [{"from": "eu/a/*", "to": {"eu/a/*": 80, "eu/b/*": 20}}]},
            },
            "connectionPool": {
                "tcp": {"maxConnections": 100, "connectTimeout": "30ms", "idleTimeout": "0s"},
                "http": {"http1MaxPendingRequests": 5, "http2KeepAlive": {"interval": "10s", "timeout": "1s"}},
            },
            "outlierDetection": {"consecutive5xxErrors": 7, "interval": "5m", "outlierDetectionHttpErrorCodes": [429]},
            "tls": {"mode": "MUTUAL", "clientCertificate": "/c", "privateKey": "/k", "insecureSkipVerify": False},
            "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "ROUND_ROBIN"}}],
            "tunnel": {"targetHost": "example.com", "targetPort": 443},
            "proxyProtocol": {"version": "V2"},
            "retryBudget": {"percent": 12.5, "budgetInterval": "0s"},
        },
        "subsets": [
            {
                "name": "v2",
                "labels": {"version": "v2"},
                "trafficPolicy": {"loadBalancer": {"warmup": {"duration": "1m", "aggression": 1.5}}},
            }
        ],
    },
    "Gateway": {
        "selector": {"istio": "ingressgateway"},
        "servers": [
            {
                "port": {"number": 80, "name": "http", "protocol": "HTTP"},
                "hosts": ["*"],
                "tls": {"httpsRedirect": True},
            },
            {
                "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                "hosts": ["shop/*.example.com"],
                "tls": {"mode": "SIMPLE", "credentialNames": ["rsa", "ecdsa"], "minProtocolVersion": "TLSV1_2"},
            },
        ],
    },
    "ServiceEntry": {
        "hosts": ["db.example.com"],
        "addresses": ["240.1.1.1", "10.2.0.0/16"],
        "ports": [{"number": 5432, "name": "tcp", "protocol": "TCP", "targetPort": 15432}],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "endpoints": [{"address": "10.0.0.9", "ports": {"tcp": 6000}, "labels": {"a": "b"}, "weight": 2}],
        "subjectAltNames": ["spiffe://cluster.local/ns/shop/sa/db"],
    },
    "WorkloadEntry": {"address": "unix:///run/db.sock", "serviceAccount": "db", "locality": "eu/a", "network": "n"},
    "WorkloadGroup": {
        "metadata": {"labels": {"app": "vm"}},
        "template": {"serviceAccount": "vm", "ports": {"http": 8080}},
        "probe": {"periodSeconds": 5, "httpGet": {"port": 8080, "path": "/ready", "scheme": "HTTPS"}},
    },
    "Sidecar": {
        "workloadSelector": {"labels": {"app": "web"}},
        "ingress": [
            {
                "port": {"number": 9080, "protocol": "HTTP", "name": "x"},
                "defaultEndpoint": "127.0.0.1:8080",
                "connectionPool": {"http": {"maxRetries": 1}},
            }
        ],
        "egress": [{"hosts": ["./*", "istio-system/*"], "captureMode": "IPTABLES"}],
        "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
    },
    "EnvoyFilter": {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}],
        "priority": -10,
        "configPatches": [
            {
                "applyTo": "HTTP_FILTER",
                "match": {"context": "WAYPOINT", "waypoint": {"portNumber": 80, "filter": {"name": "hcm"}}},
                "patch": {
                    "operation": "INSERT_BEFORE",
                    "value": {"name": "lua", "typed_config": {"@type": "x", "a": None}},
                },
            }
        ],
    },
    "ProxyConfig": {
        "selector": {"matchLabels": {"app": "web"}},
        "concurrency": 0,
        "environmentVariables": {"A": "b"},
        "image": {"imageType": "debug"},
    },
    "AuthorizationPolicy": {
        "selector": {"matchLabels": {"app": "web"}},
        "action": "DENY",
        "rules": [
            {
                "from": [{"source": {"principals": ["cluster.local/ns/shop/sa/*"], "trustDomains": ["td*"]}}],
                "to": [{"operation": {"ports": ["8080"], "methods": ["GET"], "paths": ["/api/{*}"]}}],
                "when": [{"key": "request.headers[x]", "values": ["1"]}],
            }
        ],
    },
    "PeerAuthentication": {
        "selector": {"matchLabels": {"app": "web"}},
        "mtls": {"mode": "STRICT"},
        "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}},
    },
    "RequestAuthentication": {
        "targetRefs": [{"kind": "Service", "name": "web"}],
        "jwtRules": [
            {
                "issuer": "https://issuer.example.com",
                "jwks_uri": "https://issuer.example.com/keys",
                "fromHeaders": [{"name": "x-jwt", "prefix": "Bearer "}],
                "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}],
                "timeout": "5s",
            }
        ],
    },
    "Telemetry": {
        "tracing": [{"randomSamplingPercentage": 12.5}],
        "accessLogging": [{"providers": [{"name": "envoy"}]}],
    },
    "WasmPlugin": {"url": "oci://registry.example.com/filter:1", "phase": "AUTHN", "pluginConfig": {"a": {"b": None}}},
    "TrafficExtension": {"lua": {"inlineCode": "function envoy_on_request(h) end"}},
}
