"""What a run refuses to compute again."""

from types import SimpleNamespace

import pytest
from anabatch.jobs.guards import refuse_recompute

from anabatch.config import GuardsConfig
from anabatch.errors import GuardError
from anabatch.store.actions import Action
from anabatch.store.recipes import Cause, Reason
from anabatch.store.state import State


def context(standing, *, share=0.3, accept=False):
    state = State([Action("segment", f"{i}", "k") for i in range(standing)])
    config = SimpleNamespace(guards=GuardsConfig(recompute_share=share))
    return SimpleNamespace(
        store=SimpleNamespace(state=state), config=config, accept_recompute=accept
    )


def reasons(number, cause=Cause.PARAM, detail="diameter 60 -> 70"):
    return {("segment", f"{i}"): Reason(cause, detail) for i in range(number)}


@pytest.mark.parametrize(
    ("standing", "again", "refused"),
    [
        (100, 31, True),
        (100, 30, False),  # as much as is allowed
        (6, 2, False),  # few
        (6, 3, True),
        (3, 3, True),  # few, but all
        (3, 2, False),
        (0, 0, False),
    ],
)
def test_a_share_of_what_stands_is_refused(standing, again, refused):
    if refused:
        with pytest.raises(
            GuardError, match=rf"{again} of {standing} results.*60 -> 70 \({again}\)"
        ):
            refuse_recompute(context(standing), reasons(again))
    else:
        refuse_recompute(context(standing), reasons(again))


@pytest.mark.parametrize("cause", [Cause.NEW, Cause.RETRY])
def test_what_was_never_computed_is_never_refused(cause):
    refuse_recompute(context(10), reasons(500, cause))


def test_it_may_be_asked_for():
    refuse_recompute(context(10, accept=True), reasons(10))
    refuse_recompute(context(10, share=1.0), reasons(10))


def featurized(parts, images):
    cells = [
        Action("cells", f"{part}-{image}", "k", part=f"p{part}")
        for part in range(parts)
        for image in range(images)
    ]
    described = [Action("featurize", f"p{part}", "k") for part in range(parts)]
    made = context(0)
    made.store.state = State(cells + described)
    return made


def test_features_are_counted_by_the_images_of_their_parts():
    found = {("featurize", "p0"): Reason(Cause.PARAM, "batch 1 -> 2")}
    with pytest.raises(GuardError, match="40 of 80 results"):
        refuse_recompute(featurized(2, 40), found)
    refuse_recompute(featurized(4, 40), found)


@pytest.mark.parametrize("stage", ["scan", "annotate"])
def test_changed_files_and_exports_are_no_recomputation_and_other_settings_are(stage):
    made = context(0)
    made.store.state = State([Action(stage, f"{i}", "k") for i in range(9)])
    refuse_recompute(made, {(stage, f"{i}"): Reason(Cause.INPUT) for i in range(9)})
    with pytest.raises(GuardError, match="9 of 9"):
        refuse_recompute(made, {(stage, f"{i}"): Reason(Cause.MODEL) for i in range(9)})
