"""The jobs' declarations as data: no cycles, and every input is somebody's output."""

import graphlib

from anabatch.jobs.run import JOBS

from anabatch.config import Config
from anabatch.schema import TABLES

FROM_OUTSIDE = {"archive", "exports"}
ARRAYS_AND_FILES = {"labels", "features", "embedding", "models", "report"}


def test_jobs_are_acyclic_and_run_in_an_order_that_their_inputs_allow():
    graph = {job.name: {w.name for w in JOBS if set(w.writes) & set(job.reads)} for job in JOBS}
    order = [job.name for job in JOBS]
    graphlib.TopologicalSorter(graph).prepare()
    for name, needed in graph.items():
        assert all(order.index(other) < order.index(name) for other in needed), name


def test_every_input_has_a_writer():
    written = {kind for job in JOBS for kind in job.writes}
    for job in JOBS:
        assert set(job.reads) <= written | FROM_OUTSIDE, job.name


def test_every_written_table_has_a_schema():
    written = {kind for job in JOBS for kind in job.writes}
    assert written - ARRAYS_AND_FILES == set(TABLES) - {"ledger"}


def test_parameters_are_sections_of_the_configuration():
    for job in JOBS:
        assert set(job.parameters) <= set(Config.model_fields), job.name
