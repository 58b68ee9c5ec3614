"""What the units and the cron wrapper promise; systemd itself checks them where it is installed."""

import configparser
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from anabatch.jobs.exit_codes import (
    BUG,
    CONFIGURATION,
    DISK,
    DONE,
    GUARD,
    INTERRUPTED,
    LOCKED,
    QUARANTINE,
    USAGE,
)

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = ("anabatch.service", "anabatch.timer", "anabatch-failure@.service")


class Repeated(dict):  # type: ignore[type-arg]
    """Keeps all values of a key that a unit gives several times."""

    def __setitem__(self, key, value):
        if key in self and isinstance(value, list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def unit(name):
    parser = configparser.RawConfigParser(
        strict=False, dict_type=Repeated, delimiters=("=",), comment_prefixes=("#",)
    )
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "systemd" / name, encoding="utf-8")
    return parser


def numbers(text):
    return {int(number) for number in text.split()}


def test_the_archive_cannot_be_written_and_the_store_can():
    service = unit("anabatch.service")["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["ReadOnlyPaths"].removeprefix("-") == "/archive"
    assert service["ReadWritePaths"] == "/srv/anabatch/store"
    for name in ("PrivateTmp", "NoNewPrivileges", "ProtectHome", "RestrictSUIDSGID"):
        assert service[name] == "yes", name
    assert service["CapabilityBoundingSet"] == ""
    assert service["MemoryMax"]
    assert service["User"] == "anabatch"


def test_every_exit_code_has_its_place():
    service = unit("anabatch.service")["Service"]
    success = {DONE} | numbers(service["SuccessExitStatus"])
    told = numbers(service["RestartPreventExitStatus"])
    assert success == {DONE, QUARANTINE, INTERRUPTED}
    assert told == {BUG, USAGE, GUARD, DISK, CONFIGURATION}
    # what is neither is tried again
    every = {DONE, BUG, USAGE, QUARANTINE, GUARD, DISK, LOCKED, CONFIGURATION, INTERRUPTED}
    assert every - success - told == {LOCKED}
    assert service["Restart"] == "on-failure"


def test_a_failure_is_told_and_a_missed_night_made_up_for():
    service = unit("anabatch.service")
    assert service["Unit"]["OnFailure"] == "anabatch-failure@%n.service"
    assert unit("anabatch-failure@.service")["Service"]["ExecStart"].endswith("anabatch-failure %i")
    timer = unit("anabatch.timer")
    assert timer["Timer"]["Persistent"] == "true"
    assert timer["Timer"]["RandomizedDelaySec"]
    assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_units(tmp_path):
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
        for program in ("anabatch-failure", "anabatch"):  # what is not installed here
            text = text.replace(f"/opt/anabatch/bin/{program}", shutil.which("true") or "")
        (tmp_path / name).write_text(text, encoding="utf-8")
    instance = tmp_path / "anabatch-failure@x.service"
    (tmp_path / "anabatch-failure@.service").rename(instance)
    paths = [tmp_path / "anabatch.service", tmp_path / "anabatch.timer", instance]
    done = run("systemd-analyze", "verify", "--man=no", *paths)
    assert done.returncode == 0, done.stderr
    # about other units of this machine it may complain as it likes
    assert "anabatch" not in done.stderr, done.stderr


def run(program, *arguments, **variables):
    found = shutil.which(program, path=variables.get("PATH"))
    assert found
    return subprocess.run(  # noqa: S603 (our own scripts)
        [found, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )


@pytest.fixture
def stub(tmp_path):
    """Makes programs that write down how they were called, and end as they are told."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(name, *codes):
        ends = "\n".join(f"[ $n -eq {i} ] && exit {code}" for i, code in enumerate(codes, 1))
        script = f"""#!/bin/sh
echo "$@" >> {tmp_path}/{name}.calls
[ {name} = sendmail ] && cat > {tmp_path}/mail
echo "output of {name}"
n=$(wc -l < {tmp_path}/{name}.calls)
{ends}
exit 0
"""
        path = folder / name
        path.write_text(script, encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    make.path = f"{folder}:{os.environ['PATH']}"  # type: ignore[attr-defined]
    make.calls = lambda name: (  # type: ignore[attr-defined]
        (tmp_path / f"{name}.calls").read_text(encoding="utf-8").splitlines()
    )
    return make


def nightly(stub, tmp_path, **variables):
    script = DEPLOY / "cron" / "anabatch-nightly"
    return run(script, "c.toml", tmp_path, PATH=stub.path, ANABATCH_WAIT="0", **variables)


@pytest.mark.parametrize("code", [DONE, QUARANTINE])
def test_cron_is_silent_when_all_is_well(stub, tmp_path, code):
    stub("anabatch", code)
    done = nightly(stub, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stub.calls("anabatch") == ["run -c c.toml --log-format json"]
    (log,) = tmp_path.glob("anabatch-*.jsonl")
    assert log.read_text(encoding="utf-8") == "output of anabatch\n"


@pytest.mark.parametrize("code", [BUG, GUARD, DISK, CONFIGURATION])
def test_cron_mails_what_a_person_has_to_look_at(stub, tmp_path, code):
    stub("anabatch", code)
    done = nightly(stub, tmp_path)
    assert done.returncode == code
    assert f"ended with {code}" in done.stdout
    assert "output of anabatch" in done.stdout
    assert len(stub.calls("anabatch")) == 1


def test_cron_waits_for_a_store_that_is_held_and_not_for_ever(stub, tmp_path):
    stub("anabatch", LOCKED, LOCKED, DONE)
    assert nightly(stub, tmp_path).returncode == 0
    assert len(stub.calls("anabatch")) == 3
    stub("anabatch", *[LOCKED] * 9)
    done = nightly(stub, tmp_path, ANABATCH_TRIES="2")
    assert done.returncode == LOCKED
    assert len(stub.calls("anabatch")) == 5


def test_the_crontab_names_the_wrapper_with_its_arguments():
    lines = (DEPLOY / "cron" / "anabatch.cron").read_text(encoding="utf-8").splitlines()
    (entry,) = [line for line in lines if line[:1].isdigit()]
    *times, user, program, _, _ = entry.split()
    assert len(times) == 5
    assert (user, program) == ("anabatch", "anabatch-nightly")
    assert os.access(DEPLOY / "cron" / program, os.X_OK)


@pytest.mark.parametrize("mail_to", ["", "lab@example.org"])
def test_a_failure_goes_to_the_log_and_to_whoever_is_named(stub, tmp_path, mail_to):
    for name in ("journalctl", "logger", "sendmail"):
        stub(name)
    script = DEPLOY / "systemd" / "anabatch-failure"
    done = run(script, "anabatch.service", PATH=stub.path, MAILTO=mail_to)
    assert done.returncode == 0, done.stderr
    assert "anabatch.service has failed" in stub.calls("logger")[0]
    mail = tmp_path / "mail"
    assert mail.exists() is bool(mail_to)
    if mail_to:
        text = mail.read_text(encoding="utf-8")
        assert text.startswith(f"To: {mail_to}\nSubject: anabatch.service has failed")
        assert "output of journalctl" in text
