"""The driver that runs are broken with, and what it takes."""

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from breaking import FAULTS, Driver
from tiny import add_images, everything, tiny_config

import anabatch

_TITLE = """# What came of breaking things

`make test-faults` writes this page; the tests beside it say what is done. The pipeline is the whole of
`anabatch run` but for the networks, which are stand-ins, and the report. {date}, {system}.
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """The library that counts and breaks calls."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or not compiler:
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library)]
    subprocess.run([*command, str(FAULTS / "shim.c"), "-ldl", "-lpthread"], check=True)  # noqa: S603
    return library


@pytest.fixture(scope="session")
def driver(shim, tmp_path_factory):
    """The driver; it is started once."""
    found = Driver(tmp_path_factory.mktemp("driver"), shim)
    yield found
    found.close()


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """An archive of two tiny images of two dates. Not to be changed."""
    archive = tmp_path_factory.mktemp("few") / "DATA"
    add_images(archive, range(2))
    return archive


@pytest.fixture(scope="session")
def undisturbed(few, driver, tmp_path_factory):
    """All that a run over the two images makes that nothing befell."""
    config = tiny_config(few, tmp_path_factory.mktemp("undisturbed") / "store")
    assert driver.run(config).code == 0
    return everything(anabatch.open_store(config.store))


@pytest.fixture
def read_only(tmp_path):
    """A function that shows a folder at another place, where nothing can be written."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    place = tmp_path / "read-only" / "DATA"
    place.mkdir(parents=True)
    mounted: list[Any] = []

    def show(folder):
        for options in (["--bind", str(folder)], ["-o", "remount,bind,ro"]):
            if not mount or subprocess.run([mount, *options, str(place)], check=False).returncode:  # noqa: S603
                pytest.skip("may not mount a folder here")
            mounted[:] = [place]
        with pytest.raises(OSError, match="Read-only"):
            (place / "x").touch()
        return place

    yield show
    for each in mounted:
        subprocess.run([str(unmount), str(each)], check=True)  # noqa: S603


@pytest.fixture(scope="session")
def results():
    """A function that adds a section to the file of results, if the environment names one."""
    named = os.environ.get("ANABATCH_FAULT_RESULTS")
    path = Path(named) if named else None
    if path:
        system = f"{platform.system()}, {platform.machine()}"
        path.write_text(_TITLE.format(date=datetime.now(UTC).date(), system=system))

    def add(title, figures):
        if path:
            lines = [f"\n## {title}\n", "| | |", "| --- | ---: |"]
            lines += [f"| {name} | {number} |" for name, number in figures.items()]
            with path.open("a", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")

    return add
