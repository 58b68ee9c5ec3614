"""`--only-date`: what it restricts, and that it is offered nowhere else."""

import datetime as dt
from collections import Counter

import pytest
import tiny
import typer
from anabatch.jobs import annotate, cli, scan, segment
from cheap import cheap_networks
from running import run_jobs
from typer.core import TyperGroup
from typer.testing import CliRunner

import anabatch
from anabatch.store.live import ANNOTATE, CELLS, EMBED, FEATURIZE, SCAN, SEGMENT

FIRST, SECOND = dt.date(2021, 3, 1), dt.date(2021, 3, 2)


@pytest.fixture(autouse=True)
def _cheap():
    with cheap_networks():
        yield


@pytest.fixture
def config(tmp_path):
    """Four images of two dates."""
    archive = tmp_path / "DATA"
    tiny.add_images(archive, range(6))
    for path in archive.glob("20210303/*/*.jpg"):
        path.unlink()
    return tiny.tiny_config(archive, tmp_path / "store")


def dates(config, stage):
    return Counter(a.date for a in anabatch.open_store(config.store).state.stage(stage))


def test_a_run_finds_cells_of_one_date_alone(config):
    run_jobs(config, tiny, only_date=SECOND)
    for stage in (SCAN, SEGMENT, CELLS):
        assert dates(config, stage) == {SECOND: 2}
    assert dates(config, ANNOTATE) == {SECOND: 1}


@pytest.mark.parametrize(("job", "stage", "each"), [(annotate, ANNOTATE, 1), (segment, SEGMENT, 2)])
def test_a_job_leaves_other_dates_for_later(config, job, stage, each):
    run_jobs(config, scan)
    run_jobs(config, job, only_date=FIRST)
    assert dates(config, stage) == {FIRST: each}
    run_jobs(config, job)
    assert dates(config, stage) == {FIRST: each, SECOND: each}


def test_a_run_describes_and_embeds_all_cells_all_the_same(config):
    run_jobs(config, scan)
    run_jobs(config, segment, only_date=FIRST)  # and nothing has described these
    run_jobs(config, tiny, only_date=SECOND)
    for stage in (FEATURIZE, EMBED):
        assert dates(config, stage).keys() == {FIRST, SECOND}


def test_it_is_offered_where_it_restricts():
    group = typer.main.get_command(cli.app)
    assert isinstance(group, TyperGroup)
    offered = {
        name
        for name, command in group.commands.items()
        if any("--only-date" in option.opts for option in command.params)
    }
    assert offered == {"run", "scan", "annotate", "segment", "contact-sheet"}


@pytest.mark.parametrize("command", ["featurize", "embed", "report"])
def test_it_is_refused_where_it_restricts_nothing(command):
    done = CliRunner().invoke(cli.app, [command, "--store", "s", "--only-date", "2021-03-01"])
    assert done.exit_code == 2
    assert "No such option" in done.output
