"""The typed face of the Rust engine, proxy/engine. Everything Python may ask of it is here."""

from collections.abc import Sequence
from typing import final

__all__ = ["Engine"]

@final
class Engine:
    """Moves the bytes: listeners in each pod, tunnels between nodes, policy on each connection.

    Its threads start with it and end with close(). Methods are short and safe to call from any
    thread; a failure raises agent.errors.EngineError.
    """

    def __new__(
        cls,
        workers: int,
        *,
        trust_domain: str = "cluster.local",
        cluster: str = "Kubernetes",
        node: str = "",
        access_log: str = "plain",
        most_connections: int = 65536,
    ) -> Engine:
        """`workers` threads; access log lines ("plain" or "json") go to standard output.

        All pods together may hold `most_connections`, inbound and outbound. Once three quarters are
        taken, those that have more than an even share get no more.
        """

    def add_pod(self, uid: str, name: str, namespace: str, service_account: str, netns: int) -> None:
        """Returns once all three listeners in the pod accept connections.

        `netns` is a descriptor of the pod's network namespace; the engine keeps a duplicate.
        The same uid with the same namespace is fine; with another one the old is replaced.
        """

    def remove_pod(self, uid: str, drain_seconds: float) -> None:
        """Closes the listeners at once, open connections after the drain. An unknown uid is fine."""

    def pods(self) -> list[str]:
        """The uids that are served now."""

    def apply(
        self, type_url: str, changed: Sequence[tuple[str, bytes]], removed: Sequence[str]
    ) -> list[tuple[str, str]]:
        """Takes one discovery response: (name, protobuf) of what changed, names of what is gone.

        All of it comes into force at once. Returns (name, reason) of the resources that cannot
        be used; of those the last good state stays. The first call for a type completes it;
        until both types are complete every connection is refused.
        """

    def set_certificate(self, identity: str, key: bytes, chain: Sequence[bytes], roots: Sequence[bytes]) -> None:
        """Puts a certificate into force for new tunnels and handshakes.

        `identity` is the SPIFFE ID; `key` PKCS#8 PEM; `chain` leaf first, `roots`, each PEM.
        """

    def remove_certificate(self, identity: str) -> None:
        """Forgets a certificate; an unknown identity is fine."""

    def wanted_identities(self) -> list[str]:
        """The SPIFFE IDs of the pods served now, sorted, each once."""

    def metrics(self) -> list[tuple[dict[str, str], int, int, int, int, int, int]]:
        """One row per label set: labels, then connections opened, closed, failed, bytes received, sent, and open now.

        A row is forgotten once it was returned unchanged for ten minutes, no connection uses it, and
        discovery no longer knows whom it names.
        """

    def metrics_overflown(self) -> int:
        """How often there was no room for another row, so that one with the names `overflow` counted."""

    def handshake_durations(self) -> list[tuple[str, str, list[tuple[float, int]], float]]:
        """TLS handshakes: reporter, outcome, buckets, seconds in all.

        A bucket is (bound in seconds, how many took no longer); the last bound is infinity.
        The outcomes are "ok", "failed" and "abandoned": the client or the pod went away meanwhile.
        """

    def connect_durations(self) -> list[tuple[str, str, list[tuple[float, int]], float]]:
        """From the accept of a pod's connection to its destination's answer.

        Each is route ("direct" or "hbone"), and then as above.
        """

    def sockets_open(self) -> list[tuple[str, int]]:
        """Clients' connections that are open now, by reporter; a tunnel is one, however many streams it carries."""

    def access_log_level(self) -> str:
        """Which connections have a line: "off", "error" (those that failed or broke) or "info" (all; at first)."""

    def set_access_log_level(self, level: str) -> None:
        """In force for connections that end from now on."""

    def access_log_dropped(self) -> int:
        """Lines that were not written because nobody read fast enough."""

    def policy_counts(self) -> list[tuple[str, str, int]]:
        """How often each policy decided: (policy, effect, count), sorted.

        The effects are "allowed" and "refused" for connections that came, "cut" for open ones that a
        change ended; "would-allow" and "would-refuse" for those of which the dry-run policies would have
        made the other thing. The policy is "none" where it was the lack of one that decided. Policies that
        are gone leave as rows of metrics() do.
        """

    def explain_arrival(self, destination: str, *, source: str | None = None, source_ip: str) -> str:
        """Would the workload at `destination` (ADDRESS:PORT) let this client in? A JSON object.

        `source` is the client's SPIFFE ID, None for plain TCP. The answer has allowed, policy, rule (from 0),
        field and reason. The policy is null where it was the lack of one that decided; the field is then what
        the nearest ALLOW policy lacks, and otherwise those of the rule that matched, most specific first.
        "considered" are some of the policies that apply, ten of each effect: policy, action, dryRun, matches,
        rule and field (of the match, else of the rule that came nearest) and lack (what the connection had
        instead, null for a match); "consideredMore" says how many others apply. "trial" is null, or allowed
        and policy as they would be if the dry-run policies were in force. What cannot be read raises
        EngineError, its text beginning with the parameter's name.
        """

    def explain_departure(self, pod: str, destination: str) -> str:
        """Where would a connection of the served pod with this uid to `destination` go? A JSON object.

        The answer has route ("hbone", "direct" or "refused"), service, endpoints, endpoint, identity, target
        and reason. Errors are as with explain_arrival.
        """

    def connections(self) -> str:
        """Open connections as a JSON array."""

    def config_dump(self) -> str:
        """Workloads, services, policies, certificates (never keys) and pods as a JSON object."""

    def drain(self, seconds: float) -> None:
        """Stops listening everywhere, returns when no connection is left or the time is over."""

    def close(self) -> None:
        """Ends all threads; twice is fine."""
