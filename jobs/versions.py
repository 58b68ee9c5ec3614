"""What computes: the versions of Python, the machine and every library, without importing any."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

_CHECKOUT = Path(__file__).resolve().parents[1]
_GIT_SECONDS = 10


def versions() -> dict[str, Any]:
    """Return what a result may depend on beside the configuration. It is recorded, and in no key.

    Returns
    -------
    dict
        `anabatch`, `revision` (of the checkout that runs, with `-dirty` where it was changed; None
        outside of one), `python`, `platform`, `machine`, `processor`, `processors`, `gpu_driver`
        (None without one), and `libraries`, the version of every installed distribution by name.
    """
    return {
        "anabatch": version("anabatch"),
        "revision": _revision(_CHECKOUT),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "gpu_driver": _first_line(Path("/proc/driver/nvidia/version")),
        "libraries": dict(_libraries()),
    }


@cache  # reading what all of them say of themselves takes a third of a second
def _libraries() -> tuple[tuple[str, str], ...]:
    found = {item.name: item.version for item in distributions()}
    return tuple(sorted(found.items(), key=lambda item: item[0].lower()))


def _revision(checkout: Path) -> str | None:
    git = shutil.which("git")
    if git is None or not (checkout / ".git").exists():
        return None
    described = subprocess.run(  # noqa: S603 (git, on our own checkout)
        [git, "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_GIT_SECONDS,
        env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},  # it may be read-only
    )
    # git refuses a checkout of another user: then nobody knows the revision
    return described.stdout.strip() or None if described.returncode == 0 else None


def _processor() -> str:
    """Return the processor's name, which Python does not know on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError:
        return None
