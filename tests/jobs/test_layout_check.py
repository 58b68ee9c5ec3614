"""Layout check: what it counts, what it shows of what does not fit, and how it ends."""

import json
import os
import sys
from datetime import date

import pytest
from anabatch.jobs import cli, layout_contents
from anabatch.jobs.layout import check_layout, spread
from PIL import Image
from typer.testing import CliRunner

from anabatch.archive.layout import load_layout
from anabatch.archive.walk import ListedFile
from anabatch.errors import AmbiguousLayoutError, ConfigurationError
from anabatch.vocabulary import Vocabulary

RUN = "20211214/005_SN08030"
NAME = "{:03d}_0ae00987379_1_2111{:06d}_3_14_05.jpg"
EXPORT = "exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv"
HEAD = "LIS export\nWellPos;SampleId;ImName;Pattern\n"


@pytest.fixture
def archive(tmp_path):
    """Four images of one run and an export with three rows: everything fits."""
    root = tmp_path / "DATA"
    for number in range(4):
        add_image(root, f"{RUN}/{NAME.format(number, number)}")
    rows = [f"{n};2111{n:06d};D:\\{NAME.format(n, n)};[15] Mouchete\n" for n in range(3)]
    add(root, f"{RUN}/{EXPORT}", HEAD + "".join(rows))
    return root


def add(root, path, content="x"):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")


def add_image(root, path, size=(1388, 1040)):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(file)


def check(root, layout="dated", **options):
    chosen = load_layout(layout)
    words = Vocabulary.load(None, codes=chosen.code_table, classes=chosen.class_table)
    return check_layout(root, chosen, words, **options)


def command(root, *options):
    return CliRunner().invoke(cli.app, ["layout", "check", str(root), *map(str, options)])


def counts(found):
    return {one.pattern: (one.matched, one.unmatched) for one in found.patterns}


def snapshot(root):
    return {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}


def test_what_fits_is_said_to_fit(archive):
    found = check(archive)
    assert (found.images, found.exports, found.unmatched) == (4, 1, ())
    assert counts(found) == {"path": (5, 0), "image_name": (4, 0), "export_name": (1, 0)}
    groups = {group.group: (group.images, group.distinct) for group in found.groups}
    assert groups["sample"] == (4, 4)
    assert groups["plate"] == (4, 1)
    assert groups["other_run"] == (0, 0)
    assert (found.dates.first, found.dates.days) == (date(2021, 12, 14), 1)
    assert found.sizes.sizes == (("1388x1040", 4, 1.0),)
    exports = found.export_contents
    assert (exports.rows, exports.rows_with_image, exports.unnamed_images) == (3, 3, 1)
    assert exports.columns["pattern"] == {"Pattern": 1}
    assert [(code.code, code.label, code.rows) for code in exports.codes] == [(15, "speckled", 3)]


def test_it_writes_nothing_and_ends_with_zero(archive):
    before = snapshot(archive.parent)
    done = command(archive)
    assert done.exit_code == 0, done.stdout
    assert "all matched: 4 images, 1 export" in done.stdout
    assert snapshot(archive.parent) == before


def test_unmatched_names_are_shown_by_their_shape_with_the_reason(archive):
    for number in range(30):
        add_image(archive, f"20211214/IMG_{number}.jpg", (8, 8))
    add_image(archive, f"20211399/005_SN08030/{NAME.format(1, 1)}")
    add_image(archive, f"{RUN}/odd.jpg")
    add(archive, f"{RUN}/results of monday.csv")
    found = check(archive)
    assert counts(found) == {"path": (6, 31), "image_name": (5, 31), "export_name": (1, 1)}
    path, name, export = (pattern.examples for pattern in found.patterns)
    assert (path[0].name, path[0].files) == ("20211214/IMG_0.jpg", 30)
    assert path[0].reason == "folders above it: 1; above what fits: 2"
    assert path[1].reason == "20211399 is no date (%Y%m%d)"
    assert [(one.name, one.files) for one in name] == [("IMG_0.jpg", 30), ("odd.jpg", 1)]
    assert export[0].name == f"{RUN}/results of monday.csv"
    assert [example.files for example in check(archive, examples=1).patterns[0].examples] == [30]
    done = command(archive, "--layout", "dated")
    assert done.exit_code == 3
    assert "does not fit: path does not take 31 of 37 images and exports" in done.stdout


def test_dates_have_a_first_a_last_and_a_gap(archive):
    for day in ("20211210", "20210101", "20211211"):
        add_image(archive, f"{day}/001_SN08030/{NAME.format(9, 9)}")
    dates = check(archive).dates
    assert (dates.first, dates.last, dates.days) == (date(2021, 1, 1), date(2021, 12, 14), 4)
    assert (dates.longest_gap, dates.gap_after) == (342, date(2021, 1, 1))


def test_dates_to_come_and_folders_in_folders_are_problems(archive):
    add_image(archive, f"29991231/001_SN08030/{NAME.format(9, 9)}")
    found = check(archive)
    assert [(path, "future" in reason) for path, reason in found.problems] == [("29991231", True)]
    assert any("1 place cannot be read, or bear" in sentence for sentence in found.unmatched)


def test_headers_are_read_and_no_pixels(archive):
    file = archive / RUN / NAME.format(0, 0)
    file.write_bytes(file.read_bytes()[:700])  # its header, and next to nothing of the picture
    (archive / RUN / NAME.format(1, 1)).write_bytes(b"")
    (archive / RUN / NAME.format(2, 2)).write_bytes(b"no picture")
    add_image(archive, f"{RUN}/{NAME.format(7, 7)}", (600, 400))
    found = check(archive)
    assert found.sizes.sizes == (("1388x1040", 2, 1.0), ("600x400", 1, None))
    assert dict(found.sizes.unreadable) == {
        f"{RUN}/{NAME.format(1, 1)}": "the file is empty",
        f"{RUN}/{NAME.format(2, 2)}": "no image that can be read (UnidentifiedImageError)",
    }
    assert any("600x400 (1 of 5 images opened)" in sentence for sentence in found.unmatched)
    assert found.empty == (f"{RUN}/{NAME.format(1, 1)}",)
    assert any("1 image or export is an empty file" in sentence for sentence in found.unmatched)
    assert any("2 of 5 images opened have no header" in sentence for sentence in found.unmatched)


def test_only_a_sample_is_opened(archive, monkeypatch):
    opened = []

    def size(path):
        opened.append(path.name)
        return 1, 1

    monkeypatch.setattr(layout_contents, "_size", size)
    assert check(archive, sample=2).sizes.opened == 2
    assert opened == [NAME.format(0, 0), NAME.format(2, 2)]
    assert check(archive, sample=0).export_contents.opened == 0


def test_a_sample_is_spread_evenly_and_always_the_same():
    files = [ListedFile(f"{number:03d}", 1, 1) for number in range(10)]
    assert [file.name for file in spread(files, 3)] == ["000", "003", "006"]
    assert spread(files, 10) == spread(files, 99) == files
    assert spread(files, 0) == []


def test_exports_are_read_as_a_run_reads_them(archive):
    rows = (
        f"1;x;D:\\{NAME.format(0, 0)};[77] Inconnu+[15] Mouchete\n"
        "2;x;D:\\absent.jpg;[16] Nucleolaire\n"
        f"3;x;D:\\{NAME.format(1, 1)};a revoir\n"
        f"4;x;D:\\{NAME.format(2, 2)};\n"
    )
    add(archive, f"{RUN}/{EXPORT}", HEAD + rows)
    add(archive, f"{RUN}/{EXPORT.replace('101758', '101759')}", "one;two\n1;2\n")
    found = check(archive)
    exports = found.export_contents
    assert (exports.opened, exports.rows, exports.rows_with_image) == (2, 4, 3)
    assert exports.rows_without_image == ((f"{RUN}/{EXPORT}", 4, "absent.jpg"),)
    assert [(code.code, code.label) for code in exports.codes] == [
        (15, "speckled"),
        (16, "nucleolar"),
        (77, None),
    ]
    assert (exports.no_code, exports.no_term) == ((("a revoir", 1),), 1)
    assert len(exports.unreadable) == 1
    assert "ImName" in exports.unreadable[0][1]
    assert any("the code table does not have [77]" in sentence for sentence in found.unmatched)
    assert any("1 of 2 exports opened cannot be" in sentence for sentence in found.unmatched)
    assert any("1 of 4 rows of exports name no image" in note for note in found.notes)
    done = command(archive)
    assert done.exit_code == 3
    assert "[77] Inconnu" in done.stdout  # and no markup of a terminal


def test_a_column_that_names_no_image_at_all_is_told(archive):
    add(archive, f"{RUN}/{EXPORT}", HEAD + "1;x;well one;[15] Mouchete\n")
    assert any("is export.columns.image the right" in text for text in check(archive).unmatched)


def test_classes_without_labels_are_told(tmp_path):
    add_image(tmp_path, "Nucleaire/Homogene/1.jpg")
    add_image(tmp_path, "Nucleaire/Neu/1.jpg")
    found = check(tmp_path, "by-class")
    assert found.classes == (("Homogene", 1, ("homogeneous",)), ("Neu", 1, ()))
    assert found.unmatched == ("the class table does not have Neu",)
    add_image(tmp_path / "other", "images/tiles/1.jpg")
    assert any(
        "one above or below it?" in t for t in check(tmp_path / "other", "by-class").unmatched
    )


def test_pictures_of_other_formats_are_noted(archive):
    add(archive, f"{RUN}/stack.czi")
    add(archive, "readme.txt")
    found = check(archive)
    assert found.others == {".czi": 1, ".txt": 1}
    assert (found.unmatched, len(found.notes)) == ((), 2)


def test_without_a_layout_all_are_tried_and_the_chosen_is_checked(archive):
    done = command(archive, "--json")
    told = json.loads(done.stdout)
    assert told["detected"]["fitting_images"] == {"dated": 4, "by-class": 0, "unlabelled": 0}
    assert told["detected"]["fitting_exports"] == {"dated": 1}
    assert told["check"]["layout"] == "dated"
    shown = command(archive).stdout
    assert "dated (fits)" in shown


def test_an_archive_that_no_layout_fits_is_refused_with_its_counts(archive):
    done = command(archive.parent)
    assert isinstance(done.exception, AmbiguousLayoutError)
    assert "DATA is an archive of layout dated" in str(done.exception)
    assert "files looked at" in done.stdout
    told = json.loads(command(archive.parent, "--json").stdout)
    assert told["check"] is None
    assert "cannot be told" in told["refused"]


@pytest.mark.parametrize(
    ("folder", "layout", "message"),
    [("nowhere", "auto", "Is the drive mounted"), ("nowhere", "dated", "Is the drive mounted")]
    + [("DATA", "mine.toml", "there is no layout"), ("DATA", "broken.toml", "broken.toml")],
)
def test_what_cannot_be_used_is_an_error_of_the_configuration(archive, folder, layout, message):
    (archive.parent / "broken.toml").write_text("name = 'x'")
    name = layout if layout in ("auto", "dated") else archive.parent / layout
    done = command(archive.parent / folder, "--layout", name)
    assert isinstance(done.exception, ConfigurationError)
    assert message in str(done.exception)


def test_a_layout_that_finds_nothing_says_so(archive):
    found = check(archive, "unlabelled")
    assert (found.images, found.sizes.opened) == (0, 0)
    assert found.unmatched[0] == "no image lies where the layout says: path"


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes, and of any bytes")
def test_odd_names_do_no_harm_on_a_terminal(archive):
    add_image(archive, f"{RUN}/two\nlines [red].jpg")
    os.close(os.open(bytes(archive) + b"/n\xe9.jpg", os.O_CREAT))
    done = command(archive)
    assert done.exit_code == 3
    assert "two\\nlines [red].jpg" in done.stdout
    assert "not UTF-8" in done.stdout
    assert json.loads(command(archive, "--json").stdout)["check"]["problems"]
