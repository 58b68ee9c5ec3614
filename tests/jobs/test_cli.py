"""The command line, as a process: what it prints, and how it ends."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from anabatch.jobs import cli, cluster, embed
from anabatch.jobs.exit_codes import DISK
from typer.testing import CliRunner

from anabatch.errors import PlaceError, StoreNotFoundError
from anabatch.simulate.archive import simulate_archive
from anabatch.store.live import SCAN
from anabatch.store.root import create_store, open_store

ANABATCH = Path(sys.executable).with_name("anabatch")

HOLDER = """
import pathlib, sys, time
from anabatch.store.lock import hold
with hold(pathlib.Path(sys.argv[1]), run="the first"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def in_process(monkeypatch):
    """Runs commands in this process, whose threads stay as they are."""
    monkeypatch.setattr(cli, "limit_threads_of_this_process", lambda _: None)
    return lambda *arguments: CliRunner().invoke(cli.app, [str(a) for a in arguments])


def anabatch(*arguments, **options):
    return subprocess.run(  # noqa: S603 (our own command)
        [ANABATCH, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    simulate_archive(folder, images=3, seed=2, layout="dated", size=(200, 160))
    done = anabatch(
        "scan", "--archive", folder / "DATA", "--store", folder / "store", "--scheduler", "sync"
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_pipe_gets_json_lines(scanned):
    _, done = scanned
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events][:2] == ["listed", "start"]
    assert events[0]["message"].endswith(" (dated): 3 images, 1 export, 2 other files")
    assert {"level", "timestamp", "message"} <= events[0].keys()


def test_a_person_gets_sentences(scanned):
    folder, _ = scanned
    done = anabatch(
        "scan", "--archive", folder / "DATA", "--store", folder / "store", "--log-format", "text"
    )
    assert "nothing to do: store version 1 is up to date" in done.stdout


def test_tables_are_listed(scanned):
    done = anabatch("tables", "--store", scanned[0] / "store")
    assert "acquisitions" in done.stdout
    assert "store version 1" in done.stdout


def test_a_table_is_shown_by_a_condition(scanned, tmp_path):
    store = scanned[0] / "store"
    done = anabatch("show", "acquisitions", "--store", store, "--where", "width = 200")
    assert len(done.stdout.splitlines()) == 4
    out = tmp_path / "two.parquet"
    done = anabatch("show", "acquisitions", "--store", store, "--limit", 2, "--out", out)
    assert done.returncode == 0
    assert pq.read_table(out).num_rows == 2


@pytest.mark.parametrize(
    ("rows", "told"), [(0, "wrote 0 rows to"), (1, "wrote 1 row to"), (2, "wrote 2 rows to")]
)
def test_rows_that_were_written_are_told(scanned, in_process, tmp_path, rows, told):
    store, out = scanned[0] / "store", tmp_path / "x.csv"
    options = ["--store", store, "--limit", rows, "--out", out]
    assert in_process("show", "acquisitions", *options).output.startswith(told)
    assert len(out.read_text().splitlines()) == rows + 1


def test_the_help_of_show_names_all_tables(scanned, in_process, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")  # no word is parted
    wrong = in_process("show", "planets", "--store", scanned[0] / "store")
    tables = str(wrong.exception).partition("The tables are ")[2].rstrip(".").split(", ")
    words = set(re.findall(r"\w+", in_process("show", "--help").output))
    assert len(tables) > 4
    assert words.issuperset(tables)


def test_a_verification_counts_in_whole_words(scanned, in_process):
    told = in_process("verify", "--store", scanned[0] / "store").output
    assert re.match(r"version 1: (1 part|\d+ parts), \d+ files, ", told)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run"], 78, "nor a store was named, and there is no {here}/anabatch.toml. Write one"),
        (["status"], 78, "nor a store was named, and there is no {here}/anabatch.toml. Write one"),
        (["run", "--archive", "{data}"], 78, "there is no {here}/anabatch.toml"),
        (["run", "-c", "nowhere.toml"], 78, "anabatch init"),
        (["run", "--workers", "0"], 2, "Invalid value"),
        (["fly"], 2, "No such command"),
        (["run", "--store", "s", "--layout", "dated"], 2, "--layout says something of --archive"),
        (["run", "--store", "s", "--name", "a"], 2, "--name says something of --archive"),
        (["scan", "--store", "s", "--scheduler", "sync", "--workers", "2"], 2, "not of sync"),
        (["run", "-c", "remote.toml", "--workers", "2"], 2, "not of tcp://host:8786"),
        (["scan", "--store", "s", "--refit"], 2, "No such option"),
        (["tables", "--store", "nowhere"], 78, "there is no store"),
        (["run", "--store", "s", "--archive", "nowhere", "--name", "a"], 78, "Is the disk mounted"),
        (["run", "--store", "s", "--scheduler", "moon"], 78, "compute.scheduler"),
        (["simulate", "out", "--size", "large"], 78, "WIDTHxHEIGHT"),
        (["show", "planets", "--store", "{store}"], 78, "The tables are"),
        (["show", "acquisitions", "--store", "{store}", "--where", "sizee > 1"], 78, "sizee"),
        (["show", "acquisitions", "--store", "{store}", "--out", "a.xls"], 78, ".csv"),
        (
            ["show", "acquisitions", "--store", "{store}", "--out", "no/a.csv"],
            78,
            "no/a.csv cannot",
        ),
        (["show", "acquisitions", "--store", "{store}", "--out", "no/a.parquet"], 78, "Make the"),
        (
            ["show", "acquisitions", "--store", "{store}", "--out", "folder.csv"],
            78,
            "It is a folder",
        ),
        (["init", "no/x.toml"], 78, "no/x.toml cannot be written to"),
        (["init", "remote.toml"], 78, "already there"),
        (["simulate", "remote.toml", "--images", "1"], 78, "remote.toml cannot be written to"),
        (["run", "--store", "remote.toml"], 78, "remote.toml cannot be written to: File exists"),
        (["run", "--store", "remote.toml/s"], 78, "A part of its path is a file"),
        (["run", "--store", "/proc/s"], 78, "/proc/s cannot be written to"),
        (["verify", "--store", "remote.toml"], 78, "there is no store"),
        (["contact-sheet", "{data}", "--out", "remote.toml/x.html"], 78, "remote.toml cannot"),
        (["contact-sheet", "{data}", "--out", "folder.csv"], 78, "It is a folder"),
    ],
)
def test_a_mistake_ends_with_its_code_and_a_remedy(scanned, tmp_path, arguments, code, words):
    store = str(scanned[0] / "store")
    remote = 'store = "s"\n[compute]\nscheduler = "tcp://host:8786"\n'
    (tmp_path / "remote.toml").write_text(remote)
    (tmp_path / "folder.csv").mkdir()
    data = scanned[0] / "DATA"
    done = anabatch(*(a.format(store=store, data=data) for a in arguments), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    # the usage errors are framed and wrapped
    assert words.format(here=tmp_path) in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["layout", "check", "{secret}"], "secret cannot be read: Permission denied. Ask"),
        (["contact-sheet", "{secret}"], "secret cannot be read: Permission denied. Ask"),
        (
            ["contact-sheet", "--store", "{store}", "--archive", "{secret}"],
            "secret cannot be read: Permission denied. Ask",
        ),
        (
            ["plan", "--store", "{store}", "--archive", "{secret}"],
            "secret cannot be read: Permission denied. Ask",
        ),
        (["init", "{secret}/x.toml"], "secret/x.toml cannot be written to: Permission denied"),
        (["simulate", "{secret}/x"], "secret/x cannot be written to: Permission denied"),
        (["scan", "--store", "{secret}/x"], "secret/x cannot be written to: Permission denied"),
        (["verify", "--store", "{secret}/x"], "secret/x cannot be read: Permission denied"),
        (["contact-sheet", "{data}", "--out", "{secret}/x"], "secret/x cannot be written to: Perm"),
        (
            ["show", "acquisitions", "--store", "{store}", "--out", "{secret}/x.csv"],
            "secret/x.csv cannot be written to: Permission denied",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_right_that_is_missing_is_told(
    scanned, in_process, tmp_path, monkeypatch, arguments, words
):
    """Tests may be run by root, whom nothing is denied: the system's calls are scripted."""
    places = {"secret": tmp_path / "secret", "store": scanned[0] / "store"}
    places["data"] = scanned[0] / "DATA"

    def denying(call):
        def deny(path, *arguments, **options):
            named = isinstance(path, str | Path)
            if named and Path(path).is_relative_to(places["secret"]):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return call(path, *arguments, **options)

        return deny

    for module, name in ((os, "stat"), (os, "mkdir"), (io, "open")):
        monkeypatch.setattr(module, name, denying(getattr(module, name)))
    done = in_process(*(word.format(**places) for word in arguments))
    assert isinstance(done.exception, PlaceError), done.exception
    assert words in str(done.exception)


@pytest.fixture
def of_a_laboratory(scanned, tmp_path, monkeypatch):
    """A folder whose anabatch.toml names the store and its archive."""
    folder, _ = scanned
    archive = f'[[archives]]\nname = "{folder.name}"\npath = "{folder / "DATA"}"\n'
    text = f'store = "{folder / "store"}"\n{archive}[compute]\nscheduler = "sync"\n'
    (tmp_path / "anabatch.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["verify"],
        ["tables"],
        ["versions"],
        ["gc", "--dry-run"],
        ["plan"],
        ["explain", "0"],
        ["quarantine", "ls"],
        ["show", "acquisitions"],
        ["scan"],
        ["cluster"],
        ["contact-sheet"],
        ["contact-sheet", "--archive", "{name}"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("of_a_laboratory")
def test_commands_take_the_configuration_of_their_folder(scanned, in_process, command):
    arguments = [word.format(name=scanned[0].name) for word in command]
    here = in_process(*arguments)
    named = in_process(*arguments, "-c", "anabatch.toml")
    assert (here.exit_code, repr(here.exception)) == (named.exit_code, repr(named.exception))
    assert "nor a store was named" not in repr(here.exception)
    assert not isinstance(here.exception, StoreNotFoundError)


@pytest.mark.parametrize("command", ["status", "verify", "plan", "cluster", "contact-sheet"])
@pytest.mark.parametrize("option", ["-c", "--store"])
def test_what_is_named_goes_before_the_configuration_of_the_folder(
    of_a_laboratory, in_process, command, option
):
    done = in_process(command, option, of_a_laboratory / "other")
    assert str(of_a_laboratory / "other") in str(done.exception)


def test_an_archive_of_its_own_has_no_store_in_the_configuration_of_the_folder(
    of_a_laboratory, in_process
):
    done = in_process("scan", "--archive", of_a_laboratory)
    assert "Beside --archive, give -c FILE or --store DIR." in str(done.exception)


def test_init_names_the_file_where_it_has_to_be_named(tmp_path, monkeypatch, in_process):
    monkeypatch.chdir(tmp_path)
    assert in_process("init").output.endswith("then: anabatch run\n")
    assert in_process("init", "own.toml").output.endswith("then: anabatch run -c own.toml\n")


def test_an_ambiguous_layout_is_refused(tmp_path):
    (tmp_path / "pictures").mkdir()
    done = anabatch("scan", "--archive", tmp_path / "pictures", "--store", tmp_path / "store")
    assert done.returncode == 78
    assert "holds no images" in done.stderr


def test_a_bad_image_ends_with_three(tmp_path):
    simulate_archive(tmp_path, images=2, seed=2, layout="dated", size=(200, 160))
    path = min((tmp_path / "DATA").rglob("*.jpg"))
    path.write_bytes(b"")
    done = anabatch(
        "scan", "--archive", tmp_path / "DATA", "--store", tmp_path / "s", "--scheduler", "sync"
    )
    assert done.returncode == 3
    assert "1 item is in quarantine; the report says why" in done.stdout


def test_the_second_run_is_told_who_holds_the_store(scanned):
    store = scanned[0] / "store"
    holder = subprocess.Popen(  # noqa: S603 (our own code)
        [
            sys.executable,
            "-c",
            HOLDER,
            store,
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout
    try:
        holder.stdout.readline()
        done = anabatch("scan", "--archive", scanned[0] / "DATA", "--store", store)
        assert done.returncode == 75
        assert "the first" in done.stderr
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize(
    "job", ["annotate", "segment", "featurize", "embed", "cluster", "report", "tables"]
)
def test_only_run_and_scan_make_a_store(in_process, tmp_path, job):
    done = in_process(job, "--store", tmp_path / "mistyped")
    assert isinstance(done.exception, StoreNotFoundError)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("date", "warned"), [("2199-01-01", True), (None, False)])
def test_a_date_that_no_image_has_is_told_of(scanned, in_process, date, warned):
    folder, _ = scanned
    if date is None:
        (date,) = {a.date for a in open_store(folder / "store").state.stage(SCAN)}
    options = ["--archive", folder / "DATA", "--name", folder.name, "--store", folder / "store"]
    done = in_process("scan", *options, "--scheduler", "sync", "--only-date", date)
    assert done.exit_code == 0, done.exception
    assert ("no image has this date" in done.stdout) == warned


@pytest.mark.parametrize(
    ("number", "place", "words"),
    [
        (errno.ENOSPC, "/store/x", "No space left on device: /store/x. The disk is full"),
        (errno.ENOSPC, "/temporary", "No space left on device: /temporary. Temporary files of"),
        (errno.EROFS, "/store/x", "Read-only file system: /store/x. The disk is read-only"),
        (errno.EIO, "/store/x", "Input/output error: /store/x. The disk is failing"),
    ],
)
def test_an_error_of_the_disk_is_a_sentence(monkeypatch, capsys, number, place, words):
    def fail():
        raise OSError(number, os.strerror(number), place)

    monkeypatch.setattr(tempfile, "tempdir", "/temporary")
    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli.gc, "set_threshold", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == DISK
    told = capsys.readouterr().err
    assert told.startswith(f"anabatch: {words}")
    assert told.count("\n") == 1


@pytest.mark.parametrize("job", [embed, cluster])
@pytest.mark.parametrize("asked", [True, False])
def test_population_jobs_can_be_asked_to_fit_again(in_process, tmp_path, monkeypatch, job, asked):
    create_store(tmp_path)
    calls = []
    monkeypatch.setattr(job, "run", lambda _, **options: calls.append(options))
    options = ["--refit"] * asked
    assert in_process(job.JOB.name, "--store", tmp_path, *options).exit_code == 0
    assert calls == [{"refit": asked} | ({"add_new": False} if job is cluster else {})]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130(tmp_path, number):
    simulate_archive(tmp_path, images=4, seed=2, layout="dated", size=(1388, 1040))
    arguments = ["run", "--archive", tmp_path / "DATA", "--store", tmp_path / "s"]
    process = subprocess.Popen(  # noqa: S603 (our own command)
        [ANABATCH, *arguments, "--scheduler", "sync"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout
    for line in process.stdout:
        if json.loads(line)["event"] == "start":
            break
    time.sleep(0.5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("interrupted; what was committed stays")
    assert "Traceback" not in errors
