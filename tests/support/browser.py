"""A headless Chromium, driven over its debugging protocol: a page, what it shows, real clicks, pictures."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from agent.lab.session import until

CHROMIUM = "chromium-headless-shell"
WIDTH, HEIGHT = 1440, 900
PATIENCE_SECONDS = 30


@dataclass
class Page:
    """One open page. complaints: what the browser or the page's own programs found wrong with it."""

    socket: aiohttp.ClientWebSocketResponse
    session: str = ""
    complaints: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    _answers: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A method of the protocol; RuntimeError when the browser refuses it."""
        number = len(self._answers) + 1
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self.socket.send_json(message | ({"sessionId": self.session} if self.session else {}))
        return await asyncio.wait_for(answer, PATIENCE_SECONDS)

    async def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        options = {"returnByValue": True, "awaitPromise": True, "allowUnsafeEvalBlockedByCSP": False}
        found = await self.call("Runtime.evaluate", expression=script, **options)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait for an expression to be truthy."""
        look = f"const look = () => ({script}) ? resolve(true) : setTimeout(look, 50); look();"
        try:
            await self.evaluate(f"new Promise((resolve) => {{ {look} }})")
        except TimeoutError as exc:
            shown = await self.evaluate("document.body.innerText")
            raise AssertionError(f"after {PATIENCE_SECONDS} s still not: {script}; shown is:\n{shown}") from exc

    async def click(self, x: float, y: float) -> None:
        """A click of the mouse at a point of the page."""
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def picture(self, path: Path) -> None:
        """Save what is seen as a PNG."""
        found = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(_save, path, base64.b64decode(found["data"]))

    async def listen(self) -> None:
        """Take in what the browser says, for ever."""
        async for message in self.socket:
            self._hear(json.loads(message.data))

    def _hear(self, said: dict[str, Any]) -> None:
        parameters = said.get("params", {})
        match said.get("method"):
            case None if (answer := self._answers.get(said["id"])) is not None and not answer.done():
                if "error" in said:
                    answer.set_exception(RuntimeError(str(said["error"])))
                else:
                    answer.set_result(said["result"])
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self.requested.append(parameters["request"]["url"])


def _save(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@contextlib.asynccontextmanager
async def browsing(url: str, *, scheme: str = "light") -> AsyncIterator[Page]:
    """A page while the block runs; scheme: the colours that the system prefers, light or dark."""
    with _running() as address:
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(address) as socket,
            _page(socket, scheme) as page,
        ):
            await page.call("Page.navigate", url=url)
            await page.until("document.readyState === 'complete'")
            yield page


@contextlib.asynccontextmanager
async def _page(socket: aiohttp.ClientWebSocketResponse, scheme: str) -> AsyncIterator[Page]:
    """An empty page while the block runs."""
    page = Page(socket)
    listening = asyncio.create_task(page.listen())
    try:
        target = await page.call("Target.createTarget", url="about:blank", width=WIDTH, height=HEIGHT)
        attached = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await page.call("Emulation.setEmulatedMedia", features=features)
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        await page.call("Emulation.setDeviceMetricsOverride", **size)
        yield page
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@contextlib.contextmanager
def _running() -> Iterator[str]:
    """The address of the debugging protocol of a browser that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="weft-browser-", ignore_cleanup_errors=True) as folder:
        options = ["--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
        log = Path(folder) / "log"
        with log.open("wb") as output, subprocess.Popen([CHROMIUM, *options], stdout=output, stderr=output) as process:
            try:
                until("the browser listens", lambda: b"DevTools listening on" in log.read_bytes() or process.poll())
                found = re.search(r"DevTools listening on (\S+)", said := log.read_text(errors="replace"))
                assert found, said
                yield found[1]
            finally:
                process.terminate()
