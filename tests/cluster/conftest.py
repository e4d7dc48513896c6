"""One control plane for the lane; tests keep apart by namespaces of their own."""

import uuid
from collections.abc import Iterator

import pytest

from tests.support.cluster import ControlPlane, control_plane
from tests.support.cluster_mesh import (
    PROXY_POD,
    SYSTEM,
    Controller,
    a_controller,
    a_pod,
    bound_token,
    forget_webhook,
    installed,
    put,
    roots_of,
)
from tests.support.cluster_program import made
from tests.support.lab_pods import Corner, corner
from tests.support.lab_world import LabWorld, lab_world


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="session")
def gateway_api(plane: ControlPlane) -> None:
    """The Gateway API's standard definitions, established."""
    folder = made("definitions") / "gateway-api/standard"
    plane.kubectl("apply", "--server-side", f"--filename={folder}")
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")


@pytest.fixture(scope="session")
def mesh(plane: ControlPlane) -> Iterator[None]:
    """What is shipped for a cluster, applied, and two nodes; its processes are started by whoever needs them."""
    with installed(plane):
        yield


@pytest.fixture(scope="module")
def controller(plane: ControlPlane, mesh: None) -> Iterator[Controller]:
    """One for all tests of a module that need no settings of their own."""
    with a_controller(plane) as running:
        yield running
    forget_webhook(plane)


@pytest.fixture(scope="module")
def roots(plane: ControlPlane, controller: Controller) -> bytes:
    return roots_of(plane)


@pytest.fixture(scope="module")
def token(plane: ControlPlane, mesh: None) -> str:
    """Of node-1's proxy."""
    put(plane, a_pod(SYSTEM, PROXY_POD, account="weft-proxy"))
    return bound_token(plane, "weft-proxy", PROXY_POD)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabWorld]:
    """Another control plane, with nodes that run its pods."""
    with lab_world(tmp_path_factory.mktemp("world")) as found:
        yield found


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[str]:
    """A namespace for one test, on its way out afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", name)
    yield name
    plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def here(world: LabWorld) -> Iterator[Corner]:
    """A namespace of the world, for one test, on its way out afterwards."""
    with corner(world) as found:
        yield found
