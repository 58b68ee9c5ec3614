"""What a run says: to a person at a terminal, to a log collector, and to its own record."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

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

    from anabatch.store.actions import Action

LogFormat = Literal["auto", "text", "json"]


def _encodable(text: str) -> str:
    """Return text that every file takes: names that are no UTF-8 hold surrogates (PEP 383)."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_PROCESSORS = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
    lambda _logger, _method, line: _encodable(line),  # what it escapes is JSON's own escape
)


def _json_logger(stream: TextIO) -> Any:
    return structlog.wrap_logger(structlog.WriteLogger(stream), processors=list(_PROCESSORS))


class Written(Protocol):
    """What a batch leaves: a part, or none, and actions."""

    @property
    def path(self) -> str | None:
        """The part's path in the store."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """What was done, and what came of it."""


@dataclass
class Timing:
    """How long a job has worked on its batches, and on how many.

    Attributes
    ----------
    seconds : float
        From the first batch sent to the last one taken over.
    batches : int
        Batches that came back.
    items : int
        What they were of: images, dates of labels, or parts of cells.
    """

    seconds: float = 0.0
    batches: int = 0
    items: int = 0


class Reporter:
    """Tells what happens.

    Parameters
    ----------
    log_format : {'auto', 'text', 'json'}
        `auto` is text with progress bars on a terminal, and JSON lines otherwise.
    stream : text file, optional
        Where it goes; standard output by default.

    Attributes
    ----------
    timings : dict of str to Timing
        By job.
    """

    def __init__(self, log_format: LogFormat = "auto", stream: TextIO | None = None) -> None:
        stream = stream or sys.stdout
        self._text = log_format == "text" or (log_format == "auto" and stream.isatty())
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._log = _json_logger(stream)
        self._record: Any = None
        self._record_file: TextIO | None = None
        self._bound: dict[str, Any] = {}
        self.timings: dict[str, Timing] = {}

    def bind(self, **values: Any) -> None:
        """Give every event from now on these facts, as the run's id."""
        self._bound |= values

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

    def note(self, event: str, text: str, **values: Any) -> None:
        """Write an event to the run's record alone: too much detail for a person or a log."""
        if self._record:
            self._record.debug(event, message=text, **self._bound, **values)

    def finished(self, job: str, written: Written | list[Written]) -> None:
        """Note a batch that was taken over, with its units, their keys and what became of them.

        Parameters
        ----------
        job : str
            The job whose batch it was.
        written : Written or list of Written
            What the batch's graph gave.
        """
        parts = written if isinstance(written, list) else [written]
        actions = [action for part in parts for action in part.actions]
        items = max(Counter(action.stage for action in actions).values(), default=0)
        timing = self._timing(job)
        timing.batches += 1
        timing.items += items
        first = actions[0] if actions else None
        self.note(
            "batch",
            f"{job}: a batch of {items} is done",
            job=job,
            archive=first.archive if first else "",
            date=str(first.date) if first and first.date else None,
            parts=[part.path for part in parts if part.path],
            actions=[_brief(action) for action in actions],
        )

    def _tell(self, level: str, event: str, text: str, values: dict[str, Any]) -> None:
        values = self._bound | values
        if self._record:
            getattr(self._record, level)(event, message=text, **values)
        if self._text:
            style = "yellow" if level == "warning" else None
            self._console.print(_encodable(text), style=style, markup=False)
        else:
            getattr(self._log, level)(event, message=text, **values)

    @contextmanager
    def timed(self, job: str) -> Iterator[None]:
        """Count the time of what is done inside towards a job."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._timing(job).seconds += time.monotonic() - started

    def _timing(self, job: str) -> Timing:
        return self.timings.setdefault(job, Timing())

    @contextmanager
    def progress(self, job: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a job's progress, and time it; yields a function to call once a finished batch."""
        with self.timed(job), self._bar(job, total) as advance:
            yield advance

    @contextmanager
    def _bar(self, job: str, total: int) -> Iterator[Callable[[], None]]:
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


def _brief(action: Action) -> dict[str, str]:
    """Return an action's line in the record: ids and outcome, and nothing of its size."""
    facts = {
        "stage": action.stage,
        "unit": action.unit,
        "key": action.key,
        "outcome": action.outcome,
    }
    image = action.components.get("image_id")
    path = action.components.get("relative_path")
    return (
        facts
        | ({"image": str(image)} if image else {})
        | ({"path": str(path)} if path else {})
        | ({"reason": action.reason} if action.reason else {})
    )
