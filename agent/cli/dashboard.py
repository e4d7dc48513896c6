"""`weft dashboard`: the page of who talks to whom, at an address of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import webbrowser
from collections.abc import Mapping

import click

from agent import wire
from agent.cli import reach
from agent.cli.choice import Choice, mesh_options


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Local port; 0, the default, takes a free one.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@mesh_options
def dashboard(choice: Choice, port: int, no_browser: bool) -> None:
    """Show live who talks to whom, in a browser, until Ctrl-C."""
    opens = not no_browser and has_display(os.environ)
    asyncio.run(_serve(choice.mesh(), port, opens))


def has_display(environment: Mapping[str, str]) -> bool:
    """Whether a browser that is opened here would be seen by whoever types."""
    return any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


async def _serve(mesh: reach.Mesh, port: int, opens: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    controller = next(iter(mesh.controllers), reach.CONTROLLER)
    async with reach.forwarded(mesh, controller, wire.DEBUG_PORT, port) as local:
        address = f"http://127.0.0.1:{local}{wire.DASHBOARD_PATH}"
        click.echo(f"{address}\nCtrl-C ends it.")
        if opens:
            with contextlib.suppress(webbrowser.Error):  # the address is printed
                await asyncio.to_thread(webbrowser.open, address)
        await stop.wait()
