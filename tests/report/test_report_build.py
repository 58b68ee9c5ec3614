"""The whole report: one file that needs nothing, runs nothing and leaves nothing out."""

import re
from html.parser import HTMLParser

import pytest

from anabatch.config import ReportConfig
from anabatch.errors import PartCorruptError
from anabatch.report.build import build_report
from anabatch.report.source import News, Since
from anabatch.store.parts import Part
from anabatch.store.root import open_store

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; refuses tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def attributes(self, name):
        return [found[name] for _, found in self.elements if name in found]


def report(laboratory, tmp_path, **options) -> Page:
    out = build_report(
        laboratory.store,
        tmp_path / "reports" / "report.html",
        config=ReportConfig(cells_per_cluster=4),
        archive_roots={"lab": laboratory.root},
        **options,
    )
    return Page(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def page(finished, folder):
    """The report of the finished store, with names and messages from somebody who means harm."""
    events = [{"event": "problem", "message": "x\udce9<i>: no\nUTF-8"}]
    return report(finished, folder, title="<u>night\u202e</u>", news=News("run-1", events))


def test_page_needs_no_network_and_no_script_but_its_own(page, folder):
    tags = {tag for tag, _ in page.elements}
    scripts = [found for tag, found in page.elements if tag == "script"]
    assert [found.get("type") for found in scripts] == ["application/json", None]
    assert not any("src" in found for found in scripts)
    assert not tags & {"link", "iframe", "object", "embed", "form", "base"}
    assert all(source.startswith("data:image/") for source in page.attributes("src"))
    assert all(target.startswith("#") for target in page.attributes("href"))
    assert not any(name.startswith("on") for _, found in page.elements for name in found)
    raw = (folder / "reports" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?://", raw)
    assert "default-src 'none'" in raw


def test_contents_name_every_section_and_every_picture_is_described(page):
    anchors = {f"#{name}" for name in page.attributes("id")}
    assert set(page.attributes("href")) == anchors
    assert len(anchors) == 19
    alts = page.attributes("alt")
    assert all(alts)
    assert len(alts) == sum(tag == "img" for tag, _ in page.elements)
    assert sum(alt.startswith("field with the outlines") for alt in alts) == 4
    assert sum(alt.startswith("cell of cluster") for alt in alts) == 12


def test_nothing_makes_the_page_wider_than_its_window(page, folder):
    around = [
        page.elements[place - 1] for place, (tag, _) in enumerate(page.elements) if tag == "table"
    ]
    assert len(around) > 8
    assert all(element == ("div", {"class": "scroll"}) for element in around)
    raw = (folder / "reports" / "report.html").read_text(encoding="utf-8")
    (paragraphs,) = re.findall(r"^p \{(.*?)\}", raw, re.MULTILINE)
    assert "overflow-wrap: anywhere;" in paragraphs  # conditions, which may have no blank


def test_names_and_labels_are_shown_and_not_obeyed(page, hostile_name):
    assert "<script>alert(1)<b onload=x>&amp;\"'$x$\\n\\u202egpj.jpg" in page.text
    assert "<img src=x onerror=alert(2)>" in page.text
    assert "x\\xe9<i>" in page.text
    assert "no\\nUTF-8" in page.text
    assert "<u>night\\u202e</u>" in page.text
    assert not {"u", "i", "b"} & {tag for tag, _ in page.elements}
    assert hostile_name not in page.text


def test_headline_numbers(page, finished):
    for number in (
        "images 4 in 5 files",
        "dates 2 2024\N{NON-BREAKING HYPHEN}01\N{NON-BREAKING HYPHEN}02 to",
        "labels in use 5 on 4 images",
        "cells 33 in 4 segmented images",
        "clusters 3 generation 1",
        "in quarantine 1",
        f"store version {finished.store.version}",
        "run run-1",
    ):
        assert number in page.text, number


def test_a_store_with_nothing_says_what_makes_it(laboratory, tmp_path):
    text = report(laboratory, tmp_path).text
    for command in ("scan", "annotate", "segment", "embed", "cluster"):
        assert f"anabatch {command} makes it" in text


def test_a_store_after_its_scan_says_what_comes_next(laboratory, tmp_path):
    laboratory.scan()
    text = report(laboratory, tmp_path).text
    assert "anabatch scan" not in text
    for command in ("annotate", "segment", "embed", "cluster"):
        assert f"anabatch {command} makes it" in text
    assert "not a JPEG, PNG, TIFF or BMP image" in text


@pytest.mark.parametrize("stages", [("annotate",), ("segment",), ("segment", "embed")])
def test_every_step_of_the_way_makes_a_report(laboratory, tmp_path, stages):
    laboratory.scan()
    for stage in stages:
        getattr(laboratory, stage)()
    page = report(laboratory, tmp_path)
    assert "anabatch cluster makes it" in page.text


def test_a_changed_or_missing_file_is_named_in_the_pictures_place(full, tmp_path, paths):
    (full.root / paths[0]).write_bytes(b"other")
    (full.root / paths[1]).unlink()
    text = report(full, tmp_path).text
    assert f"{paths[0]} has changed since it was scanned" in text
    assert f"{paths[1]} is not there any more" in text
    assert text.count("This picture cannot be shown.") == 2


def test_the_same_store_gives_the_same_report(full, tmp_path):
    pages = []
    for name in ("a.html", "b.html"):
        store = open_store(full.store.root)
        roots = {"lab": full.root}
        out = build_report(store, tmp_path / name, config=ReportConfig(), archive_roots=roots)
        pages.append(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", out.read_text(encoding="utf-8")))
    assert pages[0] == pages[1]


def test_news_since_the_last_report_are_shown_and_not_obeyed(full, tmp_path, hostile_name):
    since = Since("run-<b>0</b>", full.store.version)
    scans = full.state.stage("scan")
    gone = [a for a in scans if a.components["relative_path"].endswith(hostile_name)]
    full.state.delete(gone)
    full.commit()
    page = report(full, tmp_path, news=News("run-2", (), since))
    assert "Compared with the report of run run-<b>0</b>" in page.text
    assert "0 new images, 0 changed, 1 gone" in page.text
    assert "Gone: 1 archive file step lab 20240103/001_SN09001/<script>alert(1)<b" in page.text


def test_a_damaged_part_is_an_error_and_leaves_the_old_report(full, tmp_path):
    out = tmp_path / "reports" / "report.html"
    out.parent.mkdir()
    out.write_text("the old report", encoding="utf-8")
    part = Part(full.store.root, str(full.state.stage("cluster")[0].part))
    table = part.folder / "clusters.parquet"
    content = bytearray(table.read_bytes())
    content[20] ^= 0xFF
    table.write_bytes(content)
    with pytest.raises(PartCorruptError):
        report(full, tmp_path)
    assert out.read_text(encoding="utf-8") == "the old report"
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
