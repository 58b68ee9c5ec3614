"""Conditions on several labels at once, against what Python says of sets of labels."""

import re
import tomllib
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import Maker, acquisition_row, annotation_row

from anabatch.schema import to_table
from anabatch.store.actions import Action
from anabatch.store.conditions import alone, parsed
from anabatch.store.each_label import joins_labels
from anabatch.store.live import ANNOTATE
from anabatch.store.selection import select_cells

NAMES = ("a", "ab", "b")
SETS = [set(some) for number in range(4) for some in combinations(NAMES, number)]
CELLS_OF_IMAGE = 2


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An image of every set of labels, of two cells each. Not to be changed."""
    maker = Maker(tmp_path_factory.mktemp("sets") / "store")
    images = [f"i{number}" for number in range(len(SETS))]
    maker.acquisitions([acquisition_row(image) for image in images])
    maker.cells(dict.fromkeys(images, CELLS_OF_IMAGE), 2)
    pairs = [(image, label) for image, held in zip(images, SETS, strict=True) for label in held]
    with maker.part("annotations") as part:
        rows = [annotation_row(image, label) for image, label in pairs]
        part.rows("annotations", to_table("annotations", rows))
        done = Action(ANNOTATE, "u", "k", archive="hard-drive", rows=len(rows), sequence=1)
        maker.store.state.put(part.finish([done]).actions)
    return maker.store


def of_labels(test):
    """Return what a comparison of `label` says of a set: any of them, or null where there are none."""
    return lambda held, _: any(test(label) for label in held or {None})


def known(test):
    return of_labels(lambda label: label is not None and test(label))


names = st.sampled_from(NAMES)
terms = st.one_of(
    names.map(lambda x: (f"label = '{x}'", known(lambda label: label == x))),
    names.map(lambda x: (f"label IN ('{x}', 'none')", known(lambda label: label == x))),
    names.map(lambda x: (f"Label LIKE '{x}%'", known(lambda label: label.startswith(x)))),
    names.map(lambda x: (f"upper(label) > '{x.upper()}'", known(lambda label: label > x))),
    names.map(lambda x: (f"label BETWEEN 'a' AND '{x}'", known(lambda label: "a" <= label <= x))),
    names.map(lambda x: (f"NOT list_contains(labels, '{x}')", lambda held, _: x not in held)),
    st.just(("label IS NULL", of_labels(lambda label: label is None))),
    st.just(("NOT label IS NULL", known(lambda _: True))),
    st.just(("(row % 2 = 0)", lambda _, cell: cell == 0)),
    st.just(("NOT area_px < 51", lambda _, cell: cell == 1)),
)


def joined(children):
    several = st.lists(children, min_size=2, max_size=3)
    return st.one_of(several.map(conjunction), several.map(disjunction))


def conjunction(several):
    texts, tests = zip(*several, strict=True)
    return f"({' AND '.join(texts)})", lambda *cell: all(test(*cell) for test in tests)


def disjunction(several):
    texts, tests = zip(*several, strict=True)
    return f"({' OR '.join(texts)})", lambda *cell: any(test(*cell) for test in tests)


@settings(max_examples=40)
@given(st.recursive(terms, joined, max_leaves=6))
def test_every_comparison_is_of_any_label(made, condition):
    where, test = condition
    rows = [row for live in select_cells(made.collections, where) for row in live.indices()]
    cells = [(held, cell) for held in SETS for cell in range(CELLS_OF_IMAGE)]
    assert rows == [row for row, cell in enumerate(cells) if test(*cell)]


@pytest.mark.parametrize(
    ("where", "several"),
    [
        ("label = 'a' AND label = 'b'", True),
        ("row = 1 OR (row = 0 AND (Label = 'a' OR row = 2) AND label LIKE 'b%')", True),
        ("label = 'a' OR label = 'b'", False),
        ("label = 'a' AND row = 1 OR label = 'b' AND row = 0", False),
        ("label BETWEEN 'a' AND 'b'", False),
        ("label = 'a' AND list_contains(labels, 'b')", False),
        ("label = 'a' AND len([1 for label in labels if label = 'b']) = 1", False),
        ("label = 'a' AND", False),
    ],
)
def test_what_joins_two_comparisons_is_known(where, several):
    with alone() as connection:
        assert joins_labels(parsed(connection, where)) == several


def test_no_older_duckdb_is_allowed_whose_trees_have_other_keys():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    (lowest,) = re.findall(
        r"duckdb>=(\d+)", " ".join(tomllib.loads(text)["project"]["dependencies"])
    )
    with alone() as connection:
        assert parsed(connection, "bool_or(TRUE)").keys() >= {"arguments"}
    assert int(lowest) >= 2  # before, a function had children
