"""Layouts: what paths and names say, which sizes are known, which layout an archive has."""

from __future__ import annotations

import datetime as dt
import pickle
import tomllib
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabatch.archive.dialect import Columns, Dialect
from anabatch.archive.layout import (
    SHIPPED,
    Layout,
    NameParts,
    PathParts,
    detect_layout,
    file_date,
    load_layout,
    parse_date,
)
from anabatch.errors import AmbiguousLayoutError, ConfigurationError

DATED = load_layout("dated")
BY_CLASS = load_layout("by-class")
UNLABELLED = load_layout("unlabelled")


def make(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("20211214/005_SN08030/a.jpg", PathParts(dt.date(2021, 12, 14), "005", "SN08030")),
        ("20140621/001_SN09001/a.jpg", PathParts(dt.date(2014, 6, 21), "001", "SN09001")),
        ("20211214/essai 2/a.jpg", PathParts(dt.date(2021, 12, 14), "essai 2", None)),
        ("20211301/005_SN08030/a.jpg", None),  # no thirteenth month
        ("20211214/a.jpg", None),
        ("20211214/005_SN08030/deep/a.jpg", None),
        ("DATA/20211214/005_SN08030/a.jpg", None),
    ],
)
def test_a_dated_path_gives_date_run_and_instrument(path, expected):
    assert DATED.parse_path(path) == expected
    assert file_date(path, DATED) == (expected.date if expected else None)


@pytest.mark.parametrize(
    ("path", "class_name"),
    [
        ("Nucleaire/Dot sp100/Dot sp100_1.jpg", "Dot sp100"),
        ("Centromere/1.jpg", "Centromere"),
        ("a/b/c/1.jpg", None),
        ("1.jpg", None),
        ("20211214/005_SN08030/1.jpg", None),
        ("pat_10/1.jpg", None),
    ],
)
def test_the_class_is_the_folder_that_holds_the_image(path, class_name):
    parts = BY_CLASS.parse_path(path)
    assert (parts.class_name if parts else None) == class_name
    if class_name:
        assert class_name == path.split("/")[-2]
        assert file_date(path, BY_CLASS) is None


def test_only_folders_of_classes_have_classes():
    assert [load_layout(name).has_classes for name in SHIPPED] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "033_0ae00987379_1_202524401_3_14_05.jpg",
            NameParts("033", "0ae00987379", "202524401", "05"),
        ),
        ("003_0096197_1_1_3_14_04.jpg", NameParts("003", "0096197", "1", "04")),
        ("042_0ae00987379_1_absent_3_14_07.jpg", NameParts("042", "0ae00987379", None, "07")),
        ("042_0ae00987379_1__3_14_07.jpg", NameParts("042", "0ae00987379", None, "07")),
        ("033_0ae00987379_1_0012_3_14_05.JPG", NameParts("033", "0ae00987379", "0012", "05")),
        (".jpg", NameParts()),
        ("Centromere_1.jpg", NameParts()),
        ("", NameParts()),
    ],
)
def test_an_image_name_gives_well_plate_and_sample(name, expected):
    assert DATED.parse_image_name(name) == expected


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=60))
def test_no_path_and_no_name_is_an_error(text):
    for name in SHIPPED:
        layout = load_layout(name)
        layout.parse_path(text)
        layout.parse_image_name(text)
        layout.is_export(text)


part = st.from_regex(r"[0-9a-z]{1,9}", fullmatch=True)


@settings(deadline=None)  # the machine may be busy
@given(st.from_regex(r"[0-9]{3}", fullmatch=True), part, st.integers(0, 10**12), part, part)
def test_every_well_formed_name_is_read_back(index, plate, sample, middle, well):
    name = f"{index}_{plate}_1_{sample}_{middle}_14_{well}.jpg"
    assert DATED.parse_image_name(name) == NameParts(index, plate, str(sample), well)


@settings(deadline=None)  # the machine may be busy
@given(st.dates(dt.date(1900, 1, 1), dt.date(2999, 12, 31)))
def test_dates_are_read_back(day):
    assert parse_date(f"{day:%Y%m%d}") == day


def test_exports_are_known_by_their_names():
    assert DATED.is_export("exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv")
    assert DATED.is_export("EXP_PL_LIS_20211215_101758_SN8030_negativ.CSV")
    assert not DATED.is_export("exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv.bak")
    assert not DATED.is_export("other.csv")
    assert not BY_CLASS.is_export("exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv")


def test_reference_pixels_come_from_the_user_then_the_layout_then_are_one():
    assert DATED.reference_pixels(1388, 1040) == (1.0, True)
    assert DATED.reference_pixels(2776, 2080) == (2.0, True)
    assert DATED.reference_pixels(1296, 966) == (1.0, False)
    assert DATED.reference_pixels(1040, 1388) == (1.0, False)
    assert DATED.reference_pixels(2776, 2080, {"2776x2080": 1.5}) == (1.5, True)


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("dated", ["20211214/005_SN08030/a.jpg", "20211215/001_SN08030/b.JPG", "20211215/x.log"]),
        ("by-class", ["Nucleaire/Centromere/1.jpg", "Controle/Controle Neg/1.png"]),
        ("by-class", ["Centromere/1.jpg", "Homogene/1.tif"]),
        ("unlabelled", ["pat_7/pat_7_1.jpg", "pat_25/1.bmp", "pat_7/masks/.keep"]),
    ],
)
def test_each_layout_is_detected(tmp_path, name, paths):
    assert detect_layout(make(tmp_path, *paths)) == load_layout(name)


def test_a_stray_image_does_not_hide_the_layout(tmp_path):
    make(tmp_path, *[f"20211214/005_SN08030/{i}.jpg" for i in range(20)], "stray.jpg")
    assert detect_layout(tmp_path).name == "dated"


def test_the_folder_above_an_archive_is_refused_and_the_archive_named(tmp_path):
    make(tmp_path, "DATA/20211214/005_SN08030/a.jpg", "readme.txt")
    with pytest.raises(AmbiguousLayoutError, match="DATA is an archive of layout dated"):
        detect_layout(tmp_path)


def test_a_mixed_archive_is_refused_with_the_counts(tmp_path):
    make(tmp_path, "20211214/005_SN08030/a.jpg", "Nucleaire/Centromere/1.jpg")
    with pytest.raises(AmbiguousLayoutError, match="of 2 images fit dated 1, by-class 1"):
        detect_layout(tmp_path)


def test_an_archive_without_images_is_refused(tmp_path):
    make(tmp_path, "20211214/x.log")
    with pytest.raises(AmbiguousLayoutError, match=r"holds no images.*Name the layout"):
        detect_layout(tmp_path)
    with pytest.raises(ConfigurationError, match="no folder"):
        detect_layout(tmp_path / "missing")


def test_a_layout_is_read_from_a_file_and_its_digest_follows_its_content(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("name = 'mine'\npath = '^(?P<class_name>[^/]+)/[^/]+$'\n", encoding="utf-8")
    first = load_layout(str(file))
    assert first.has_classes
    assert first.parse_image_name("033_0ae00987379_1_202524401_3_14_05.jpg") == NameParts()
    file.write_text("name = 'mine'\npath = '^[^/]+$'\n", encoding="utf-8")
    second = load_layout(str(file))
    assert not second.has_classes
    assert first.digest() != second.digest()
    assert first.digest() == Layout(name="mine", path=first.path).digest()


EXPORT = "name = 'x'\npath = '.+'\nexport_name = '.+'\n[export]\n"
YMD = "(?P<year>.)(?P<month>.)(?P<day>.)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not valid TOML"),
        ("", "name is missing; path is missing"),
        ("name = 'x'", "path is missing"),
        ("name = ''\npath = 'a'", 'name has to be a text of 1 or more characters, and is ""'),
        ("name = 'x'\npath = ['a']", r'path has to be a text, and is \["a"\]'),
        ("name = 'x'\npath = 'a'\nignored = '.*'", r'ignored has to be a list, and is "\.\*"'),
        (
            "name = 'x'\npath = 'a'\nclasses = 'a/b.csv'",
            "classes has to be the name of a .csv file",
        ),
        ("name = 'x'\npath = 'a'\nexport = 3", "export has to be a table, and is 3"),
        ("name = 'x'\npath = '('", "not a regular expression"),
        ("name = 'x'\npath = 'a'\ncolour = 1", "colour is not known; the keys are name, "),
        ('name = "x"\npath = "\\d"', "'single quotes'"),
        ("name = 'x'\npath = ''", "path: an empty pattern finds no file"),
        ("name = 'x'\npath = '.*'", "path: '.*' fits an empty text"),
        ("name = 'x'\npath = '[[]a'\nimage_name = '[[a]'", "image_name: .*nested set"),
        ("name = 'x'\npath = '(?P<dat>.+)'", "'dat'; did you mean 'date'"),
        ("name = 'x'\npath = '(?P<year>[0-9]+)/.+'", "one is missing"),
        (f"name = 'x'\npath = '(?P<date>.){YMD}.+'", "either the group date, or year"),
        ("name = 'x'\npath = '.+'\ndate_format = '%d.%m.%Y'", "no group date"),
        ("name = 'x'\npath = '(?P<date>.+)/.+'\ndate_format = '%d %B %Y'", "%B is none of"),
        ("name = 'x'\npath = '(?P<date>.+)/.+'\ndate_format = '%Y-%m'", "does not name a day"),
        ("name = 'x'\npath = '.+'\nimage_name = '.+'", "image_name: it has no named group"),
        ("name = 'x'\npath = '.+'\nimage_name = '(?P<run>.+)'", "'run'.*well_index, plate"),
        ("name = 'x'\npath = '.+'\nexport_name = '(?P<kind>.+)'", "'kind' .it may have none"),
        ("name = 'x'\npath = '(?P<well>.)+'\nimage_name = '(?P<well>.)'", "same group .well."),
        ("name = 'x'\npath = '.+'\n[export]\nheader_lines = 1", "export_name names none"),
        (
            "name = 'x'\npath = '.+'\n[export]\nheader = 1",
            "header is not known; .* are separators, ",
        ),
        (f"{EXPORT}header_lines = 0", "export.header_lines has to be 1 or more, and is 0"),
        (f"{EXPORT}separators = []", r"export.separators has to be a list of 1 or more .* is \[\]"),
        (f"{EXPORT}separators = ['ab']", r'used: \S+separators.0 has to be one [^;]* is "ab"\. Co'),
        (
            f"{EXPORT}kinds = {{ name = 'X' }}",
            "export.kinds.name has to be 'SCREEN', 'NEGATIV' or 'A",
        ),
        (f"{EXPORT}columns = {{ image = [''] }}", "columns.image.0 has to be a column's name, and"),
        (
            "name = 'x'\npath = '.+'\n[export.columns]\npicture = ['a']",
            "export.columns.picture is not known; the keys are image, pattern, sample",
        ),
        (
            "name = 'x'\npath = '.+'\n[pixels_per_reference_pixel]\n1x1 = 1\nignored = []",
            r"used: \S+ignored is a key of the layout itself: it stands above [^;]*_pixel\]\. Co",
        ),
        (
            "name = 'x'\npath = '.+'\nexport_name = '.+'\n[export]\nterm = '(?P<code>[0-9]+)+'",
            "doubles with every character",
        ),
        (
            "name = 'x'\npath = 'a'\n[pixels_per_reference_pixel]\n'big' = 1",
            "big: the key has to be",
        ),
        (
            "name = 'x'\npath = 'a'\n[pixels_per_reference_pixel]\n1x1 = 0",
            "has to be a number above 0, and is 0",
        ),
    ],
)
def test_a_layout_that_cannot_be_used_is_refused(tmp_path, text, message):
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message) as refused:
        load_layout(str(file))
    assert str(file) in str(refused.value)
    for words in ("Input", "should", "String", "Tuple", "Field", "Value error", "dictionary"):
        assert words not in str(refused.value)


def test_a_layout_that_is_not_there_is_told_from_one_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no layout .*mine\.toml'\. Give dated, "):
        load_layout(str(tmp_path / "mine.toml"))
    with pytest.raises(ConfigurationError, match=f"{tmp_path} cannot be read: Is a directory"):
        load_layout(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "date_format", "file", "day"),
    [
        ("(?P<date>[^/]+)/.+", "%Y-%m-%d", "2024-03-05/a.png", dt.date(2024, 3, 5)),
        ("(?P<date>[^/]+)/.+", "%Y-%m-%d", "2024-3-5/a.png", None),
        ("(?P<date>[^/]+)/.+", "%Y-%m-%d", "2024-02-30/a.png", None),
        ("(?P<date>[^/]+)/.+", "%d.%m.%y", "05.03.24/a.png", dt.date(2024, 3, 5)),
        ("(?P<date>[^/]+)/.+", "%Y.%j", "2024.366/a.png", dt.date(2024, 12, 31)),
        ("(?P<date>[^/]+)/.+", "%Y%m%d", "2021121/a.png", None),  # strptime takes it
        ("(?P<date>.{8})_.+", "%Y%m%d", "20240305_A01.png", dt.date(2024, 3, 5)),
        ("(?P<year>.+)/(?P<month>.+)/(?P<day>.+)/.+", "", "2024/3/5/a.png", dt.date(2024, 3, 5)),
        ("(?P<year>.+)/(?P<month>.+)/(?P<day>.+)/.+", "", "2024/03/05/a.png", dt.date(2024, 3, 5)),
        ("(?P<year>.+)/(?P<month>.+)/(?P<day>.+)/.+", "", "24/03/05/a.png", None),
    ],
)
def test_dates_are_read_as_the_layout_writes_them(path, date_format, file, day):
    layout = Layout(name="x", path=path, **({"date_format": date_format} if date_format else {}))
    assert layout.has_dates
    assert file_date(file, layout) == day
    assert (layout.why_unfit(file) == "") == (day is not None)


def test_a_pattern_fits_a_whole_path_or_not_at_all():
    layout = Layout(name="x", path="[a-z]+/[^/]+", export_name="lis")
    assert layout.parse_path("a/1.jpg")
    assert layout.parse_path("a/1.jpg/2.jpg") is None
    assert not layout.is_export("lis.csv")


def test_folders_can_say_plate_sample_and_well():
    layout = Layout(
        name="x",
        path="plate_(?P<plate>[0-9]+)/[^/]+",
        image_name="(?P<well>[A-H])(?P<sample>[0-9]*)",
    )
    assert layout.parse_image_name("plate_07/A12.png") == NameParts(None, "07", "12", "A")
    assert layout.parse_image_name("plate_07/A.png") == NameParts(None, "07", None, "A")
    assert layout.parse_image_name("A12.png") == NameParts(None, None, "12", "A")
    assert layout.parse_image_name("plate_07/other.png") == NameParts(None, "07", None, None)


def test_tables_lie_beside_the_layouts_file_or_in_the_vocabularys_folder(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        "name = 'x'\npath = '.+'\nexport_name = '.+'\n[export]\ncodes = 'mine.csv'", "utf-8"
    )
    layout = load_layout(str(file))
    assert (layout.code_table, layout.class_table) == ("mine.csv", "hep_annot.csv")
    (tmp_path / "mine.csv").touch()
    assert layout.code_table == str(tmp_path / "mine.csv")
    assert pickle.loads(pickle.dumps(layout)).code_table == layout.code_table  # noqa: S301 (as to a worker)
    assert DATED.code_table == "lis_codes.csv"


def test_digests_follow_what_a_stage_reads_of_a_layout_and_nothing_else():
    def digests(**changes):
        values = {"name": "x", "path": ".+", "export_name": "a", "export": {}} | changes
        layout = Layout.model_validate(values)
        return layout.scan_digest, layout.labels_digest

    scan, labels = digests()
    assert digests(export_name="b", ignored=("c",)) == (scan, labels)
    assert digests(export={"codes": "mine.csv"}) == (
        scan,
        labels,
    )  # its content is the vocabulary's
    assert digests(export={"header_lines": 1})[0] == scan
    assert digests(export={"header_lines": 1})[1] != labels
    assert digests(pixels_per_reference_pixel={"1x1": 1})[0] != scan
    assert digests(pixels_per_reference_pixel={"1x1": 1})[1] == labels
    for change in ({"path": "..+"}, {"image_name": "(?P<well>.)"}):
        assert digests(**change)[0] != scan
        assert digests(**change)[1] != labels


def test_the_comments_of_the_dated_layout_name_every_key_with_its_default():
    text = (files("anabatch.schemas") / "layouts" / "dated.toml").read_text(encoding="utf-8")
    before, table = text.split("# [export]\n")
    commented = "\n".join(line.removeprefix("# ") for line in table.splitlines())
    raw = tomllib.loads(f"{before}\n[export]\n{commented}")
    assert raw["export"].pop("kind") == "ALL"  # the only one that is off by default
    assert Layout.model_validate(raw).export == DATED.export
    assert raw["export"].keys() == Dialect.model_fields.keys() - {"kind"}
    assert raw["export"]["columns"].keys() == Columns.model_fields.keys()
    assert all(key in text for key in Layout.model_fields)


@pytest.mark.parametrize(
    "folder", ["2021-12-14", "2021_12_14", "20211214", "2021.12.14 late", "pat_7"]
)
def test_folders_of_other_layouts_are_no_classes(folder):
    assert BY_CLASS.parse_path(f"{folder}/1.jpg") is None
    assert BY_CLASS.parse_path(f"{folder}/plate 7/1.jpg") is None
    assert BY_CLASS.parse_path(f"Nord/{folder}/1.jpg") is None
    assert BY_CLASS.parse_path("202112140/1.jpg") == PathParts(class_name="202112140")


def test_an_unknown_layout_is_refused_and_the_known_ones_named(tmp_path):
    with pytest.raises(ConfigurationError, match="dated, by-class, unlabelled"):
        load_layout("by-colour")
    file = tmp_path / "latin.toml"
    file.write_bytes("name = 'é'".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_layout(str(file))
