"""What a plan's table counts together."""

from anabatch.jobs.plan import Planned, Survey

from anabatch.store.live import CELLS, SCAN, SEGMENT
from anabatch.store.recipes import Cause, Reason


def survey(*reasons):
    items = (Planned(stage, str(n), "lab", None, why) for n, (stage, why) in enumerate(reasons))
    return Survey(tuple(items), gone=0, adopted=0, notes=())


def test_what_is_said_of_one_unit_is_counted_together():
    many = [
        (stage, reason)
        for number in range(50)
        for stage, reason in (
            (SCAN, Reason(Cause.INPUT, f"size {number} -> {number + 1}")),
            (SCAN, Reason(Cause.RETRY, f"{number}.jpg cannot be read")),
            (CELLS, Reason(Cause.MISSING, f"parts/cells/{number}")),
            (CELLS, Reason(Cause.CORRUPT, f"parts/cells/{number}")),
        )
    ]
    found = survey(*many)
    assert found.counts() == [
        (SCAN, Reason(Cause.INPUT, "another size"), 50),
        (SCAN, Reason(Cause.RETRY), 50),
        (CELLS, Reason(Cause.MISSING), 50),
        (CELLS, Reason(Cause.CORRUPT), 50),
    ]
    assert found.items[0].reason.detail == "size 0 -> 1"


def test_what_changed_for_all_is_told():
    told = [
        Reason(Cause.PARAM, "nucleus_diameter 60 -> 70"),
        Reason(Cause.PARAM, "nucleus_diameter 65 -> 70"),
        Reason(Cause.MODEL, "nuclei 01234567 -> 89abcdef"),
        Reason(Cause.CODE, "version 1 -> 2"),
        Reason(Cause.INPUT, "pixels per reference pixel 1.0 -> 2.0"),
        Reason(Cause.INPUT, "other bytes"),
    ]
    assert [row[1:] for row in survey(*((SEGMENT, why) for why in told)).counts()] == [
        (why, 1) for why in told
    ]
