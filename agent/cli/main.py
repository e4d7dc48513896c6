"""The `weft` command: one word per process, and what a person types."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from agent.errors import ConfigError, WeftError

USAGE_EXIT = 64
_COMMANDS = {
    # Imported on use: a node agent must not pay for the controller's libraries.
    "node": "agent.node.main:node",
    "proxy": "agent.proxy.main:proxy",
    "controller": "agent.controller.main:controller",
    "lab": "agent.lab.main:lab",
    "status": "agent.cli.status:status",
    "explain": "agent.cli.explain:explain",
    "describe": "agent.cli.describe:describe",
    "render": "agent.cli.render:render",
    "dashboard": "agent.cli.dashboard:dashboard",
    "analyze": "agent.cli.analyze:analyze",
    "validate": "agent.cli.validate:validate",
    "version": "agent.cli.version:version",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=_Commands)
@click.version_option(package_name="weft", prog_name="weft")
def weft() -> None:
    """Weft, an ambient service mesh for Kubernetes."""


def main() -> None:
    """Run the command line. Exit status: 0 done, 1 failed, 64 wrong usage or settings."""
    try:
        weft.main(standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        sys.exit(USAGE_EXIT if isinstance(exc, click.UsageError) else 1)
    except click.Abort:
        sys.exit(130)
    except click.exceptions.Exit as exc:
        sys.exit(exc.exit_code)
    except ConfigError as exc:
        click.echo(f"weft: {exc}", err=True)
        sys.exit(USAGE_EXIT)
    except WeftError as exc:
        click.echo(f"weft: {exc}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
