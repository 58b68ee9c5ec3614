"""Runs of the command line, each in a process of its own, to be broken and looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiny import write_toml

if TYPE_CHECKING:
    from anabatch.config import Config

FAULTS = Path(__file__).parent / "faults"
COUNT, KILL, TEAR, FAIL, FULL = range(5)
"""The shim's modes."""


@dataclass
class Ended:
    """A run that is over."""

    code: int
    output: str
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def committed(self) -> list[int]:
        """The versions that the run told that it had committed."""
        return [event["version"] for event in self.events if event.get("event") == "commit"]

    def told(self, name: str) -> list[dict[str, Any]]:
        """Return the events of a name."""
        return [event for event in self.events if event.get("event") == name]


class Driver:
    """Forks runs of the command line off a process that has everything imported.

    Parameters
    ----------
    folder : Path
        For its files.
    shim : Path or None
        The library to preload.
    """

    def __init__(self, folder: Path, shim: Path | None) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shim = shim
        self._number = 0
        paths = [str(FAULTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        if shim:
            environment["LD_PRELOAD"] = str(shim)
        self._process = subprocess.Popen(  # noqa: S603 (our own code)
            [sys.executable, str(FAULTS / "driver.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def start(self, arguments: list[str], **order: Any) -> Running:
        """Start a run."""
        self._number += 1
        output = self.folder / f"output-{self._number}"
        order |= {"arguments": arguments, "output": str(output)}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Running(self, self._answer()["pid"], output)

    def run(self, config: Config, *more: str, **order: Any) -> Ended:
        """Let a run end, one way or another."""
        return self.begin(config, *more, **order).wait()

    def begin(self, config: Config, *more: str, command: str = "run", **order: Any) -> Running:
        """Start a command; `run` does everything."""
        self._number += 1
        path = write_toml(config, self.folder / f"config-{self._number}.toml")
        arguments = [command, "-c", str(path), *more]
        if command != "verify":
            arguments += ["--log-format", "json"]
        return self.start(arguments, **order)


@dataclass
class Running:
    """A run that has been started; a driver has one at a time."""

    driver: Driver
    pid: int
    output: Path

    def kill(self, number: int = signal.SIGKILL, *, after: float = 0.0) -> Ended:
        """Send a signal after a while, and wait for the end."""
        time.sleep(after)
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(self.pid, number)
        return self.wait()

    def events(self) -> list[dict[str, Any]]:
        """Return what it has told so far."""
        found = []
        text = self.output.read_text() if self.output.exists() else ""
        for line in text.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # what it says on its standard error
        return [event for event in found if isinstance(event, dict)]

    def wait_for(self, event: str, seconds: float = 60.0) -> None:
        """Wait until it has told an event."""
        end = time.monotonic() + seconds
        while not any(told.get("event") == event for told in self.events()):
            assert time.monotonic() < end, self.output.read_text()
            time.sleep(0.005)

    def wait(self) -> Ended:
        """Wait for the end."""
        code = self.driver._answer()["code"]
        text = self.output.read_text() if self.output.exists() else ""
        return Ended(code, text, self.events())
