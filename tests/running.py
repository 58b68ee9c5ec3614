"""Running jobs in tests, in this process, as the command line does."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any

from anabatch.jobs import run as whole_run
from anabatch.jobs.reporter import Reporter
from anabatch.jobs.session import session

from anabatch.config import Config, parse_config

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (420, 320)
"""Size of the fields that the integration tests draw, width and height."""


def make_config(archive: Path, store: Path, **sections: Any) -> Config:
    """Return a configuration that is quick on a handful of cells."""
    raw: dict[str, Any] = {
        "store": str(store),
        "archives": [
            {
                "name": "sim",
                "path": str(archive),
                "layout": "dated",
                "pixels_per_reference_pixel": {"420x320": 1.0},
            }
        ],
        "embed": {"landmarks": 24, "components": 16},
        "cluster": {"k": 3, "components": 8},
        "compute": {"scheduler": "sync"},
    }
    for name, values in sections.items():
        raw[name] = {**raw.get(name, {}), **values} if isinstance(values, dict) else values
    return parse_config(raw, "test")


def let_a_tick_pass() -> None:
    """Let the clock of files tick, so that what was written before is not doubted any more.

    A file whose bytes are read within a tick of its last change is read again the next time.
    """
    time.sleep(0.03)


def run_jobs(
    config: Config, job: Any = whole_run, *, accept: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """Run a job, as the command line does, and return the events that it told.

    What was written before is old enough for the run to trust what it reads of it: whether files
    are doubted must not hang on how fast a machine is.

    Parameters
    ----------
    config : Config
    job : module
        What has a `run`.
    accept : bool
        Whether guards are told to let everything pass.
    **options
        Of the session.
    """
    let_a_tick_pass()
    stream = io.StringIO()
    with session(config, Reporter("json", stream), **options) as context:
        context.accept_recompute = context.accept_vanished = accept
        job.run(context)
    return [json.loads(line) for line in stream.getvalue().splitlines()]
