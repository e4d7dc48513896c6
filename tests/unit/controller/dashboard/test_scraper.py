from dataclasses import dataclass

import pytest

from agent.controller.auth import Caller
from agent.controller.dashboard.scraper import WINDOW_SECONDS, Proxy, Round, base, connected, host_of


@dataclass
class Stream:
    """A discovery stream of a node's proxy."""

    node: str
    peer: str
    id: str = "proxy"

    @property
    def caller(self) -> Caller:
        return Caller("istio-system", "weft-proxy", "weft-proxy", self.node)


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.70.0.11:4711", "10.70.0.11"),
        ("ipv6:[fd70::11]:4711", "fd70::11"),
        ("ipv6:%5Bfd70::11%5D:4711", "fd70::11"),
        ("unix:/run/socket", ""),
        ("ipv4:example.org:80", ""),
        ("", ""),
    ],
)
def test_a_proxy_is_asked_where_its_stream_comes_from(peer: str, host: str) -> None:
    assert host_of(peer) == host


def test_a_proxy_with_two_streams_is_asked_once() -> None:
    streams = [
        Stream("node-2", "ipv4:10.0.0.2:1"),
        Stream("node-1", "ipv4:10.0.0.1:1"),
        Stream("node-1", "ipv4:10.0.0.1:2"),
    ]
    assert connected([*streams, Stream("node-3", "unix:")]) == [
        Proxy("node-1", "proxy", "10.0.0.1"),
        Proxy("node-2", "proxy", "10.0.0.2"),
    ]


def test_rates_are_taken_from_the_oldest_round_of_the_window() -> None:
    rounds = [Round(0.0), Round(100.0), Round(103.0), Round(106.0)]
    assert base(rounds, rounds[-1]) == Round(100.0)
    assert base(rounds, Round(100.0 + WINDOW_SECONDS + 1)) == Round(103.0)


def test_one_round_alone_gives_no_rates() -> None:
    assert base([Round(5.0)], Round(5.0)) is None
