"""`python -m bench.validation`: how long it takes to validate 10,000 objects, mixed. Exits 1 above 5 s.

They are of all of Istio's kinds and of the Gateway API's routes. The best of three rounds
counts, so that whatever else the machine does is not in the figure.
"""

from __future__ import annotations

import itertools
import sys
import time

from agent.api.validation import validate
from tests.support import gateway_objects, istio_objects

OBJECTS = 10_000
ROUNDS = 3
LIMIT_SECONDS = 5.0


def mixed() -> list[dict[str, object]]:
    """One of each kind, again and again."""
    kinds = [
        *(istio_objects.an_object(kind, spec) for kind, spec in istio_objects.GOOD.items()),
        gateway_objects.a_gateway(),
        gateway_objects.an_http_route({"backendRefs": [{"name": "a", "port": 80}]}),
        gateway_objects.a_grpc_route({"matches": [{"method": {"service": "a"}}]}),
        gateway_objects.a_stream_route("TCPRoute"),
    ]
    return list(itertools.islice(itertools.cycle(kinds), OBJECTS))


def round_seconds() -> float:
    objects = mixed()
    started = time.perf_counter()
    for each in objects:
        validate(each, "bench")
    return time.perf_counter() - started


def main() -> None:
    best = min(round_seconds() for _ in range(ROUNDS))
    print(f"{OBJECTS} objects validated in {best:.2f} s; accepted is {LIMIT_SECONDS} s")
    sys.exit(best > LIMIT_SECONDS)


if __name__ == "__main__":
    main()
