"""The page of who talks to whom, over the shop, in a real browser; pictures of it are kept in build/pictures."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from agent.lab.session import until
from tests.support.browser import Page, browsing
from tests.support.mesh import ROOT, Mesh

PICTURES = ROOT / "build" / "pictures"
MARK = "<img src=x onerror=window.harmed=1>"
DENY = f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: no-plain, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  action: DENY
  rules:
  - from: [{{source: {{notPrincipals: ["*"]}}}}]
  - to: [{{operation: {{paths: ["{MARK}"]}}}}]
    from: [{{source: {{ipBlocks: [192.0.2.1]}}}}]
"""
NODES = "JSON.stringify(document.getElementById('picture').data.find(trace => trace.name === 'nodes').customdata)"


@dataclass(frozen=True, slots=True)
class Shown:
    """The page's address, while the shop is called and refuses the client outside."""

    address: str
    mesh: Mesh


@contextlib.contextmanager
def command(mesh: Mesh) -> Iterator[str]:
    """`weft dashboard` while the block runs; the address that it prints."""
    line = [sys.executable, "-m", "agent.cli.main", "dashboard", "--lab", mesh.lab.name, "--no-browser"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def shown(mesh: Mesh) -> Iterator[Shown]:
    mesh.write("no-plain.yaml", DENY)
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            mesh.curl("http://web/")
            mesh.curl("http://web.shop/", pod="outside/client")
            mesh.lab.run("outside/client", "redis-cli", "-h", "redis.shop", "ping")

    caller = threading.Thread(target=call)
    caller.start()
    try:
        with command(mesh) as address:
            yield Shown(address, mesh)
    finally:
        done.set()
        caller.join()
        (mesh.manifests / "no-plain.yaml").unlink()
        until(
            "the client outside is let in", lambda: not mesh.curl("http://web.shop/", pod="outside/client").returncode
        )


async def drawn(page: Page) -> None:
    """Wait until the page shows live rates and a refusal."""
    await page.until("document.getElementById('live').textContent === 'live'")
    await page.until("document.getElementById('panel').innerText.includes('client → web')")


async def point_of(page: Page, node: str) -> tuple[float, float]:
    """Where the middle of a node is on the screen."""
    script = f"""(() => {{
        const picture = document.getElementById('picture');
        const trace = picture.data.find(each => each.name === 'nodes');
        const number = trace.customdata.findIndex(([, id]) => id === {node!r});
        const shapes = picture.querySelectorAll('.scatterlayer .trace');
        const drawn = [...shapes].find(each => each.__data__[0].trace.name === 'nodes');
        const box = drawn.querySelectorAll('.points path')[number].getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    }})()"""
    x, y = await page.evaluate(script)
    return x, y


async def middle_of_edge(page: Page, edge: str) -> tuple[float, float]:
    """A point of an edge, a third of its way, on the screen."""
    script = f"""(() => {{
        const drawn = [...document.querySelectorAll('#picture .scatterlayer .trace')];
        const line = drawn.find(each => each.__data__[0].trace.name === {edge!r}).querySelector('path.js-line');
        const point = line.getPointAtLength(line.getTotalLength() * 0.25).matrixTransform(line.getScreenCTM());
        return [point.x, point.y];
    }})()"""
    x, y = await page.evaluate(script)
    return x, y


def panel(page: Page) -> Any:
    return page.evaluate("document.getElementById('panel').innerText")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_draws_who_talks_to_whom(shown: Shown, scheme: str) -> None:
    async with browsing(shown.address, scheme=scheme) as page:
        await drawn(page)
        nodes = await page.evaluate(NODES)
        for wanted in ("workload:shop/frontend", "workload:shop/web", "workload:shop/redis", "workload:outside/client"):
            assert f'"{wanted}"' in nodes
        edges = await page.evaluate("document.getElementById('picture').data.map(trace => trace.name)")
        assert {"workload:shop/frontend>workload:shop/web", "workload:outside/client>workload:shop/redis"} <= set(edges)
        assert "2 of 2 node proxies read" in await page.evaluate("document.getElementById('summary').innerText")
        await page.picture(PICTURES / f"overview-{scheme}.png")


async def test_a_click_on_a_node_shows_its_pods_and_policies(shown: Shown) -> None:
    async with browsing(shown.address) as page:
        await drawn(page)
        await page.click(*await point_of(page, "workload:shop/web"))
        await page.until("document.getElementById('panel').innerText.includes('spiffe://')")
        text = await panel(page)
        pod = shown.mesh.pod("shop/web")
        for fact in ("spiffe://cluster.local/ns/shop/sa/backend", "node-2", *pod["addresses"], "in the mesh"):
            assert fact in text
        assert "shop/no-plain" in text.partition("POLICIES THAT APPLY")[2]
        await page.picture(PICTURES / "node.png")


async def test_a_click_on_a_connection_shows_its_rates_and_why_it_is_refused(shown: Shown) -> None:
    async with browsing(shown.address) as page:
        await drawn(page)
        await page.click(*await middle_of_edge(page, "workload:outside/client>workload:shop/web"))
        await page.until("document.getElementById('panel').innerText.includes('refused by a policy')")
        text = await panel(page)
        assert "client → web" in text and "plain TCP" in text and "all refused or failed" in text
        await page.picture(PICTURES / "connection.png")


async def test_a_connection_in_the_mesh_shows_both_identities(shown: Shown) -> None:
    async with browsing(shown.address) as page:
        await drawn(page)
        await page.click(*await middle_of_edge(page, "workload:shop/frontend>workload:shop/web"))
        await page.until("document.getElementById('panel').innerText.includes('IDENTITIES')")
        text = await panel(page)
        for fact in (
            "mutual TLS",
            "spiffe://cluster.local/ns/shop/sa/frontend",
            "spiffe://cluster.local/ns/shop/sa/backend",
        ):
            assert fact in text


async def test_a_policy_is_shown_as_text_whatever_is_written_in_it(shown: Shown) -> None:
    async with browsing(shown.address) as page:
        await drawn(page)
        await page.evaluate(
            "[...document.querySelectorAll('.item')].find(e => e.innerText.includes('no-plain')).click()"
        )
        await page.until("document.getElementById('panel').innerText.includes('AS IT IS WRITTEN')")
        text = await panel(page)
        assert MARK in text and "refused" in text and "notPrincipals" in text
        assert "only a waypoint can tell" in text
        assert await page.evaluate("window.harmed === undefined && document.querySelector('#panel img') === null")
        await page.picture(PICTURES / "policy.png")


async def test_the_browser_loads_nothing_from_elsewhere_and_runs_nothing_inline(shown: Shown) -> None:
    async with browsing(shown.address) as page:
        await drawn(page)
        assert {url.partition("/dashboard/")[0] + "/dashboard/" for url in page.requested} == {shown.address}
        # plotly.js brings a sheet for maps, which this page has none of; the browser refuses it once.
        others = [text for text in page.complaints if not ("inline style" in text and "plotly.min.js" in text)]
        assert others == []
        assert len(page.complaints) <= 1
        header = "fetch('graph.json').then(answer => answer.headers.get('Content-Security-Policy'))"
        assert (await page.evaluate(header)).startswith("default-src 'self';")
        assert await page.evaluate("(() => { try { return eval('1'); } catch { return 'refused'; } })()") == "refused"


async def test_a_proxy_that_does_not_answer_is_named(shown: Shown) -> None:
    pid = shown.mesh.process("node-2-proxy")
    async with browsing(shown.address) as page:
        await drawn(page)
        os.kill(pid, signal.SIGSTOP)
        try:
            await page.until("document.getElementById('banner').innerText.includes('The proxy of node-2')")
            assert "1 of 2 node proxies read" in await page.evaluate("document.getElementById('summary').innerText")
        finally:
            os.kill(pid, signal.SIGCONT)
        await page.until("document.getElementById('banner').hidden")


async def test_a_page_without_traffic_says_so(shown: Shown) -> None:
    async with browsing(shown.address) as page:
        await drawn(page)
        assert await page.evaluate("document.getElementById('empty').hidden")
        await page.evaluate(
            """(() => {
                const select = document.getElementById('namespace');
                select.append(new Option('void', 'void'));
                select.value = 'void';
                select.dispatchEvent(new Event('change'));
            })()"""
        )
        assert "No traffic yet" in await page.evaluate("document.getElementById('empty').innerText")


def test_the_page_is_for_local_callers_only(mesh: Mesh) -> None:
    ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5"]
    url = "http://10.70.0.2:15014/dashboard/graph.json"
    netns = mesh.lab.netns("node-1")
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{netns}", *ask, url], capture_output=True, text=True, timeout=10
    )
    assert done.stdout == "403"
