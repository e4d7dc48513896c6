from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from agent.api.kubernetes import Pod
from agent.errors import InvalidObjectError, UnavailableError
from agent.lab.addresses import Pair
from agent.lab.cni import Chain
from tests.support.objects import a_pod

POD = Pod.model_validate(a_pod("web-1", uid="u-1"))
ADDRESS = Pair(IPv4Address("10.0.0.7"), IPv6Address("fd00::7"))
SPY = "#!/bin/sh\n{{ env | grep ^CNI_ | sort; cat; echo; }} >>{log}\nprintf %s '{answer}'\nexit {status}\n"


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    chain = Chain.below(tmp_path / "cni")
    chain.install()
    return chain


def append(chain: Chain, answer: str, status: int = 0) -> Path:
    """Chain a plugin that notes what it is told, in the file that is returned."""
    path, log = chain.configurations / "10-weft-lab.conflist", chain.programs.parent / "log"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "plugins": [*found["plugins"], {"type": "spy", "own": 1}]}))
    program = chain.programs / "spy"
    program.write_text(SPY.format(log=log, answer=answer, status=status))
    program.chmod(0o755)
    return log


async def test_a_node_of_its_own_runs_no_program(chain: Chain) -> None:
    await chain.add(POD, "netns", ADDRESS)
    await chain.delete(POD, "netns", ADDRESS)
    assert list((chain.programs).iterdir()) == []


async def test_a_plugin_is_told_of_the_pod_its_network_and_its_own_settings(chain: Chain) -> None:
    log = append(chain, "{}")
    await chain.add(POD, "netns", ADDRESS)
    *variables, configuration = log.read_text().splitlines()
    assert "CNI_COMMAND=ADD" in variables
    assert "CNI_NETNS=/run/netns/netns" in variables
    assert "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u-1" in variables
    told = json.loads(configuration)
    assert (told["cniVersion"], told["name"], told["type"], told["own"]) == ("1.0.0", "pods", "spy", 1)
    assert [ip["address"] for ip in told["prevResult"]["ips"]] == ["10.0.0.7/32", "fd00::7/128"]


async def test_a_plugin_that_says_no_keeps_the_pod_from_starting_with_its_words(chain: Chain) -> None:
    append(chain, '{"code": 11, "msg": "try again later: no agent"}', status=1)
    with pytest.raises(UnavailableError, match="try again later: no agent"):
        await chain.add(POD, "netns", ADDRESS)
    await chain.delete(POD, "netns", ADDRESS)


@pytest.mark.parametrize("answer", ["no JSON", "{"])
async def test_a_plugin_that_says_nothing_that_can_be_read_is_told(chain: Chain, answer: str) -> None:
    append(chain, answer)
    with pytest.raises(UnavailableError, match="spy"):
        await chain.add(POD, "netns", ADDRESS)
    await chain.delete(POD, "netns", ADDRESS)


async def test_a_program_that_is_missing_keeps_pods_from_starting_but_not_from_ending(chain: Chain) -> None:
    append(chain, "{}")
    (chain.programs / "spy").unlink()
    with pytest.raises(UnavailableError, match="spy"):
        await chain.add(POD, "netns", ADDRESS)
    await chain.delete(POD, "netns", ADDRESS)


async def test_a_configuration_that_is_broken_or_gone_starts_no_pod(chain: Chain) -> None:
    path = chain.configurations / "10-weft-lab.conflist"
    path.write_text("{")
    with pytest.raises(InvalidObjectError, match="10-weft-lab"):
        await chain.add(POD, "netns", ADDRESS)
    path.unlink()
    with pytest.raises(UnavailableError, match="no CNI configuration"):
        await chain.add(POD, "netns", ADDRESS)
