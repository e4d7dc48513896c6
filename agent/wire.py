"""Numbers and names that both ends of a protocol must agree on, stated once.

The BPF programs get them as compiler definitions and the engine is tested against them.
Sources: Istio's ambient data plane (ports, marks, type URLs, labels), Linux UAPI.
"""

from typing import Final

OUTBOUND_PORT: Final = 15001  # a pod's own connections, redirected by connect hooks
INBOUND_PORT: Final = 15006  # plain TCP from outside, steered by sk_lookup
HBONE_PORT: Final = 15008  # mutual TLS from other proxies
DNS_PORT: Final = 15053
PROXY_PORTS: Final = (OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT, DNS_PORT)

ADMIN_PORT: Final = 15000
DISCOVERY_PORT: Final = 15012
DEBUG_PORT: Final = 15014
WEBHOOK_PORT: Final = 15017
METRICS_PORT: Final = 15020
READINESS_PORT: Final = 15021
NODE_HEALTH_PORT: Final = 8000
DASHBOARD_PATH: Final = "/dashboard/"  # on the controller's DEBUG_PORT

MARK_UPSTREAM: Final = 0x539  # the proxy's connections to the network
MARK_LAST_HOP: Final = 0x53A  # the proxy's connections to the app, from the client's address
LAST_HOP_TABLE: Final = 100  # route table that keeps last-hop replies on lo

ADDRESS_TYPE: Final = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION_TYPE: Final = "type.googleapis.com/istio.security.Authorization"

DATAPLANE_MODE_LABEL: Final = "istio.io/dataplane-mode"
DATAPLANE_MODES: Final = ("ambient", "none")
REVISION_LABEL: Final = "istio.io/rev"
DEFAULT_REVISION: Final = "default"
INJECTION_LABEL: Final = "istio-injection"
SIDECAR_ANNOTATION: Final = "sidecar.istio.io/status"
SIDECARS: Final = ("istio-proxy", "linkerd-proxy")  # names of the containers of proxies that serve their own pod only
REDIRECTION_ANNOTATION: Final = "ambient.istio.io/redirection"
REDIRECTION_ENABLED: Final = "enabled"
REDIRECTION_PENDING: Final = "pending"

TOKEN_AUDIENCE: Final = "istio-ca"
DEFAULT_TRUST_DOMAIN: Final = "cluster.local"
DEFAULT_CLUSTER: Final = "Kubernetes"
DEFAULT_CLUSTER_DOMAIN: Final = "cluster.local"
DISCOVERY_HOST: Final = "istiod.istio-system.svc"
SYSTEM_NAMESPACE: Final = "istio-system"
