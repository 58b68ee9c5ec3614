import numpy as np
import pytest

from anabatch.cell_flags import MitosisRule
from anabatch.simulate.field import SimulatedField, simulate_field
from anabatch.training import mitosis
from anabatch.training.fields import EVALUATION_SEED
from anabatch.training.mitosis import FOUND, TRUE, Matched, Tally, choose, main, match, show

ALWAYS, NEVER = MitosisRule(9, 1, 99), MitosisRule(0, 0, 0)


def squares(nuclei_sides):
    """A row of bright cells of 20 x 20, each with a square nucleus of a given side."""
    shape = 30, 25 * len(nuclei_sides)
    nuclei, cells = np.zeros((2, *shape), np.int32)
    for label, side in enumerate(nuclei_sides, start=1):
        x = 25 * label - 22
        cells[5:25, x : x + 20] = label
        nuclei[7 : 7 + side, x + 1 : x + 1 + side] = label
    signal = np.where(cells > 0, 100, 5).astype(np.uint8)
    return signal, nuclei, cells


def drawn(sides, mitotic):
    signal, nuclei, cells = squares(sides)
    return SimulatedField(signal, nuclei, cells, ("homogeneous",), mitotic)


def test_true_masks_are_what_they_are():
    field = drawn([12, 12, 4, 12, 12, 4], (3, 5))
    found = match(field, field.signal, field.nuclei, field.cells)
    assert found.dividing == [False, False, True, False, True, False]
    assert found.covered.T.tolist() == [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]]
    # cells 3 and 6 look as if they divided, 3 and 5 do
    assert found.tally() == Tally(flagged=2, right=1, dividing=2, recalled=1)


def test_found_masks_are_judged_by_the_cells_that_they_lie_in():
    field = drawn([12, 4, 4, 12, 12, 4], (2, 3, 6))
    nuclei, cells = field.nuclei.copy(), field.cells.copy()
    nuclei[nuclei == 2] = cells[cells == 2] = 0  # missed
    cells[cells == 3] = 9  # renamed
    cells[12:25][cells[12:25] == 6] = 0  # cut in two: more than half of the chromosomes stay
    found = match(field, field.signal, nuclei, cells)
    assert [row["label_id"] for row in found.rows] == [1, 4, 5, 6, 9]
    assert found.dividing == [False, False, False, True, True]
    assert found.covered[:, 0].tolist() == [0] * 5
    tally = found.tally()
    assert (tally.flagged, tally.right, tally.dividing, tally.recalled) == (1, 1, 3, 1)


def test_a_mask_on_the_background_is_no_dividing_cell():
    field = drawn([12, 12, 12, 12, 12], (1,))
    nuclei, cells = field.nuclei.copy(), field.cells.copy()
    cells[27:30, 0:3] = 6
    assert match(field, field.signal, nuclei, cells).dividing == [True] + 5 * [False]


def test_a_field_without_cells_counts_nothing():
    empty = np.zeros((8, 8), np.int32)
    field = SimulatedField(empty.astype(np.uint8), empty, empty, ("negative",), ())
    tally = match(field, field.signal, empty, empty).tally()
    assert tally == Tally()
    assert np.isnan([tally.precision, tally.recall]).all()
    assert tally.f1 == 0


def test_tallies_add_up():
    total = Tally(4, 3, 5, 2) + Tally(1, 0, 0, 0)
    assert (total.precision, total.recall) == (0.6, 0.4)
    assert total.f1 == pytest.approx(0.48)


def test_the_rule_that_agrees_with_the_truth_is_chosen(monkeypatch):
    monkeypatch.setattr(mitosis, "GRID", {"condensation": (0.01, 0.2, 9.0)})
    field = drawn([12, 12, 4, 12, 12, 12], (3,))
    here = {"homogeneous": [match(field, field.signal, field.nuclei, field.cells)]}
    rule, quality = choose({TRUE: here, FOUND: here})
    assert (rule.condensation, quality) == (0.2, 1)


def test_the_table_has_a_row_a_pattern_and_one_for_all():
    field = drawn([12, 12, 4, 12, 12, 4], (3, 5))
    one = match(field, field.signal, field.nuclei, field.cells)
    none = Matched([], [], np.zeros((0, 0)))
    lines = show({TRUE: {"golgi": [one, one], "negative": [none]}}).splitlines()
    assert [line.split() for line in lines] == [
        ["true", "masks", "precision", "recall", "flagged", "dividing"],
        ["golgi", "0.50", "0.50", "4", "4"],
        ["negative", "nan", "nan", "0", "0"],
        ["all", "0.50", "0.50", "4", "4"],
    ]


def test_the_command_measures_and_chooses_on_different_fields(monkeypatch, capsys):
    monkeypatch.setattr(mitosis, "_SIZE", (420, 320))
    seeds = []

    def draw(seed, *arguments, **options):
        seeds.append(seed)
        return simulate_field(seed, *arguments, **options)

    monkeypatch.setattr(mitosis, "simulate_field", draw)
    main(["--only-true", "--fields", "1", "--patterns", "centromere"])
    main(["--only-true", "--fields", "1", "--patterns", "centromere", "--choose"])
    measured, chosen_on = seeds
    assert chosen_on < EVALUATION_SEED <= measured
    text = capsys.readouterr().out
    assert text.count("centromere") == 2
    assert text.count("MitosisRule") == 1


def test_most_dividing_cells_of_a_simulated_field_are_flagged_and_few_others():
    fields = mitosis.matched_fields(["centromere"], 1, 600_004, None)[TRUE]["centromere"]
    tally = fields[0].tally()
    assert tally.dividing >= 5
    assert tally.precision >= 0.8
    assert tally.recall >= 0.6
