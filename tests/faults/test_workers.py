"""Deaths of workers, of the scheduler and of the client of a Dask cluster of processes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from breaking import FAULTS
from contents import whole_contents
from tiny import add_images, grey_levels, tiny_config, write_toml

import anabatch
from anabatch.store.live import SEGMENT

pytestmark = pytest.mark.cluster

QUARANTINE, INTERRUPTED = 3, 130
_COMMAND = """
from unittest.mock import patch
from anabatch.jobs import report
from anabatch.jobs.cli import main

if __name__ == "__main__":
    with patch.object(report, "run"):
        main()
"""


@pytest.fixture
def archive(tmp_path):
    add_images(tmp_path / "DATA", range(9))
    return tmp_path / "DATA"


@pytest.fixture(scope="module")
def expected(driver, tmp_path_factory):
    """What a run in one process makes of the archive."""
    folder = tmp_path_factory.mktemp("expected")
    add_images(folder / "DATA", range(9))
    config = tiny_config(folder / "DATA", folder / "store")
    assert driver.run(config).code == 0
    return whole_contents(anabatch.open_store(config.store))


class Client:
    """A run of the command line over a cluster."""

    def __init__(self, config, folder, scheduler, deadly=()):
        script = folder / "command.py"
        script.write_text(_COMMAND)
        path = write_toml(config, folder / "anabatch.toml")
        arguments = ["run", "-c", str(path), "--scheduler", scheduler, "--log-format", "json"]
        if scheduler == "local":
            arguments += ["--workers", "2"]
        self.output = folder / "output"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(  # noqa: S603 (our own code)
                [sys.executable, str(script), *arguments],
                env=environment(deadly),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def events(self):
        found = [line for line in self.output.read_text().splitlines() if line.startswith("{")]
        return [json.loads(line) for line in found if line.endswith("}")]

    def wait_for(self, event, **values):
        end = time.monotonic() + 120
        expected = {"event": event, **values}
        while not any(expected.items() <= told.items() for told in self.events()):
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < end, self.output.read_text()
            time.sleep(0.01)

    def wait(self):
        """Wait for the end, and for that of all processes that it started."""
        code = self.process.wait(600)
        end = time.monotonic() + 60
        while members(self.process.pid):
            assert time.monotonic() < end, f"left behind: {members(self.process.pid)}"
            time.sleep(0.1)
        return code

    def kill_a_worker(self):
        """Kill a worker as soon as there is one."""
        end = time.monotonic() + 60
        while not self.workers():
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(self.workers()[0], signal.SIGKILL)

    def workers(self):
        """Return the processes that are Dask workers of a local cluster."""
        return [pid for pid in members(self.process.pid) if b"spawn_main" in command_line(pid)]


def environment(deadly=()):
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(FAULTS), str(FAULTS.parent)]),
        "DASK_DISTRIBUTED__WORKER__PRELOAD": "cheap_worker",
        "ANABATCH_DEADLY": ",".join(map(str, deadly)),
        "OMP_NUM_THREADS": "1",
    }


def members(session):
    """Return the living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            if fields[3] == str(session) and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def expect_store(config, expected):
    found = whole_contents(anabatch.open_store(config.store))
    for name, values in expected.items():
        assert found[name] == values, name


def test_an_image_that_kills_its_workers_is_alone_in_quarantine(archive, expected, tmp_path):
    guilty = sorted(archive.rglob("*.jpg"))[4]
    config = tiny_config(archive, tmp_path / "store", compute={"retries": 1})
    client = Client(config, tmp_path, "local", [grey_levels(guilty)])
    assert client.wait() == QUARANTINE, client.output.read_text()
    store = anabatch.open_store(config.store)
    (failure,) = store.state.failures()
    assert failure.stage == SEGMENT
    assert str(failure.reason).startswith("WorkerError: the workers that computed")
    cells = store.table("cells").to_pandas()
    assert len(cells) == 8 * 6
    assert set(cells.cell_id) < set(expected["crops"])
    found = whole_contents(store)
    for name in ("crops", "masks", "features"):
        assert found[name] == {cell: expected[name][cell] for cell in cells.cell_id}, name


def test_workers_that_are_killed_cost_no_result(archive, expected, tmp_path):
    config = tiny_config(archive, tmp_path / "store", compute={"retries": 3})
    client = Client(config, tmp_path, "local")
    for job in ("scan", "segment"):
        client.wait_for("start", job=job)
        client.kill_a_worker()
    assert client.wait() == 0, client.output.read_text()
    expect_store(config, expected)


def test_a_client_that_is_killed_leaves_no_process_and_no_harm(archive, expected, tmp_path):
    config = tiny_config(archive, tmp_path / "store")
    client = Client(config, tmp_path, "local")
    client.wait_for("start", job="segment")
    client.process.kill()
    assert client.wait() == -signal.SIGKILL
    again = Client(config, tmp_path, "local")
    assert again.wait() == 0, again.output.read_text()
    expect_store(config, expected)


def test_a_cluster_ends_with_the_run_that_is_asked_to_end(archive, expected, tmp_path):
    config = tiny_config(archive, tmp_path / "store")
    client = Client(config, tmp_path, "local")
    client.wait_for("start", job="segment")
    client.process.terminate()
    assert client.wait() == INTERRUPTED, client.output.read_text()
    again = Client(config, tmp_path, "local")
    assert again.wait() == 0, again.output.read_text()
    expect_store(config, expected)


@contextmanager
def remote_cluster(folder):
    """Yield a scheduler's process and address; one worker belongs to it."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    scheduler_file = ["--scheduler-file", str(file)]
    processes = []

    def start(program, *arguments):
        process = subprocess.Popen(  # noqa: S603 (our own code)
            [sys.executable, "-m", f"distributed.cli.{program}", *scheduler_file, *arguments],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        processes.append(process)
        return process

    try:
        local = ("--host", "127.0.0.1")
        scheduler = start("dask_scheduler", *local, "--port", "0", "--no-dashboard")
        start("dask_worker", *local, "--no-nanny", "--nthreads", "1", "--no-dashboard")
        end = time.monotonic() + 60
        while not (file.exists() and file.read_text().strip().endswith("}")):
            assert time.monotonic() < end
            time.sleep(0.05)
        yield scheduler, json.loads(file.read_text())["address"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_scheduler_that_is_killed_ends_the_run_and_loses_nothing(archive, expected, tmp_path):
    config = tiny_config(archive, tmp_path / "store")
    with remote_cluster(tmp_path) as (scheduler, address):
        client = Client(config, tmp_path, address)
        client.wait_for("start", job="segment")
        scheduler.kill()
        assert client.wait() == 1, client.output.read_text()
        assert "the Dask scheduler is gone" in client.output.read_text()
    with remote_cluster(tmp_path) as (_, address):
        again = Client(config, tmp_path, address)
        assert again.wait() == 0, again.output.read_text()
    expect_store(config, expected)
