"""Runs `anabatch run` over and over, each run in a forked process that something may befall.

Reads a JSON line for every run on standard input (see :class:`Order`), and writes two for it on
standard output: the process's id when it starts, and its exit code, negative for a signal, when it
has ended. The networks are stand-ins, and no report is drawn unless it is asked for.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from anabatch.jobs import (
    annotate,
    cluster,
    compact,
    embed,
    featurize,
    gc,
    report,
    scan,
    segment,
    session,
    verify,
)
from anabatch.jobs import run as whole_run
from anabatch.jobs.cli import main
from cheap import cheap_networks

IMPORTED = (
    *(annotate, scan, segment, featurize, embed, cluster, whole_run),
    *(compact, gc, session, verify),
)
"""What commands import when they start: here once, for all runs."""


@dataclass(frozen=True)
class Order:
    """One run.

    Attributes
    ----------
    arguments : list of str
        Of the command line.
    output : str
        A file for what it says.
    watched : str
        The folder below which calls count; see `shim.c`.
    mode, at, code : int
        What befalls which call.
    log : str
        A file for a line a call; empty for none.
    with_report : bool
    """

    arguments: list[str]
    output: str
    watched: str = ""
    mode: int = 0
    at: int = 0
    code: int = 0
    log: str = ""
    with_report: bool = False


def work(order: Order) -> None:
    """Be the process of one run; does not return."""
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(order.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    sys.argv = ["anabatch", *order.arguments]
    if order.watched:
        arm(order)
    drawn: Any = nullcontext() if order.with_report else patch.object(report, "run")
    with cheap_networks(), drawn:
        main()


def arm(order: Order) -> None:
    """Start counting, in the library that was preloaded."""
    log = -1
    if order.log:
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    shim = ctypes.CDLL(None)
    shim.faults_arm.argtypes = (
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_int,
    )
    folder = str(Path(order.watched).resolve()).encode()
    shim.faults_arm(folder, order.mode, order.at, order.code, log)


def say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # A shell has what it starts in the background ignore interrupts, tests and all below them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    say(ready=True)
    for line in sys.stdin:
        order = Order(**json.loads(line))
        pid = os.fork()
        if not pid:
            try:
                work(order)
            except SystemExit as end:
                sys.stdout.flush()
                os._exit(end.code if isinstance(end.code, int) else bool(end.code))
            except BaseException:  # noqa: BLE001 (the parent goes on)
                os._exit(99)
            os._exit(0)
        say(pid=pid)
        _, status = os.waitpid(pid, 0)
        say(code=os.waitstatus_to_exitcode(status))
