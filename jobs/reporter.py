"""What a run says: to a person at a terminal, to a log collector, and to its own record."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TextIO

LogFormat = Literal["auto", "text", "json"]

_PROCESSORS = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
)


def _json_logger(stream: TextIO) -> Any:
    return structlog.wrap_logger(structlog.WriteLogger(stream), processors=list(_PROCESSORS))


class Reporter:
    """Tells what happens.

    Parameters
    ----------
    log_format : {'auto', 'text', 'json'}
        `auto` is text with progress bars on a terminal, and JSON lines otherwise.
    stream : text file, optional
        Where it goes; standard output by default.
    """

    def __init__(self, log_format: LogFormat = "auto", stream: TextIO | None = None) -> None:
        stream = stream or sys.stdout
        self._text = log_format == "text" or (log_format == "auto" and stream.isatty())
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._log = _json_logger(stream)
        self._record: Any = None
        self._record_file: TextIO | None = None

    def record_to(self, path: Path) -> None:
        """Write every event to a file of JSON lines as well."""
        self._record_file = path.open("a", encoding="utf-8")
        self._record = _json_logger(self._record_file)

    def close(self) -> None:
        """Close the record."""
        if self._record_file:
            self._record_file.close()
            self._record = self._record_file = None

    def say(self, event: str, text: str, **values: Any) -> None:
        """Tell an event.

        Parameters
        ----------
        event : str
            Its name in the log.
        text : str
            Its sentence for a person.
        **values
            Its facts.
        """
        self._tell("info", event, text, values)

    def warn(self, event: str, text: str, **values: Any) -> None:
        """Tell an event that a person should look at."""
        self._tell("warning", event, text, values)

    def _tell(self, level: str, event: str, text: str, values: dict[str, Any]) -> None:
        if self._record:
            getattr(self._record, level)(event, message=text, **values)
        if self._text:
            style = "yellow" if level == "warning" else None
            self._console.print(text, style=style, markup=False)
        else:
            getattr(self._log, level)(event, message=text, **values)

    @contextmanager
    def progress(self, job: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a job's progress; yields a function to call once a finished batch."""
        if not (self._text and self._console.is_terminal):
            yield lambda: None
            return
        columns = (
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task(job, total=total)
            yield lambda: bar.advance(task)
