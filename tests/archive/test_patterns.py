"""Patterns that would run for ever, told from those that only look so."""

from __future__ import annotations

import re
import signal
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabatch.archive.patterns import check_pattern

HARMLESS = [
    r"(?:[^/]+/)*[^/]+",
    r"(?:[^/]+/)+[A-H][0-9]{2}\.png",
    r"[0-9]{8}/.*_.*_.*",
    r"(?:[a-z]+_)*[a-z]+",
    r"(?:ab|cd)+",
    r"(?:[0-9]{2,3}_)+",
    r"(?:[0-9]{8})+",
    r"(?:a|b|ab?)x",
    r"(?:[ab]|c)+x",
    r"x(?:a?)*y",
    r"(?>(?:[0-9])+)+x",
    r"(?:[0-9]++_?)+x",  # does not give back what it has taken
    r"(?i:SCREEN|NEGATIV)\.csv",
    r"(?P<a>x)?(?(a)y|z)w+",
]

ENDLESS = [
    (r"(?:[0-9]+)+", "1"),
    (r"(?:[0-9]+)*x", "1"),
    (r"(?:a|a)+b", "a"),
    (r"(?:[ab]|[ab])+b", "a"),
    (r"(?:(?:a?)+b)+", "b"),
    (r"(?:(?:|a)(?:|b)c|c)+x", "c"),
    (r"(?:a|ab|b)+", "ab"),
    (r"(?:[a-z]+_?)+", "a"),
    (r"(?:\w+\s?)*x", "a"),
    (r"(?:.*)*x", "a"),
    (r"(?:a*b*)*c", "ab"),
    (r"(?=(?:[a-z]+)+!)x.*", "a"),
    (r"(?:[0-9]{2}|[0-9]{3})+x", "1"),
    (r"(?:[a-z]{1,20})+x", "a"),
    (r"(?:[a-z]+_?){2,30}x", "a"),
    (r"(?:.+/)+x", "a/"),
]


@pytest.mark.parametrize("pattern", HARMLESS)
def test_a_harmless_pattern_is_taken(pattern):
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(("pattern", "_"), ENDLESS)
def test_an_endless_pattern_is_refused(pattern, _):
    with pytest.raises(ValueError, match="doubles with every character"):
        check_pattern(pattern)


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "text"), ENDLESS)
def test_the_endless_patterns_are_endless(pattern, text):
    """Time grows beyond all bounds; this shows that the cases above mean something."""
    compiled = re.compile(pattern)
    for length in range(4, 60):
        started = time.perf_counter()
        compiled.fullmatch(text * length + "\n")
        if time.perf_counter() - started > 0.2:
            return
    pytest.fail(f"{pattern} took no time")


atom = st.sampled_from(["a", "b", "[ab]", "[^a]", "_", "."])


def joined(inner):
    def grouped(pattern):
        return f"(?:{pattern})"

    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: grouped("|".join(pair))),
        st.tuples(inner.map(grouped), st.sampled_from(["*", "+", "?"])).map("".join),
    )


@settings(deadline=None)  # the machine may be busy
@given(st.recursive(atom, joined, max_leaves=6))
def test_what_is_taken_is_quick_on_long_names(pattern):
    try:
        check_pattern(pattern)
    except ValueError:
        return
    # 2**40 steps would never end, and half a minute is enough for any other number
    previous = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"{pattern} never ends"))
    signal.alarm(30)
    try:
        for text in ("a" * 40, "ab" * 20, "ab_" * 13, "_" * 40):
            re.fullmatch(pattern, text + "\n")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
