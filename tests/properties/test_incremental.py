"""After whatever may happen to an archive and to runs over it, a store is as one made from scratch."""

import datetime as dt
import errno
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from anabatch.jobs import annotate, cluster, embed, featurize, scan, segment
from anabatch.jobs import report as report_job
from anabatch.jobs import run as whole_run
from anabatch.jobs.generations import usable
from anabatch.jobs.looking import looking
from anabatch.jobs.plan import survey
from cheap import cheap_networks
from contents import (
    array_digests,
    by_cell,
    clusters_by_cell,
    described_cells,
    fingerprint,
    whole_contents,
)
from edited import BROKEN, EditedArchive, picture, with_comment
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from running import make_config, run_jobs

import anabatch
from anabatch.clustering import BatchKMeans
from anabatch.config import KeepConfig
from anabatch.embedding import NystroemKernelPCA
from anabatch.errors import MissingRowsError
from anabatch.stages.population import read_model
from anabatch.store.live import MODEL
from anabatch.store.retention import collect
from anabatch.store.root import hold_store

DATES = ("20211213", "20220103")
CLASSES = ("Centromere", "Controle Neg", "no such class")
PATTERNS = ("[15] Mouchete", "[16] Nucleolaire+[24] Type SSA", "[7] Speckled", "[77] What", "")
FREE = {"vanished_share": 1.0, "recompute_share": 1.0}

PARAMETERS = {
    ("segment", "cell_diameter"): (145.0, 100.0),
    ("segment", "nucleus_diameter"): (60.0, 20.0),
    ("featurize", "preprocessing"): ("unit", "keras"),
    ("embed", "components"): (16, 8),
    ("embed", "refit_share"): (0.2, 5.0),
    ("cluster", "k"): (3, 2),
    ("scan", "max_pixels"): (400_000_000, 5_000),
    ("scan", "rehash_share"): (0.0, 0.01),
    ("compute", "batch_megapixels"): (40.0, 0.02),
}
"""Usual and other values. With the other one a batch holds two images."""

# Rounding of single floats, which differs with the rows that are embedded at once, grows by the root of
# the eigenvalues' range, a thousand.
CLOSE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-3}

dates = st.sampled_from(DATES)
numbers = st.integers(0, 2)
pictures = st.integers(0, 9).map(picture)
choices = st.integers(0, 99)
exported = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(PATTERNS)), max_size=4)

# Half of all runs are whole.
jobs = st.one_of(
    st.just(whole_run), st.sampled_from((scan, annotate, segment, featurize, embed, cluster))
)
moments = st.integers(1, 250)


def act(name: str, /, **arguments: Any) -> Any:
    """Return a strategy for a call of one of the machine's methods."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


edits = st.lists(
    st.one_of(
        act("put_image", date=dates, number=numbers, data=pictures),
        act("put_image", date=dates, number=numbers, data=st.sampled_from(list(BROKEN.values()))),
        act("put_image_of_a_class", name=st.sampled_from(CLASSES), number=numbers, data=pictures),
        act("save_again", choice=choices, text=st.sampled_from("abc")),
        act("put_secretly", choice=choices, data=pictures),
        act("touch", choice=choices),
        act("rename", choice=choices, date=dates, number=numbers),
        act("remove_image", choice=choices),
        act("remove_date", date=dates),
        act(
            "put_export",
            date=dates,
            hour=st.sampled_from((10, 11)),
            kind=st.sampled_from(("SCREEN", "NEGATIV")),
            rows=exported,
        ),
        act("cut_export", choice=choices, lines=st.integers(0, 3)),
        act("remove_export", choice=choices),
        act("set_parameter", name=st.sampled_from(list(PARAMETERS)), which=st.sampled_from((0, 1))),
        act("set_pixels", pixels=st.sampled_from((1.0, 2.0))),
    ),
    min_size=1,
    max_size=4,
)

# What is often drawn stands twice; first stands what costs least, and is drawn where nothing speaks
# for another.
works = st.one_of(
    act("run_a_job", job=jobs),
    act("run_a_job", job=jobs),
    act("whole_night"),
    act("whole_night"),
    act("run_of_one_date", job=st.sampled_from((whole_run, scan, segment)), date=dates),
    act("run_over_one_archive"),
    act("segment_with_crops_of_another_size"),
    act("kill", job=jobs, syncs=moments),
    act("kill", job=jobs, syncs=moments),
    act("interrupt", job=jobs, syncs=moments),
    act("fill_the_disk", job=jobs, syncs=moments),
    act("roll_back", choice=choices),
    act("fold"),
    act("take_away_what_nobody_needs", versions=st.integers(1, 4)),
)


class Killed(BaseException):
    """The process is gone."""


class Syncs:
    """Stands for `os.fsync`, and at one of its calls lets something happen."""

    def __init__(self):
        self.left = 0
        self.strike = lambda: None

    def __call__(self, _):
        self.left -= 1
        if self.left == 0:
            self.strike()


class Scratch:
    """A job: all that hangs on no generation."""

    @staticmethod
    def run(context):
        context.commits = False
        scan.run(context)
        annotate.run(context)
        segment.run(context, with_features=True)


class Nights(RuleBasedStateMachine):
    """An archive, and a store over it.

    Of every version of the store, `seen` holds what it showed first; `described` holds of every
    cell the digest of its rows.
    """

    def __init__(self):
        super().__init__()
        self.stack = ExitStack()
        self.syncs = Syncs()
        self.folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.stack.enter_context(cheap_networks())
        self.stack.enter_context(patch("os.fsync", self.syncs))
        self.stack.enter_context(patch.object(report_job, "build_report", _write_little))
        self.archive = EditedArchive(self.folder / "DATA")
        self.classes = EditedArchive(self.folder / "CLASSES")
        self.parameters = {key: values[0] for key, values in PARAMETERS.items()}
        self.two_archives = False
        self.pixels = 1.0
        self.seen = {}
        self.described = {}

    def teardown(self):
        try:
            self.whole_night()
            for version, before in self.seen.items():
                assert self.fingerprint(at=version) == before, f"version {version}"
        finally:
            self.stack.close()

    # what the archive goes through

    @initialize(first=st.lists(st.tuples(dates, numbers, pictures), min_size=2, max_size=6))
    def begin(self, first):
        for date, number, data in first:
            self.put_image(date, number, data)
        self.put_export(DATES[0], 10, "SCREEN", [(number, PATTERNS[0]) for number in range(3)])
        self.run()

    @rule(edits=edits, work=works)
    def day(self, edits, work):
        for name, arguments in (*edits, work):
            getattr(self, name)(**arguments)

    def put_image(self, date, number, data):
        self.archive.put(self.archive.image(date, number), data)

    def put_image_of_a_class(self, name, number, data):
        self.two_archives = True
        self.classes.put(self.classes.root / name / f"{number}.jpg", data)

    def save_again(self, choice, text):
        for path in chosen(self.images(), choice):
            self.archive.put(path, with_comment(path.read_bytes(), text))

    def put_secretly(self, choice, data):
        for path in chosen(self.images(), choice):
            self.archive.put_secretly(path, data)

    def touch(self, choice):
        for path in chosen(self.images(), choice):
            self.archive.touch(path)

    def rename(self, choice, date, number):
        for path in chosen(self.archive.images(), choice):
            self.archive.rename(path, self.archive.image(date, number))

    def remove_image(self, choice):
        for path in chosen(self.images(), choice):
            path.unlink()

    def remove_date(self, date):
        self.archive.remove_date(date)

    def put_export(self, date, hour, kind, rows):
        self.archive.put_export(date, hour, kind, rows)

    def cut_export(self, choice, lines):
        for path in chosen(self.archive.exports(), choice):
            kept = path.read_bytes().splitlines(keepends=True)[:-lines] if lines else []
            self.archive.put(path, b"".join(kept))

    def remove_export(self, choice):
        for path in chosen(self.archive.exports(), choice):
            path.unlink()

    def set_parameter(self, name, which):
        self.parameters[name] = PARAMETERS[name][which]

    def set_pixels(self, pixels):
        self.pixels = pixels

    # what the store goes through

    def run_a_job(self, job):
        self.run(job)

    def run_of_one_date(self, job, date):
        self.run(job, only_date=dt.datetime.strptime(date, "%Y%m%d").replace(tzinfo=dt.UTC).date())

    def run_over_one_archive(self):
        self.run(config=self.config(two_archives=False))

    def segment_with_crops_of_another_size(self):
        self.run(segment, config=self.config(cells={"crop": 64}))

    def kill(self, job, syncs):
        """Find, after a run, the disk as it was at some moment of it."""
        store, image = self.folder / "store", self.folder / "image of the disk"

        def strike():
            shutil.copytree(store, image)
            raise Killed

        self.syncs.left, self.syncs.strike = syncs, strike
        with suppress(Killed):
            self.run(job)
        self.syncs.left = 0
        if image.exists():
            shutil.rmtree(store)
            image.rename(store)

    def interrupt(self, job, syncs):
        self.fail(job, syncs, KeyboardInterrupt())

    def fill_the_disk(self, job, syncs):
        self.fail(job, syncs, OSError(errno.ENOSPC, "No space left on device"))

    def fail(self, job, syncs, error):
        def strike():
            raise error

        self.syncs.left, self.syncs.strike = syncs, strike
        with suppress(type(error)):
            self.run(job)
        self.syncs.left = 0

    def roll_back(self, choice):
        version = sorted(self.seen)[choice % len(self.seen)]
        with hold_store(self.folder / "store", run="rollback", create=False) as store:
            store._ledger.restore(version, run="rollback")
        assert self.fingerprint() == self.seen[version]

    def fold(self):
        before = self.fingerprint()
        with hold_store(self.folder / "store", run="fold", create=False) as store:
            store._ledger.fold(run="fold")
        assert self.fingerprint() == before

    def take_away_what_nobody_needs(self, versions):
        keep = KeepConfig(versions=versions, days=0, trash_days=0)
        later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
        root = self.folder / "store"
        with hold_store(root, run="gc", create=False):
            oldest = collect(root, keep, later).oldest
        self.seen = {version: seen for version, seen in self.seen.items() if version >= oldest}

    def whole_night(self):
        events = self.run(whole_run)
        too_few = {event["job"] for event in events if event["event"] == "too_few"}
        self.compare_with_scratch(too_few)
        self.see_that_nothing_is_left(too_few)

    # what holds

    @invariant()
    def every_version_can_be_read_and_describes_a_cell_as_all_others_do(self):
        if not (self.folder / "store" / "ledger").exists():
            return
        newest = self.store().version
        self.seen = {version: seen for version, seen in self.seen.items() if version <= newest}
        for version in range(max(self.seen, default=-1) + 1, newest + 1):
            store = self.store(at=version)
            digests = array_digests(store)
            self.seen[version] = fingerprint(store, digests)
            for key, digest in described_cells(store, digests):
                assert self.described.setdefault(key, digest) == digest

    def compare_with_scratch(self, too_few):
        config = self.config(store=self.folder / "scratch")
        run_jobs(config, Scratch)
        scratch, store = anabatch.open_store(config.store), self.store()
        expected, found = whole_contents(scratch), whole_contents(store)
        for name, contents in expected.items():
            assert found[name] == contents, name
        self.compare_population(scratch, store, too_few)
        shutil.rmtree(config.store)

    def compare_population(self, scratch, store, too_few):
        """Compare with what the store's own generations make of features made from scratch."""
        features = by_cell(scratch, "features")
        with looking(self.config()) as context:
            kpca = usable(context, embed.model_kind(context))
            kmeans = usable(context, cluster.model_kind(context, kpca)) if kpca else None
        if kpca is None:
            assert "embed" in too_few or not features
            return
        found = by_cell(store, "embedding")
        if not features:
            return
        model = NystroemKernelPCA.from_arrays(read_model(store.root, str(kpca.part)))
        embedding = model.transform(np.stack([features[cell] for cell in found]))
        np.testing.assert_allclose(list(found.values()), embedding, **CLOSE)
        if kmeans is None:
            assert "cluster" in too_few
            return
        centers = BatchKMeans.from_arrays(read_model(store.root, str(kmeans.part)))
        _, nearest = centers.distances(embedding[:, : self.config().cluster.components])
        distances = [distance for _, distance in clusters_by_cell(store).values()]
        np.testing.assert_allclose(distances, nearest, **CLOSE)

    def see_that_nothing_is_left(self, too_few):
        version = self.store().version
        self.run(whole_run)
        assert self.store().version == version
        # only now: a file that was written to right before it was read is read once more
        with looking(self.config()) as context:
            found = survey(context)
        # cells that are too much alike are tried again every night
        left = [item for item in found.items if item.stage != MODEL or not too_few]
        assert (left, found.gone, found.adopted) == ([], 0, 0)

    # how

    def run(self, job=whole_run, *, config=None, **options):
        """Run a job, and return what it told."""
        try:
            return run_jobs(config or self.config(), job, accept=True, **options)
        except MissingRowsError:  # what is not whole says what comes before it
            if job is whole_run and config is None and not options:
                raise
            return []

    def config(self, *, store=None, two_archives=None, **sections):
        values: dict[str, Any] = {"guards": FREE}
        for (section, name), value in self.parameters.items():
            values.setdefault(section, {})[name] = value
        both = self.two_archives if two_archives is None else two_archives
        one: dict[str, Any] = {
            "name": "sim",
            "path": str(self.archive.root),
            "layout": "dated",
            "pixels_per_reference_pixel": {"108x84": self.pixels},
        }
        other = {"name": "classes", "path": str(self.classes.root), "layout": "by-class"}
        values["archives"] = [one, other] if both else [one]
        return make_config(self.archive.root, store or self.folder / "store", **values | sections)

    def fingerprint(self, at=None):
        store = self.store(at)
        return fingerprint(store, array_digests(store))

    def store(self, at=None):
        return anabatch.open_store(self.folder / "store", at=at)

    def images(self):
        return self.archive.images() + self.classes.images()


def chosen(paths, choice):
    """Return one of some paths; none of none."""
    return [paths[choice % len(paths)]] if paths else []


def _write_little(_store, out, **_):
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("a report", encoding="utf-8")
    return out


QUICK = settings(
    max_examples=5,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class ManyNights(Nights):
    """More of them, and longer."""


Nights.TestCase.settings = QUICK
ManyNights.TestCase.settings = settings(
    QUICK, max_examples=150, stateful_step_count=20, derandomize=False
)
TestNights = Nights.TestCase
TestManyNights = pytest.mark.slow(ManyNights.TestCase)
