"""Text from an archive is shown, and never obeyed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.report.templating import environment
from anabatch.report.text import number, percent, plural, printable, shortened, shown


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_printable_text_is_one_line_of_visible_utf8(text):
    seen = printable(text)
    seen.encode("utf-8")
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not any(unicodedata.category(character) in hidden for character in seen)
    assert len(seen.splitlines()) <= 1


@given(st.lists(st.sampled_from([b"a", "é ".encode(), b"\x80", b"\xe9.", b"\xff"])).map(b"".join))
def test_bytes_that_are_no_utf8_stand_as_they_were(name):
    shown_name = printable(name.decode("utf-8", "surrogateescape"))
    assert shown_name == name.decode("utf-8", "backslashreplace")


def test_french_labels_stay_as_they_are():
    assert printable("Contrôle Nég\xa0: Mouchetée 1 µm") == "Contrôle Nég\xa0: Mouchetée 1 µm"


@pytest.mark.parametrize(
    ("text", "seen"),
    [("a\nb", "a\\nb"), ("\x00", "\\x00"), ("\udcff", "\\xff"), ("\u202e", "\\u202e")],
)
def test_hidden_characters_stand_as_escapes(text, seen):
    assert printable(text) == seen


def test_values_of_templates():
    assert shown(None) == ""
    assert shown(3) == 3
    assert shown("a\nb") == "a\\nb"


def test_numbers():
    assert number(1234567) == "1\u202f234\u202f567"
    assert number(0.125, 3) == "0.125"
    assert percent(0.1234) == "12.3\u202f%"
    assert number(None) == percent(None) == "\N{EN DASH}"
    assert plural(1, "nucleus", "nuclei") == "1 nucleus"
    assert plural(0, "nucleus", "nuclei") == "0 nuclei"
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"


@pytest.mark.parametrize(("count", "text"), [(1, "1 more file"), (2, "2 more files")])
def test_what_is_left_out_of_a_list_is_counted_in_grammar(count, text):
    template = '{% import "macros.html" as m %}{{ m.more(n, "file", "files", "; look") }}'
    made = environment().from_string(template).render(n=count)
    assert made.strip() == f'<p class="note">… and {text}; look.</p>'
    assert environment().from_string(template).render(n=0).strip() == ""
