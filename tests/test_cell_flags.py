from typing import Any

import numpy as np
import pytest

from anabatch.cell_flags import FEWEST_NUCLEI, FLAGS, MitosisRule, judged

INTERPHASE = {
    "area_px": 1000,
    "major_px": 50.0,
    "minor_px": 30.0,
    "nucleus_area_px": 400,
    "nucleus_count": 1,
    "nucleus_touches_border": False,
    "cytoplasm_mean_intensity": 40.0,
    "touches_border": False,
    "saturated_fraction": 0.0,
    "black_fraction": 0.3,
}
METAPHASE = INTERPHASE | {
    "nucleus_area_px": 150,
    "minor_px": 45.0,
    "cytoplasm_mean_intensity": 80.0,
}
NO_NUCLEUS = INTERPHASE | {
    "nucleus_area_px": 0,
    "nucleus_count": 0,
    "nucleus_touches_border": None,
    "cytoplasm_mean_intensity": None,
}


def judge(row: dict[str, Any], others: int = 9, **rule: float) -> Any:
    """Judge a cell among interphase cells."""
    return judged([*[INTERPHASE] * others, row], MitosisRule(**rule))[-1]


def test_a_condensed_nucleus_in_a_compact_bright_cell_divides() -> None:
    assert judge(METAPHASE)["mitotic"] is True
    assert judge(INTERPHASE)["mitotic"] is False


@pytest.mark.parametrize(
    "change",
    [
        {"nucleus_area_px": 401, "cytoplasm_mean_intensity": 400.0},  # never above the median
        {"nucleus_area_px": 359},  # small, for a cytoplasm twice as bright: below 400 x 0.45 x 2
        {"nucleus_area_px": 361},
        {"nucleus_area_px": 350, "area_px": 700},  # most of its cell
        {"cytoplasm_mean_intensity": 20.0},
        {"cytoplasm_mean_intensity": None},
        {"minor_px": 50.0 / 2},
    ],
)
def test_it_takes_all_of_it(change: dict[str, Any]) -> None:
    found = judge(METAPHASE | change)["mitotic"]
    assert found is (change == {"nucleus_area_px": 359})


def test_the_limit_of_size_grows_with_the_cytoplasms_brightness() -> None:
    for brightness, limit in ((20.0, 90), (40.0, 180), (60.0, 270), (200.0, 400)):
        row = METAPHASE | {"cytoplasm_mean_intensity": brightness}
        assert judge(row | {"nucleus_area_px": limit - 1})["mitotic"] is True
        assert judge(row | {"nucleus_area_px": limit})["mitotic"] is False


def test_thresholds_are_the_rules() -> None:
    assert judge(METAPHASE, condensation=0.18)["mitotic"] is False
    assert judge(METAPHASE, nucleus_share=0.15)["mitotic"] is False
    assert judge(METAPHASE, elongation=1.1)["mitotic"] is False


@pytest.mark.parametrize("factor", [0.01, 3.0, 200.0])
def test_neither_magnification_nor_exposure_matters(factor: float) -> None:
    rng = np.random.default_rng(7)
    rows = [
        INTERPHASE
        | {
            "nucleus_area_px": int(rng.integers(50, 600)),
            "cytoplasm_mean_intensity": float(rng.uniform(20, 120)),
            "minor_px": float(rng.uniform(20, 50)),
        }
        for _ in range(60)
    ]
    sized = [
        row
        | {name: row[name] * 4 for name in ("nucleus_area_px", "area_px")}
        | {name: row[name] * 2 for name in ("major_px", "minor_px")}
        | {"cytoplasm_mean_intensity": row["cytoplasm_mean_intensity"] * factor}
        for row in rows
    ]
    answers = [row["mitotic"] for row in judged(rows)]
    assert [row["mitotic"] for row in judged(sized)] == answers
    assert 5 < sum(answers) < 55


def test_too_few_nuclei_and_cut_ones_and_none_are_not_judged() -> None:
    assert judge(NO_NUCLEUS)["mitotic"] is None
    assert judge(METAPHASE | {"nucleus_touches_border": True})["mitotic"] is None
    assert judge(METAPHASE | {"touches_border": True})["mitotic"] is True
    few = [NO_NUCLEUS] * 20 + [METAPHASE] * (FEWEST_NUCLEI - 1)
    assert {row["mitotic"] for row in judged(few)} == {None}
    assert judge(METAPHASE, others=FEWEST_NUCLEI - 1)["mitotic"] is True
    assert judged([]) == []


def test_an_image_without_any_cytoplasm_has_no_dividing_cells() -> None:
    bare = METAPHASE | {"cytoplasm_mean_intensity": None}
    black = METAPHASE | {"cytoplasm_mean_intensity": 0.0}
    for rows in ([bare] * 9, [black] * 9):
        assert {row["mitotic"] for row in judged(rows)} == {False}


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({}, []),
        ({"nucleus_count": 2}, ["several_nuclei"]),
        ({"touches_border": True, "area_px": 249}, ["small", "touches_border"]),
        ({"area_px": 250}, []),
        ({"area_px": 4000}, []),
        ({"area_px": 4001}, ["large"]),
        ({"saturated_fraction": 0.051}, ["saturated"]),
        ({"black_fraction": 0.029}, ["little_black"]),
        ({"black_fraction": 0.951}, ["mostly_black"]),
    ],
)
def test_flags_say_what_is_odd(change: dict[str, Any], flags: list[str]) -> None:
    row = judge(INTERPHASE | change)
    assert row["flags"] == flags
    assert set(flags) <= FLAGS.keys()
    assert {name: row[name] for name in INTERPHASE} == INTERPHASE | change


def test_a_cell_without_a_nucleus_is_flagged_and_kept() -> None:
    rows = judged([NO_NUCLEUS, INTERPHASE])
    assert [row["flags"] for row in rows] == [["no_nucleus"], []]
