"""The contact sheet: one card a field, nothing left out in silence, memory that does not grow."""

import base64
import io
import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from anabatch.config import ReportConfig, SegmentConfig
from anabatch.report.contact import Card, Found, Sheet, draw
from anabatch.report.contact_pages import Pages
from anabatch.report.contact_store import Wanted, card, choose, recipe_line
from anabatch.report.outlines import NO_NUCLEUS, Drawing
from anabatch.report.source import Source
from anabatch.stages.segment import segment_recipe
from anabatch.store.live import SEGMENT

PICTURE = re.compile(r'src="data:image/jpeg;base64,([^"]+)"')


def source_of(laboratory, **roots):
    return Source(laboratory.store, ReportConfig(), None, (), roots or {"lab": laboratory.root})


def shown(laboratory, wanted, **roots):
    source = source_of(laboratory, **roots)
    return [card(source, a, max_pixels=10**6) for a in choose(source, wanted).acquisitions]


GREY = (7, 77, 177)
"""A colour that no text has, whatever its edges blend."""


def drawn(height=30, width=40):
    return Drawing(np.full((height, width, 3), GREY, np.uint8), 1.0, 0.0, 255.0)


def write(tmp_path, cards, notes=()):
    with Sheet(tmp_path / "out" / "sheet.html", title="Fields") as sheet:
        for one in cards:
            sheet.add(one)
        return sheet.finish(notes).read_text(encoding="utf-8")


# Which images


def test_the_newest_come_first_and_the_rest_is_counted(finished):
    source = source_of(finished)
    every = choose(source, Wanted(limit=0))
    dates = [str(action.date) for action in every.acquisitions]
    assert dates == ["2024-01-03", "2024-01-03", "2024-01-02", "2024-01-02"]
    assert (every.left_out, every.waiting, every.failed) == (0, 0, 1)
    some = choose(source, Wanted(limit=3))
    assert some.acquisitions == every.acquisitions[:3]
    assert some.left_out == 1


def test_a_sample_is_the_same_every_time_and_follows_the_ids(finished):
    source = source_of(finished)
    every = choose(source, Wanted(limit=0)).acquisitions
    images = sorted(str(action.components["image_id"]) for action in every)
    chosen = choose(source, Wanted(limit=2, sample=True))
    assert {a.components["image_id"] for a in chosen.acquisitions} == set(images[:2])
    assert chosen == choose(source, Wanted(limit=2, sample=True))
    assert chosen.left_out == 2


def test_a_date_and_an_archive_restrict_it(finished):
    source = source_of(finished)
    day = choose(source, Wanted()).acquisitions[-1].date
    assert len(choose(source, Wanted(date=day)).acquisitions) == 2
    assert len(choose(source, Wanted(archive="lab")).acquisitions) == 4
    assert choose(source, Wanted(archive="other")).acquisitions == ()


def test_images_that_wait_for_the_segmentation_are_counted(laboratory, paths):
    laboratory.scan()
    laboratory.segment((paths[0],))
    found = choose(source_of(laboratory), Wanted())
    assert [a.components["relative_path"] for a in found.acquisitions] == [paths[0]]
    assert (found.left_out, found.waiting) == (0, 3)


# What a card says


def test_a_card_tells_what_the_store_knows(finished, paths):
    found = next(one for one in shown(finished, Wanted()) if one.path == paths[0])
    assert found.place == "lab, 2024-01-02"
    assert "homogeneous" in found.labels
    assert found.counts == "12 nuclei, 12 cells"
    facts = found.facts
    assert facts["mean nucleus diameter"].startswith("17.0 reference pixels")
    assert facts["dropped"] == "nuclei too small 2, cells flow error 1"
    assert facts["contrast of this image alone"].startswith("black ")
    assert found.drawing is not None
    assert found.drawing.picture.shape == (600, 800, 3)  # four times the field's size


def test_an_empty_field_says_so(finished, paths):
    found = next(one for one in shown(finished, Wanted()) if one.path == paths[3])
    assert found.counts == "0 nuclei, NO CELLS"
    assert found.facts["mean nucleus diameter"] == "no nuclei"


def test_a_field_whose_archive_is_away_keeps_its_card(finished, tmp_path):
    for roots, why in (({"x": tmp_path}, "not given"), ({"lab": tmp_path / "no"}, "is not at")):
        cards = shown(finished, Wanted(), **roots)
        assert len(cards) == 4
        assert all(why in one.missing and one.drawing is None for one in cards)


def test_an_image_in_quarantine_has_a_card_with_the_reason(full, paths):
    full.quarantine(paths[0], "the cable was pulled")
    found = next(one for one in shown(full, Wanted()) if one.path == paths[0])
    assert (found.counts, found.missing) == ("not segmented", "the cable was pulled")


def test_marks_are_drawn_and_counted():
    signal = np.full((60, 80), 100, np.uint8)
    cells = np.zeros((60, 80), np.int32)
    cells[10:30, 10:30] = 1
    rows = [{"centroid_y": 19.5, "centroid_x": 19.5, "mitotic": True}]
    nothing = np.zeros_like(cells)
    assert draw(signal, nothing, cells, rows)[1] == {NO_NUCLEUS: 1, "mitotic": 1}
    plain, marks = draw(signal, nothing, cells, [], pairs=False)
    assert marks == {}
    marked = draw(signal, nothing, cells, [])[0]
    assert (plain.picture != marked.picture).any()


def test_facts_that_not_every_segmentation_has_are_told_where_they_are():
    components = {"nuclei": 1, "cells": 2, "mean_nucleus_diameter": 50.0, "pixels": 2.0}
    assert Found.of(components, "r").facts == {}
    newer = {
        "nucleus_diameter": 61.25,
        "nucleus_diameter_from": "image",
        "cell_diameter": 145.0,
        "diameter_from": "default",
        "scale_bar": [1, 2, 3, 4],
    }
    more = Found.of(components | newer, "r")
    assert more.facts == {
        "looked for": "nuclei of 61.2 (image), cells of 145.0 (default)",
        "scale bar": "left out",
    }
    said = Card("a", "b", found=more).facts
    assert said["mean nucleus diameter"].endswith("100.0 of this image")
    assert said["dropped"] == "nothing"


def test_a_recipe_in_a_line_names_what_is_not_as_by_default():
    usual = recipe_line(segment_recipe(SegmentConfig()))
    assert "default values" in usual
    other = recipe_line(segment_recipe(SegmentConfig(cell_diameter=99.0, device="cuda")))
    assert "cell_diameter 99.0" in other
    assert "default" not in other
    assert "cuda" not in other


# The sheet


def test_the_sheet_has_a_card_and_a_picture_for_every_field(finished, tmp_path, hostile_name):
    html = write(tmp_path, shown(finished, Wanted()), ["3 images left out"])
    assert html.count("<figure") == 4
    pictures = [Image.open(io.BytesIO(base64.b64decode(p))) for p in PICTURE.findall(html)]
    assert [picture.size for picture in pictures] == [(800, 600)] * 4
    assert "3 images left out" in html
    assert "4 fields: 33 nuclei, 33 cells" in html
    assert "nuclei too small 8" in html
    assert hostile_name not in html
    assert "<script" not in html
    assert "<b onload" not in html
    assert not re.findall(r'(?:src|href)="(?!data:)', html)


def test_pictures_hold_the_colours_of_the_outlines(finished, tmp_path):
    html = write(tmp_path, shown(finished, Wanted()))
    encoded = PICTURE.findall(html)[-1]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded)))).astype(int)
    for colour in ((0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)):
        assert (np.abs(picture - colour).max(axis=2) < 40).sum() > 500


def test_a_failure_leaves_no_sheet_and_no_draft(tmp_path):
    def broken():
        yield Card("a", "b", drawing=drawn())
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        write(tmp_path, broken())
    assert list((tmp_path / "out").iterdir()) == []


def test_an_older_sheet_is_replaced(tmp_path):
    write(tmp_path, [Card("first", "b")])
    html = write(tmp_path, [Card("second", "b")])
    assert "first" not in html
    assert len(list((tmp_path / "out").iterdir())) == 1


def peak_of(tmp_path, fields):
    """Return the most memory that a sheet and its pages take at once, and the sheet's size."""
    picture = np.random.default_rng(0).integers(0, 255, (120, 120, 3), np.uint8)
    tracemalloc.start()
    with Sheet(tmp_path / "sheet.html", title="t") as sheet:
        pages = Pages(tmp_path / "pages", 4)
        for _ in range(fields):
            one = Card("a", "b", drawing=Drawing(picture.copy(), 1.0, 0, 255))
            sheet.add(one)
            pages.add(one)
        size = sheet.finish([]).stat().st_size
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak, size


def test_memory_does_not_grow_with_the_fields(tmp_path, monkeypatch):
    monkeypatch.setattr("anabatch.report.contact._PIECE", 1 << 14)
    peak_of(tmp_path, 4)  # what is loaded once is loaded
    few, small = peak_of(tmp_path, 8)
    many, large = peak_of(tmp_path, 32)
    assert large - small > 500_000
    assert many - few < (large - small) / 5


# Pages


def test_pages_hold_a_few_fields_each_and_the_last_the_rest(tmp_path):
    pages = Pages(tmp_path / "pages", 4)
    found = Found(3, 0, None, 1.0, {}, "two-pass")
    for number in range(6):
        pages.add(Card("long/" * 60 + f"{number}.jpg", "lab", found=found, drawing=drawn()))
    pages.finish()
    pages.finish()
    names = sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert names == ["page-0001.png", "page-0002.png"]
    assert pages.written == 2
    first, last = (np.asarray(Image.open(tmp_path / "pages" / name)) for name in names)
    assert [(page == GREY).all(axis=2).sum() for page in (first, last)] == [4 * 1200, 2 * 1200]
    assert first.shape[0] > last.shape[0]


def test_pages_of_an_earlier_sheet_go_and_nothing_else(tmp_path):
    for name in ("page-0001.png", "page-0009.png", "mine.png", "page-1.png"):
        (tmp_path / name).write_bytes(b"")
    Pages(tmp_path, 4).finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.png", "page-1.png"]


def test_a_card_without_a_picture_has_its_place_on_a_page(tmp_path):
    pages = Pages(tmp_path, 1)
    pages.add(Card("a\u202eb.jpg", "lab", missing="the archive is away"))
    page = np.asarray(Image.open(tmp_path / "page-0001.png"))
    assert (page < 100).all(axis=2).sum() > 200


def test_all_segmented_images_are_on_a_sheet_once(finished):
    chosen = choose(source_of(finished), Wanted(limit=0)).acquisitions
    images = [a.components["image_id"] for a in chosen]
    assert sorted(images) == sorted(a.unit for a in finished.state.stage(SEGMENT))
