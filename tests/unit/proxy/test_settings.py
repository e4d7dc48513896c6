from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.proxy.settings import Server, Settings


def test_only_the_node_has_no_default() -> None:
    settings = Settings.parse({"NODE_NAME": "node-1"}, cores=2, descriptors=20_000)
    root = Path("./var/run/secrets/istio/root-cert.pem")
    server = Server("istiod.istio-system.svc:15012", "istiod.istio-system.svc", root)
    assert (settings.discovery, settings.authority, settings.saved_state) == (server, server, None)
    with pytest.raises(ConfigError, match="NODE_NAME"):
        Settings.parse({}, cores=2, descriptors=20_000)


def test_the_authority_is_at_the_address_of_discovery_unless_named() -> None:
    environment = {"NODE_NAME": "n", "XDS_ADDRESS": "https://10.0.0.1:15012", "ALT_CA_HOSTNAME": "ca.example"}
    settings = Settings.parse(environment, cores=2, descriptors=20_000)
    assert (settings.authority.address, settings.authority.server_name) == ("10.0.0.1:15012", "ca.example")
    assert settings.discovery.server_name == "istiod.istio-system.svc"


@pytest.mark.parametrize(("cores", "workers"), [(1, 2), (8, 2), (64, 16)])
def test_a_quarter_of_the_cores_work_but_two_at_least(cores: int, workers: int) -> None:
    assert Settings.parse({"NODE_NAME": "n"}, cores=cores, descriptors=20_000).workers == workers


@pytest.mark.parametrize(("name", "value"), [("SECRET_TTL", "10ms"), ("LOG_LEVEL", "LOUD"), ("XDS_ADDRESS", "host")])
def test_a_value_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Settings.parse({"NODE_NAME": "n", name: value}, cores=2, descriptors=20_000)


@pytest.mark.parametrize(("descriptors", "connections"), [(20_000, 7_952), (1_048_576, 65_536), (1_024, 1)])
def test_there_may_be_as_many_connections_as_there_are_descriptors_for(descriptors: int, connections: int) -> None:
    assert Settings.parse({"NODE_NAME": "n"}, cores=2, descriptors=descriptors).most_connections == connections
