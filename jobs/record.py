"""A run's record: its folder in the store, and the one file that tells how the last runs ended.

`runs/<id>/` holds `config.json`, `versions.json`, `events.jsonl`, and at the end `failures.parquet`,
`timings.json` and `outcome.json`. A run that had nothing to do leaves no folder, and is known from
`last-run.json` alone.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from anabatch.store.actions import DEFERRED, FAILED
from anabatch.store.durable import make_folder, replace_text
from anabatch.store.root import RUNS

from .exit_codes import DONE, QUARANTINE, exit_code
from .versions import versions

if TYPE_CHECKING:
    from pathlib import Path

    from anabatch.config import Config
    from anabatch.store.actions import Action
    from anabatch.store.root import Store

    from .reporter import Reporter

LAST = "last-run.json"
EVENTS = "events.jsonl"
"""A run's record of what it said."""
OUTCOME = "outcome.json"
REPORT = "report.html"

WHOLE = "run"
"""The command whose success is a night's success."""


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes
    ----------
    run, command : str
    started, ended : str
        ISO 8601, in UTC.
    exit_code : int
        0 and 3 (items in quarantine) are success.
    error : str or None
        What ended it early, in a sentence.
    did_something : bool
        Whether it changed the store, or wrote a report.
    version_before, version : int
        Versions of the ledger when it started and when it ended.
    """

    run: str
    command: str
    started: str
    ended: str
    exit_code: int
    error: str | None
    did_something: bool
    version_before: int
    version: int

    @property
    def succeeded(self) -> bool:
        """Whether it did all that there was to do."""
        return self.exit_code in (DONE, QUARANTINE)


@dataclass(frozen=True)
class Reported:
    """The run that wrote the last report, and the ledger's version that it told of."""

    run: str
    version: int


@dataclass(frozen=True)
class Last:
    """How the last runs over a store ended.

    Attributes
    ----------
    last : Ended or None
        Of whatever command.
    success : Ended or None
        The last `run` that ended with 0 or 3.
    report : Reported or None
    """

    last: Ended | None = None
    success: Ended | None = None
    report: Reported | None = None


def read_last(store: Path) -> Last:
    """Return how the last runs over a store ended.

    Parameters
    ----------
    store : Path
        The store's folder.

    Returns
    -------
    Last
        Of nothing, where no run has ended yet, or the file is damaged: it tells, and decides
        nothing, and the next run writes it anew.
    """
    try:
        raw = json.loads((store / LAST).read_text(encoding="utf-8"))
        return Last(
            Ended(**raw["last"]) if raw["last"] else None,
            Ended(**raw["success"]) if raw["success"] else None,
            Reported(**raw["report"]) if raw["report"] else None,
        )
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return Last()


class Record:
    """The record of one run, which holds the store.

    Parameters
    ----------
    store : Store
    config : Config
        The resolved configuration.
    run, command : str
    """

    def __init__(self, store: Store, config: Config, run: str, command: str) -> None:
        self.store = store
        self.run = run
        self.command = command
        self.folder = store.root / RUNS / run
        self._started = _now()
        self._before = store.version
        make_folder(self.folder, store.root)
        replace_text(self.folder / "config.json", config.model_dump_json(indent=1))
        replace_text(self.folder / "versions.json", _json(versions()))

    def end(
        self,
        reporter: Reporter,
        error: BaseException | None,
        *,
        did_something: bool,
        reported: bool,
        keep: bool,
    ) -> Ended:
        """Close the record.

        Parameters
        ----------
        reporter : Reporter
            Whose timings are kept.
        error : BaseException or None
            What ended the run.
        did_something : bool
            Whether it changed anything.
        reported : bool
            Whether it wrote a report of the version that it ends with.
        keep : bool
            Whether to keep its folder also where it did nothing.
        """
        ended = self._ended(error, did_something=did_something)
        if did_something or keep or error is not None:
            self._write(reporter, ended)
        else:
            shutil.rmtree(self.folder)
        before = read_last(self.store.root)
        nightly = self.command == WHOLE and ended.succeeded
        last = Last(
            ended,
            ended if nightly else before.success,
            Reported(self.run, ended.version) if reported else before.report,
        )
        replace_text(self.store.root / LAST, _json(asdict(last)))
        return ended

    def _ended(self, error: BaseException | None, *, did_something: bool) -> Ended:
        return Ended(
            run=self.run,
            command=self.command,
            started=self._started,
            ended=_now(),
            exit_code=exit_code(error, len(self.store.state.failures())),
            error=_told(error) if error is not None else None,
            did_something=did_something,
            version_before=self._before,
            version=self.store.version,
        )

    def _write(self, reporter: Reporter, ended: Ended) -> None:
        actions = self.store.state.actions()
        _write_failures(self.folder, [a for a in actions if a.outcome in (FAILED, DEFERRED)])
        timings = {
            job: asdict(timing) | {"seconds": round(timing.seconds, 3)}
            for job, timing in reporter.timings.items()
        }
        replace_text(self.folder / "timings.json", _json(timings))
        did = Counter((a.stage, a.outcome) for a in actions if a.run == self.run)
        counts: dict[str, dict[str, int]] = {}
        for (stage, outcome), number in sorted(did.items()):
            counts.setdefault(stage, {})[outcome] = number
        replace_text(self.folder / OUTCOME, _json(asdict(ended) | {"did": counts}))


def _write_failures(folder: Path, actions: list[Action]) -> None:
    rows = [
        {
            "stage": action.stage,
            "unit": action.unit,
            "archive": action.archive,
            "path": _encodable(str(action.components.get("relative_path", ""))),
            "outcome": action.outcome,
            "reason": _encodable(action.reason or ""),
            "run": action.run,
        }
        for action in actions
    ]
    names = ("stage", "unit", "archive", "path", "outcome", "reason", "run")
    schema = pa.schema([(name, pa.string()) for name in names])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "failures.parquet")


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _told(error: BaseException) -> str:
    """Return an error in words; an interrupt has none of its own."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"{type(error).__name__}: {error}"


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1) + "\n"


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
