"""Commands that benchmarks run as a user does, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time

# A process's own peak: what the system tells of a child begins with its parent's.
_COMMAND = """
import sys, time
from anabatch.jobs.cli import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    sys.stderr.write(f" {time.process_time()} {peak}")
"""


def command(*arguments: str) -> tuple[float, float, float]:
    """Run a command (Linux); return seconds, those of processors, and peak MiB.

    Raises
    ------
    RuntimeError
        It ended with an error, which is what it wrote.
    """
    line = [sys.executable, "-c", _COMMAND, *arguments]
    start = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 (our own command)
    taken = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr)
    busy, peak = map(float, done.stderr.split()[-2:])
    return taken, busy, peak / 1024
