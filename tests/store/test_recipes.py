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


VGG16 = {"batch": 64, "pooling": "average"}
UNSAID = {"extractor": "vgg16", "precision": "float32", "pooling": "flatten"}


@pytest.mark.parametrize(
    ("old", "new", "models", "said"),
    [
        (
            VGG16,
            VGG16 | {"precision": "bfloat16"},
            ("a", "a"),
            "PARAM precision float32 -> bfloat16",
        ),
        (
            VGG16 | {"precision": "bfloat16"},
            VGG16,
            ("a", "a"),
            "PARAM precision bfloat16 -> float32",
        ),
        (VGG16, {"batch": 64}, ("a", "a"), "PARAM pooling average -> flatten"),
        ({"batch": 64}, {"extractor": "lbp"}, ("a", ""), "PARAM extractor vgg16 -> lbp"),
        ({"extractor": "lbp"}, {"batch": 64}, ("", "a"), "PARAM extractor lbp -> vgg16"),
        (
            {"batch": 64},
            {"extractor": "mine"},
            ("a", "b"),
            "MODEL extractor vgg16 -> mine, weights aaaaaaaa -> bbbbbbbb",
        ),
        (VGG16, VGG16, ("a", ""), "MODEL weights aaaaaaaa -> none"),
        # written out all the same: nothing that could be named has changed, and it has another digest
        (VGG16 | {"extractor": "vgg16"}, VGG16, ("a", "a"), "PARAM extractor vgg16 -> none"),
    ],
)
def test_what_goes_without_saying_is_named_by_its_value(old, new, models, said):
    weights = [{"weights": digit * 32} if digit else {} for digit in models]
    before = Recipe("featurize", 1, old, weights[0])
    after = Recipe("featurize", 1, new, weights[1], unsaid=UNSAID)
    found = difference(Recipe.from_action(before.action("run-1")), after)
    assert str(found) == said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (VGG16, {"extractor": "lbp"}, "PARAM extractor vgg16 -> lbp"),
        ({"extractor": "lbp"}, VGG16, "PARAM extractor lbp -> vgg16"),
        ({"extractor": "lbp"}, {"extractor": "mine"}, "PARAM extractor lbp -> mine"),
        (
            {"extractor": "lbp"},
            {"extractor": "mine", "pooling": "average"},
            "PARAM extractor lbp -> mine",
        ),
        # said by the one, and what goes without saying of the other: both have it
        (
            {"batch": 64},
            {"extractor": "mine", "pooling": "average"},
            "PARAM extractor vgg16 -> mine, pooling flatten -> average",
        ),
        (VGG16, {"batch": 64}, "PARAM pooling average -> flatten"),
        (
            {"extractor": "mine", "pooling": "average"},
            {"extractor": "mine"},
            "PARAM pooling average -> none",
        ),
    ],
)
def test_only_what_the_subject_has_goes_without_saying(old, new, said):
    before = Recipe("featurize", 1, old)
    after = Recipe("featurize", 1, new, unsaid=UNSAID, subject="extractor")
    assert str(difference(Recipe.from_action(before.action("run-1")), after)) == said


def test_what_goes_without_saying_is_in_no_digest_and_in_no_row():
    more = Recipe(
        BASE.stage, BASE.version, BASE.parameters, BASE.models, unsaid=UNSAID, subject="extractor"
    )
    assert more == BASE
    assert more.action("run-1") == BASE.action("run-1")
    assert BASE.digest == "83a0d7ffa9255e396872d6905bab8123"


def test_equal_recipes_do_not_differ_whatever_the_order():
    same = Recipe("segment", 1, {"tile": 224, "diameter": 60.0}, {"nuclei": "a" * 32})
    assert difference(BASE, same) is None


def test_a_recipe_that_is_not_known_is_another_code():
    found = difference(None, BASE)
    assert found is not None
    assert found.cause == Cause.CODE


def test_only_what_was_once_computed_is_computed_again():
    assert {cause for cause in Cause if not Reason(cause).again} == {Cause.NEW, Cause.RETRY}
