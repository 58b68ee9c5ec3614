"""Sizes and brightness: one unit and one measure in all sections."""

import re

import numpy as np
import pyarrow as pa
import pytest

from anabatch.config import ReportConfig
from anabatch.report import cluster_profiles, flagged_cells, measures
from anabatch.report.population import read_population
from anabatch.report.source import Source
from anabatch.report.templating import environment


@pytest.fixture
def source(finished):
    return Source(finished.store, ReportConfig(), None, (), {})


def cells(**columns):
    """Two cells, of images of other sample types, scales and exposures."""
    known = {
        "image_id": ["a", "b"],
        "source_dtype": ["uint8", "uint16"],
        "major_px": [100.0, 100.0],
        "nucleus_major_px": [60.0, None],
        "mean_intensity": [51.0, 6553.5],
        "nucleus_mean_intensity": [102.0, None],
        "nucleus_cytoplasm_ratio": [2.5, None],
        "nucleus_solidity": [0.9, None],
        "mitotic": [True, None],
    }
    return pa.table(known | columns)


def test_cells_of_any_image_are_told_of_in_the_same_units():
    found = measures.cell_measures(cells(), {"a": 2.0, "b": 4.0})
    expected: dict[str, list[float]] = {
        "cell": [50, 25],
        "nucleus": [30, np.nan],
        "brightness": [20, 10],
        "nucleus_brightness": [40, np.nan],
        "ratio": [2.5, np.nan],
        "solidity": [0.9, np.nan],
        "mitotic": [1, np.nan],
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, err_msg=name)


@pytest.mark.parametrize("scale", [{"a": 1.0}, {"a": 1.0, "b": None}])
def test_without_the_size_of_its_pixels_a_cell_has_no_diameter(scale):
    found = measures.cell_measures(cells(), scale)
    assert found["cell"][0] == 100
    assert np.isnan(found["cell"][1])
    assert found["brightness"][1] == pytest.approx(10)


def test_no_cells_have_no_measures():
    found = measures.cell_measures(cells().slice(0, 0), {})
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(found, (0,))


def test_two_sections_tell_the_same_of_the_same_cells(source):
    """All cells of an archive by cluster, and by a label that every image with cells has."""
    population = read_population(source, source.generation("kmeans"))
    clusters = cluster_profiles.section(source, population).facts["rows"]
    labels = flagged_cells.section(source).facts["axes"]
    (status,) = [axis["rows"] for axis in labels if axis["axis"] == "status"]
    (every,) = status
    for name in (measures.NUCLEUS, measures.NUCLEUS_BRIGHTNESS):
        mean = sum(row["cells"] * row[name] for row in clusters) / population.size
        assert every["sums"].mean(name) == pytest.approx(mean), name


def heads(section):
    page = environment().get_template(section.template).render(f=section.facts)
    return re.findall(r"<th scope=\"col\"[^>]*>([^<]*)</th>", page)


def test_heads_of_columns_name_the_same_units(source):
    population = read_population(source, source.generation("kmeans"))
    profiles = heads(cluster_profiles.section(source, population))
    flags = heads(flagged_cells.section(source))
    both = {"nucleus diameter, reference pixels", "nucleus brightness, %"}
    assert both <= set(profiles) & set(flags)
    assert {"cell diameter, reference pixels", "cell brightness, %"} <= set(profiles)
