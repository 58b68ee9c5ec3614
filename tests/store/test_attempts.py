"""Finished parts that no action names."""

import datetime as dt

import numpy as np
import pytest

from anabatch.store.actions import FAILED, NO_CELLS, Action
from anabatch.store.attempts import Attempts, Place
from anabatch.store.damage import note_damage
from anabatch.store.parts import MANIFEST, PartWriter

DAY = dt.date(2021, 12, 13)
HERE = Place("a", DAY)


def write(store, *actions, table="cells"):
    with PartWriter(store, table, archive="a", date=DAY, keys=[a.key for a in actions]) as part:
        part.array("crops", np.zeros((3, 4, 4), np.uint8))
        return part.finish(actions)


def image(unit, key, **values):
    return Action("cells", unit, key, "a", DAY, **({"rows": 3} | values))


def test_a_finished_action_is_found_by_what_it_is(tmp_path):
    written = write(tmp_path, image("one", "k1", components={"crop": 96}), image("two", "k2"))
    attempts = Attempts(tmp_path)
    assert attempts.find("cells", "one", "k1", HERE) == written.actions[0]
    assert attempts.find("cells", "two", "k2", HERE) == written.actions[1]
    for other in (("cells", "one", "k2"), ("segment", "one", "k1"), ("cells", "three", "k1")):
        assert attempts.find(*other, HERE) is None


def test_it_is_looked_for_where_it_would_lie(tmp_path):
    write(tmp_path, image("one", "k1"))
    for place in (Place("b", DAY), Place("a", None), Place("a", dt.date(2021, 12, 14))):
        assert Attempts(tmp_path).find("cells", "one", "k1", place) is None


def test_an_unfinished_or_damaged_part_is_passed_over(tmp_path):
    for spoil in (
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: (folder / MANIFEST).write_text("{"),
        lambda folder: (folder / "crops" / "zarr.json").write_bytes(b""),
    ):
        spoil(tmp_path / write(tmp_path, image("one", "k1")).path)
    assert Attempts(tmp_path).find("cells", "one", "k1", HERE) is None


def test_a_part_that_is_known_to_be_damaged_is_passed_over(tmp_path):
    written = write(tmp_path, image("one", "k1"))
    note_damage(tmp_path, {written.path: "CORRUPT"}, set(), set())
    assert Attempts(tmp_path).find("cells", "one", "k1", HERE) is None


def test_failures_are_not_adopted_and_empty_images_are(tmp_path):
    failed = image("bad", "k2", rows=0, outcome=FAILED, reason="broken")
    empty = image("dark", "k3", rows=0, outcome=NO_CELLS)
    write(tmp_path, image("one", "k1"), failed, empty)
    attempts = Attempts(tmp_path)
    assert attempts.find("cells", "bad", "k2", HERE) is None
    assert attempts.find("cells", "dark", "k3", HERE) == empty


@pytest.mark.parametrize("stage", ["featurize", "embed", "cluster"])
def test_what_was_made_of_a_cell_part_holds_for_one_of_equal_content(tmp_path, stage):
    made = Action(stage, "parts/cells/older", "k", "a", DAY, rows=3)
    tables = {"featurize": "features", "embed": "embedding", "cluster": "clusters"}
    with PartWriter(tmp_path, tables[stage], archive="a", date=DAY, keys=["k"]) as part:
        part.array("features", np.zeros((3, 2), np.float16))
        part.finish([made])
    found = Attempts(tmp_path).find(stage, "parts/cells/newer", "k", HERE)
    assert found is not None
    assert (found.unit, found.rows) == ("parts/cells/newer", 3)


def test_scans_are_found_by_file_and_recipe_whatever_the_bytes(tmp_path):
    def scan(unit, recipe, sha):
        facts = {"recipe": recipe, "file_sha256": sha}
        return Action("scan", unit, f"{unit}{sha}", "a", DAY, components=facts, rows=1)

    write(tmp_path, scan("f", "r", "1"), scan("g", "r", "1"), table="acquisitions")
    write(tmp_path, scan("f", "r", "2"), scan("f", "old", "1"), table="acquisitions")
    attempts = Attempts(tmp_path)
    found = {action.components["file_sha256"] for action in attempts.scanned("f", "r", HERE)}
    assert found == {"1", "2"}
    assert attempts.scanned("h", "r", HERE) == []
