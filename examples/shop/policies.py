"""The steps about policies: who is let in, who is refused, and why."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from stage import FRONTEND, OUTSIDE, Stage, hold

from agent.lab.session import until

GREETER = "greeter.shop.svc.cluster.local"
ALLOW = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow-frontend, namespace: shop}
spec:
  selector: {matchLabels: {app: greeter}}
  rules:
    - from:
        - source: {principals: [cluster.local/ns/shop/sa/frontend]}
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
"""
# Prints what the greeter says, then stays connected and says how that ended.
LISTENER = """
import socket, sys
with socket.create_connection((sys.argv[1], 25), timeout=20) as s:
    print(s.recv(100).decode().strip())
    try:
        s.recv(100)
    except ConnectionError:
        print("cut")
"""


class Policies:
    """What policies do to connections. A step that does not hold raises UnavailableError."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lab = stage.lab

    def allow(self) -> str:
        with self._lab.started(OUTSIDE, "python3", "-uc", LISTENER, GREETER) as client:
            greeting = client.stdout.readline().strip() if client.stdout else ""
            hold(greeting.startswith("220"), f"the other client was greeted with {greeting!r}")
            started = time.monotonic()
            self._stage.write("allow.yaml", ALLOW)
            ending = client.stdout.readline().strip() if client.stdout else ""
            seconds = time.monotonic() - started
        hold(ending == "cut", f"the open connection ended with {ending!r}")
        hold(seconds < 1, f"the open connection was cut only after {seconds:.1f} s")
        greeted = self._lab.run(OUTSIDE, "timeout", "5", "python3", "-uc", LISTENER, GREETER)
        hold("220" not in greeted.stdout, "the other client is still let in")
        greeted = self._lab.run(FRONTEND, "curl", "-sS", "--max-time", "2", f"telnet://{GREETER}:25")
        hold("220" in greeted.stdout, "the frontend is refused too")
        cut = self._logged(r'dst\.workload="greeter".*error="(connection closed due to policy change[^"]*)"')
        refused = self._logged(r'dst\.workload="greeter".*error="([^"]*shop/allow-frontend[^"]*)"')
        explained = self._explained(f"{GREETER}:25", "shop/allow-frontend")
        (self._stage.manifests / "allow.yaml").unlink()
        until("the other client is let in again", lambda: self._explain(f"{GREETER}:25")["verdict"] == "allowed")
        return (
            f"cut {seconds * 1000:.0f} ms after the policy was saved, and refused since; the frontend is still served\n"
            f"in the access log: {cut}\n"
            f"                   {refused}\n"
            f"{explained}"
        )

    def strict(self) -> str:
        hold(self._stage.answers(OUTSIDE), "the pod outside the mesh was not let in before")
        started = time.monotonic()
        self._stage.write("strict.yaml", STRICT)
        until("the pod outside the mesh is refused", lambda: not self._stage.answers(OUTSIDE), timeout=5)
        seconds = time.monotonic() - started
        hold(self._stage.answers(), "the frontend is refused too")
        explained = self._explained("web.shop:80", "istio_converted_static_strict")
        (self._stage.manifests / "strict.yaml").unlink()
        until("the pod outside the mesh is let in again", lambda: self._stage.answers(OUTSIDE))
        return (
            f"refused within {seconds * 1000:.0f} ms; the frontend, which has an identity, is still served\n{explained}"
        )

    def _logged(self, pattern: str) -> str:
        """What a line of the access log of node 2 says in the pattern's group."""
        found: list[str] = []

        def is_there() -> bool:
            found.extend(re.findall(pattern, self._lab.log("node-2-proxy")))
            return bool(found)

        until(f"the access log says why: {pattern}", is_there, timeout=5)
        return found[-1]

    def _explain(self, target: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._stage.weft("explain", "-o", "json", OUTSIDE, target).stdout)
        return found

    def _explained(self, target: str, policy: str) -> str:
        """The reason and the advice that `weft explain` gives; it must name the policy."""
        found = self._explain(target)
        hold(found["verdict"] == "refused", f"`weft explain` says {found['verdict']}: {found['reason']}")
        hold(policy in json.dumps(found), f"`weft explain` does not name {policy}")
        lines = [f"weft explain {OUTSIDE} {target}: {found['verdict']}: {found['reason']}"]
        return "\n".join([*lines, *(f"    {line}" for line in found["advice"])])
