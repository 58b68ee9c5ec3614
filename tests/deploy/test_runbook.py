"""The runbook's commands, run in its order against a small store that meets what it is about."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anabatch.jobs import cli
from cheap import draw_tiny
from typer.main import get_command

from anabatch.store.root import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

RUNBOOK = Path(__file__).parents[2] / "deploy" / "RUNBOOK.md"
TESTS = Path(__file__).parents[1]

CONFIG = """\
store = "{store}"
[[archives]]
name = "lab"
path = "{archive}"
layout = "dated"
pixels_per_reference_pixel = {{ "108x84" = 1.0 }}
[segment]
nucleus_diameter = {nucleus_diameter}
[embed]
landmarks = 12
components = 8
[cluster]
k = 3
components = 4
[keep]
versions = {versions}
days = 0
trash_days = 0
[compute]
scheduler = "sync"
"""

PROGRAM = """\
#!{python}
import sys
sys.path.insert(0, {tests!r})
from cheap import cheap_networks
from anabatch.jobs.cli import main
with cheap_networks():
    main()
"""

HOLDER = """\
import sys, time
from pathlib import Path
from anabatch.store.lock import hold
with hold(Path(sys.argv[1]), run="the-other"):
    print("held", flush=True)
    time.sleep(600)
"""

DATES = ("20240101", "20240102", "20240103")
_LINES = re.MULTILINE | re.DOTALL
PLACE = "{date}/001_SN09001/{number:03}_plate_{number}_2024000{number:02}_1_1_01.jpg"


def blocks() -> list[tuple[str, int, str]]:
    """Return section, place in it, and text of every block that is to be run."""
    text = RUNBOOK.read_text(encoding="utf-8")
    return [
        (section.partition("\n")[0], place, block)
        for section in re.split(r"^## ", text, flags=re.MULTILINE)
        for place, block in enumerate(re.findall(r"^```sh\n(.*?)^```$", section, _LINES))
    ]


def checked(block: str) -> str:
    """Return a block that ends when a command does not end as is said behind it."""
    lines = ["set -eu"]
    for line in block.splitlines():
        command, _, code = line.partition("# exit code ")
        lines.append(f"({command.strip()}) && c=0 || c=$?; [ $c -eq {code} ]" if code else line)
    return "\n".join(lines)


@dataclass
class Laboratory:
    """A store, its archive, and what happens to them between the runbook's commands."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    holder: subprocess.Popen[bytes] | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        program = self.root / "bin" / "anabatch"
        program.parent.mkdir()
        program.write_text(PROGRAM.format(python=sys.executable, tests=str(TESTS)))
        program.chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "CONFIG": str(self.root / "anabatch.toml"),
            "STORE": str(self.store),
            "ARCHIVE": str(self.archive),
            "BACKUP": str(self.root / "backup"),
        }
        for number in range(15):
            draw_tiny(self.image(number), number)
        self.configure()

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def archive(self) -> Path:
        return self.root / "DATA"

    def image(self, number: int) -> Path:
        return self.archive / PLACE.format(date=DATES[number // 5], number=number)

    def configure(self, nucleus_diameter: float = 60.0, versions: int = 30) -> None:
        text = CONFIG.format(
            store=self.store,
            archive=self.archive,
            nucleus_diameter=nucleus_diameter,
            versions=versions,
        )
        (self.root / "anabatch.toml").write_text(text, encoding="utf-8")

    def sh(self, text: str) -> str:
        done = subprocess.run(  # noqa: S603 (the runbook's own commands)
            ["/bin/sh", "-c", text],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.root,
            timeout=300,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def rows(self, table: str) -> int:
        with open_store(self.store) as store:
            return int(store.table(table).to_arrow().num_rows)

    def images(self) -> int:
        return self.rows("acquisitions")

    def cells(self) -> int:
        return self.rows("cells")

    # what happens before a section's first, second, ... block

    def first_night(self) -> None:
        self.sh('anabatch run -c "$CONFIG"')

    def fills(self) -> None:
        (self.store / "parts" / "cells").mkdir(parents=True, exist_ok=True)
        draw_tiny(self.archive / "20240104/001_SN09001/100_plate_100_202400100_1_1_01.jpg", 100)

    def holds(self) -> None:
        command = [sys.executable, "-c", HOLDER, str(self.store)]
        self.holder = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 (our own)
        assert self.holder.stdout
        self.holder.stdout.readline()

    def lets_go(self) -> None:
        assert self.holder
        self.holder.kill()
        self.holder.communicate()
        self.holder = None

    def loses_two_dates(self) -> None:
        for date in DATES[:2]:
            shutil.move(self.archive / date, self.root / date)
        self.facts["images"] = str(self.images())

    def finds_them_again(self) -> None:
        assert self.images() == int(self.facts["images"]) - 10
        for date in DATES[:2]:
            shutil.move(self.root / date, self.archive / date)
        self.sh('anabatch run -c "$CONFIG"')
        assert self.images() == int(self.facts["images"])

    def changes_a_parameter(self) -> None:
        self.finds_them_again()
        self.configure(nucleus_diameter=90.0)

    def has_a_bad_night(self) -> None:
        self.facts["cells"] = str(self.cells())
        self.environment["GOOD"] = str(open_store(self.store).version)
        bad = self.archive / "20240105/001_SN09001/200_plate_200_202400200_1_1_01.jpg"
        draw_tiny(bad, 200)
        self.sh('anabatch run -c "$CONFIG"')
        assert self.cells() > int(self.facts["cells"])
        shutil.rmtree(bad.parents[1])

    def is_damaged(self) -> None:
        assert self.cells() == int(self.facts["cells"])
        with open_store(self.store) as store:
            part = max(str(action.part) for action in store.state.stage("cells"))
        table = self.store / part / "cells.parquet"
        content = bytearray(table.read_bytes())
        content[len(content) // 2] ^= 0xFF
        table.write_bytes(content)

    def gets_a_bad_file(self) -> None:
        self.image(0).with_name("300_plate_300_202400300_1_1_01.jpg").write_bytes(b"no image")
        self.sh('anabatch run -c "$CONFIG" || [ $? -eq 3 ]')

    def gets_well(self) -> None:
        for path in self.archive.rglob("300_*.jpg"):
            path.unlink()
        self.sh('anabatch run -c "$CONFIG"')

    def is_lost(self) -> None:
        self.facts["cells"] = str(self.cells())
        shutil.rmtree(self.store / "ledger")

    def is_upgraded(self) -> None:
        assert self.cells() == int(self.facts["cells"])


HAPPENS: dict[tuple[str, int], Callable[[Laboratory], None]] = {
    ("Every morning", 0): Laboratory.first_night,
    ("The disk is full", 0): Laboratory.fills,
    ("The store is held", 0): Laboratory.holds,
    ("The store is held", 1): Laboratory.lets_go,
    ("Mass deletion", 0): Laboratory.loses_two_dates,
    ("Too much to compute again", 0): Laboratory.changes_a_parameter,
    ("Roll a night back", 0): Laboratory.has_a_bad_night,
    ("Damage", 0): Laboratory.is_damaged,
    ("Quarantine", 0): Laboratory.gets_a_bad_file,
    ("Backup", 0): Laboratory.gets_well,
    ("Restore", 0): Laboratory.is_lost,
    ("Upgrade", 0): Laboratory.is_upgraded,
}


@pytest.fixture
def laboratory(tmp_path):
    made = Laboratory(tmp_path)
    yield made
    if made.holder:
        made.holder.kill()
        made.holder.communicate()


@pytest.mark.slow
def test_every_command_of_the_runbook_does_what_it_says(laboratory):
    done = set()
    for section, place, block in blocks():
        happens = HAPPENS.get((section, place))
        if happens:
            happens(laboratory)
            done.add((section, place))
        try:
            said = laboratory.sh(checked(block))
        except AssertionError as error:
            error.add_note(f"in the section {section!r}")
            raise
        assert "Traceback" not in said
    assert done == HAPPENS.keys()


def test_every_command_of_the_runbook_is_one():
    """Whether each can be understood at all; the test above runs them."""
    lines = [line.partition("#")[0] for _, _, block in blocks() for line in block.splitlines()]
    asked = [shlex.split(line)[1:] for line in lines if line.startswith("anabatch ")]
    assert len(asked) > 20
    for arguments in asked:
        command: Any = get_command(cli.app)
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        given = [argument.replace("$GOOD", "1") for argument in arguments]
        command.make_context("anabatch", given)


def test_every_link_and_file_of_the_runbook_exists():
    text = RUNBOOK.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= anchors
    for path in re.findall(r"deploy/[\w./@-]+", text):
        assert (RUNBOOK.parents[1] / path.rstrip(".")).exists(), path


def test_a_block_fails_where_a_command_does_not_end_as_is_said(tmp_path):
    def ends(block):
        return subprocess.run(  # noqa: S603 (a line of this test)
            ["/bin/sh", "-c", checked(block)], check=False
        ).returncode

    assert ends("exit 4   # exit code 4") == 0
    assert ends("exit 5   # exit code 4") == 1
    assert ends("true   # exit code 4") == 1
    assert ends("false\ntrue") == 1
