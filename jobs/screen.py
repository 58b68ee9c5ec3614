"""The console that commands print their tables on."""

from __future__ import annotations

from rich.console import Console

_PIPE_WIDTH = 200
"""Columns of what is no terminal: a table in a file or a pipe is not cut at a screen's edge."""


def screen() -> Console:
    """Return a console as wide as the terminal, or wide enough for a table elsewhere."""
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console
