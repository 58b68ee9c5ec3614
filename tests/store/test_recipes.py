"""Recipes, and what is said of two that differ."""

import pytest

from anabatch.store.recipes import RECIPE, Cause, Reason, Recipe, difference

BASE = Recipe("segment", 1, {"diameter": 60.0, "tile": 224}, {"nuclei": "a" * 32})


def test_a_recipe_comes_back_from_its_row():
    row = BASE.action("run-1")
    assert (row.stage, row.unit, row.run) == (RECIPE, BASE.digest, "run-1")
    assert Recipe.from_action(row) == BASE
    assert Recipe.from_action(row).digest == BASE.digest


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            Recipe("segment", 1, {"diameter": 70.0, "tile": 224}, {"nuclei": "a" * 32}),
            "PARAM diameter 60.0 -> 70.0",
        ),
        (
            Recipe("segment", 1, {"diameter": 60.0, "tile": 224}, {"nuclei": "b" * 32}),
            "MODEL nuclei aaaaaaaa -> bbbbbbbb",
        ),
        (
            Recipe("segment", 2, {"diameter": 70.0, "tile": 224}, {"nuclei": "b" * 32}),
            "CODE version 1 -> 2",
        ),
        (Recipe("segment", 1, {"diameter": 60.0}, {"nuclei": "a" * 32}), "PARAM tile 224 -> none"),
    ],
)
def test_what_changed_is_named_with_old_and_new(other, said):
    assert other.digest != BASE.digest
    assert str(difference(BASE, other)) == said


def test_equal_recipes_do_not_differ_whatever_the_order():
    same = Recipe("segment", 1, {"tile": 224, "diameter": 60.0}, {"nuclei": "a" * 32})
    assert difference(BASE, same) is None


def test_a_recipe_that_is_not_known_is_another_code():
    found = difference(None, BASE)
    assert found is not None
    assert found.cause == Cause.CODE


def test_only_what_was_once_computed_is_computed_again():
    assert {cause for cause in Cause if not Reason(cause).again} == {Cause.NEW, Cause.RETRY}
