"""The vocabulary: what is shipped is whole, and what contradicts itself is refused."""

from __future__ import annotations

import csv
import re
from importlib.resources import files

import pytest

from anabatch.errors import ConfigurationError
from anabatch.vocabulary import Vocabulary, normalise_class

SHIPPED = Vocabulary.load(None)

# The codes of the study's labelled images, and the aliases of older exports.
CODES = {2, 3, 5, *range(9, 12), *range(14, 35), 99}
ALIASES = {44: 23, 6: 14, 7: 15, 8: 16}


def rows(name):
    text = (files("anabatch.schemas") / "labels" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_code_of_the_study_has_a_label_of_its_own():
    assert len(CODES) == 28
    labels = {code: SHIPPED.resolve(code) for code in CODES}
    assert all(code == canonical and label for code, (canonical, label) in labels.items())
    assert len({label for _, label in labels.values()}) == 28
    axes = {code: SHIPPED.axis(label or "") for code, (_, label) in labels.items()}
    assert {code for code, axis in axes.items() if axis == "status"} == {2, 3, 5}
    assert sum(axis == "pattern" for axis in axes.values()) == 25  # no code is an antigen


def test_aliases_lead_to_their_code():
    for alias, code in ALIASES.items():
        assert SHIPPED.resolve(alias) == SHIPPED.resolve(code)
        assert SHIPPED.resolve(alias)[0] == code
    assert SHIPPED.codes.keys() == CODES | ALIASES.keys()


def test_an_unknown_code_keeps_its_number():
    assert SHIPPED.resolve(77) == (77, None)


def test_all_47_classes_have_labels():
    assert len(SHIPPED.classes) == 47
    assert all(labels for labels in SHIPPED.classes.values())
    used = {label for labels in SHIPPED.classes.values() for label in labels}
    used |= {label for _, label in SHIPPED.codes.values()}
    antigens = {label for label, axis in SHIPPED.axes.items() if axis == "antigen"}
    assert antigens <= used


def test_pattern_and_antigen_stay_apart():
    assert SHIPPED.class_labels("mouchete RNApol") == ("speckled", "rna polymerase iii")
    assert SHIPPED.class_labels("nucleole RNA pol") == ("nucleolar punctate", "rna polymerase i")
    assert SHIPPED.class_labels("CytoD SRP RiboP") == (
        "cytoplasmic diffuse",
        "srp or ribosomal p",
    )
    assert SHIPPED.class_labels("Controle Neg") == ("negative",)
    assert SHIPPED.axis("dense fine speckled") == "pattern"
    assert SHIPPED.axis("dfs70") == "antigen"


def test_class_names_match_whatever_their_case_and_spaces():
    assert SHIPPED.class_labels("  MOUCHETE   Fin ") == ("fine speckled",)
    assert SHIPPED.class_labels("mouchete\u00a0fin") == ("fine speckled",)
    assert SHIPPED.class_labels("Mouchete nouveau") == ()
    assert normalise_class("Dot  sp100") == "dot sp100"


def test_icap_codes_belong_to_patterns_and_the_negative():
    for row in rows("vocabulary.csv"):
        if row["icap"]:
            assert row["axis"] == "pattern" or row["label"] == "negative"
            assert all(re.fullmatch(r"AC-([12]?\d)", code) for code in row["icap"].split(";"))


def test_no_name_means_two_labels():
    names = [
        name.casefold()
        for row in rows("vocabulary.csv")
        for name in (row["label"], *filter(None, row["synonyms"].split(";")))
    ]
    assert len(names) == len(set(names))


@pytest.fixture
def folder(tmp_path):
    for name in ("vocabulary.csv", "lis_codes.csv", "hep_annot.csv"):
        source = files("anabatch.schemas") / "labels" / name
        (tmp_path / name).write_bytes(source.read_bytes())
    return tmp_path


def edit(folder, name, old, new):
    file = folder / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_copied_vocabulary_is_the_shipped_one(folder):
    assert Vocabulary.load(folder) == SHIPPED
    assert Vocabulary.load(folder).digest == SHIPPED.digest
    for name in ("vocabulary.csv", "lis_codes.csv", "hep_annot.csv"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    assert Vocabulary.load(folder) == SHIPPED


def test_the_digest_follows_what_determines_labels_and_nothing_else(folder):
    edit(folder, "vocabulary.csv", "Nuclear homogeneous", "Homogeneous nuclei")
    assert Vocabulary.load(folder).digest == SHIPPED.digest
    edit(folder, "lis_codes.csv", "19,,dots", "19,,nuclear dots")
    assert Vocabulary.load(folder).digest != SHIPPED.digest


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("vocabulary.csv", "label,axis", "term,axis", "line 1: the columns must be label"),
        ("vocabulary.csv", "homogeneous,", "Homogeneous,", "line 5: label 'Homogeneous' is not"),
        ("vocabulary.csv", "positive,status", "negative,status", "line 3: .*stands twice"),
        ("vocabulary.csv", "opt,antigen", "opt,epitope", "'epitope' is none of status"),
        ("vocabulary.csv", "pattern,speckled,", "pattern,spotted,", "no such parent: 'spotted'"),
        ("vocabulary.csv", "pattern,speckled,", "pattern,sp100,", "no such parent: 'sp100'"),
        ("vocabulary.csv", "Invalid reading", "Invalid, unread", "line 4: 7 fields, not 6"),
        ("vocabulary.csv", "positive,status", "sure,status", "the status 'positive' is missing"),
        ("lis_codes.csv", "9,,ssa", "9,,ssb", "line 8: unknown label 'ssb'"),
        ("lis_codes.csv", "9,,ssa", "3,,ssa", "code 3 stands twice"),
        ("lis_codes.csv", "9,,ssa", "9,14,ssa", "needs alias_of or label"),
        ("lis_codes.csv", "9,,ssa", "nine,,ssa", "'nine' is no code"),
        ("lis_codes.csv", "9,,ssa", "40000,,ssa", "'40000' is no code from 0 to 32767"),
        ("lis_codes.csv", "6,14,", "6,7,", "alias of 7, which has no label"),
        ("lis_codes.csv", "3,,positive", "4,,positive", "code 3 must be 'positive'"),
        ("hep_annot.csv", "Homogene,", "DFS70,", "class 'dfs70' stands twice"),
        ("hep_annot.csv", "cenp-a/b", "cenp-z", "line 2: unknown labels cenp-z"),
        ("hep_annot.csv", ";cenp-a/b", ";centromere", "a label stands twice"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(folder, name, old, new, message):
    edit(folder, name, old, new)
    with pytest.raises(ConfigurationError, match=message) as caught:
        Vocabulary.load(folder)
    assert name in str(caught.value)


def test_a_missing_or_odd_file_is_refused(folder):
    (folder / "hep_annot.csv").write_bytes("class,labels\nMoucheté,speckled".encode("cp1252"))
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        Vocabulary.load(folder)
    (folder / "hep_annot.csv").unlink()
    with pytest.raises(ConfigurationError, match="The folder needs"):
        Vocabulary.load(folder)


@pytest.mark.parametrize(
    ("code", "name", "problem"),
    [
        (15, "Mouchete", None),
        (15, " MOUCHETÉ ", None),
        (15, "Speckled", None),  # of its alias, 7
        (7, "Mouchete", None),
        (15, "speckled", None),  # its label
        (25, "NUMA type 1", None),  # spaces do not matter
        (15, "", None),
        (15, "Homogene", "other_name"),
        (19, "Nuclear Dots", "other_name"),
        (15, "Tacheté", "unknown_name"),
        (77, "Mouchete", None),  # the code is unknown, and its name no matter
    ],
)
def test_a_code_goes_by_its_names(code, name, problem):
    assert SHIPPED.check_name(code, name) == problem


def test_every_shipped_code_has_names_and_none_is_of_two_codes():
    assert all(SHIPPED.names_of(code) for code in SHIPPED.codes)
    for code in SHIPPED.codes:
        for name in (*SHIPPED.names_of(code), SHIPPED.resolve(code)[1] or ""):
            assert SHIPPED.check_name(code, name) is None
            canonical = SHIPPED.resolve(code)[0]
            others = [c for c in SHIPPED.codes if SHIPPED.resolve(c)[0] != canonical]
            assert {SHIPPED.check_name(other, name) for other in others} == {"other_name"}


def test_a_code_table_without_names_takes_any_but_another_labels(folder):
    table = folder / "lis_codes.csv"
    lines = [line.rpartition(",")[0] for line in table.read_text(encoding="utf-8").splitlines()]
    table.write_text("\n".join(lines), encoding="utf-8")
    bare = Vocabulary.load(folder)
    assert bare.codes == SHIPPED.codes
    assert bare.names == {}
    assert bare.check_name(15, "Tacheté") is None
    assert bare.check_name(15, "homogeneous") == "other_name"
    assert bare.digest != SHIPPED.digest  # other rows would be flagged


def test_a_layouts_own_tables_stand_beside_the_shipped_vocabulary(tmp_path):
    codes = tmp_path / "codes.csv"
    codes.write_text("code,alias_of,label\n2,,negative\n3,,positive\n70,,golgi\n", encoding="utf-8")
    classes = tmp_path / "classes.csv"
    classes.write_text("class,labels\nAppareil,golgi\n", encoding="utf-8")
    own = Vocabulary.load(codes=str(codes), classes=str(classes))
    assert own.resolve(70) == (70, "golgi")
    assert own.resolve(14) == (14, None)
    assert own.class_labels("appareil") == ("golgi",)
    assert own.axes == SHIPPED.axes
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Vocabulary.load(codes="odd.csv")
