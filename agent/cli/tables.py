"""Tables for people: rows under a title, no more of them than one reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

MOST_ROWS = 40
_COLUMNS_IN_A_FILE = 200


def console() -> Console:
    """As wide as the terminal; where there is none, wide enough that rows stay lines."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=_COLUMNS_IN_A_FILE, highlight=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], most: int | None = MOST_ROWS) -> Table:
    """At most `most` rows, with how many there are besides; None shows all."""
    rows = list(rows)
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    shown = rows if most is None else rows[:most]
    for row in shown:
        made.add_row(*map(Text, row))
    if len(shown) < len(rows):
        made.add_row(Text(f"and {len(rows) - len(shown)} more, -A shows all"))
    return made


def span(seconds: float) -> str:
    """A length of time in its largest fitting unit, such as 3h or 12d; negative ones are over."""
    if seconds < 0:
        return "over"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
