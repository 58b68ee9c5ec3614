"""Checks of a layout's patterns, when they are read: what they name, and how long they can take.

Python tries the ways to divide a text among the parts of a regular expression one after the other.
Where a repeated part can be divided in several ways, as in `([0-9]+)+`, their number doubles with
every character, and one odd file name would keep a night from ending. Such patterns are refused:
a pattern's automaton is exponentially ambiguous exactly if one of its states lies on two different
cycles over the same text. What is left takes a time that is polynomial in the length of a path, and
names have at most 255 bytes.

References
----------
A. Weber and H. Seidl, "On the degree of ambiguity of finite automata", Theoretical Computer Science
88 (1991), 325-349: the criterion. V. M. Glushkov, "The abstract theory of automata", Russian
Mathematical Surveys 16 (1961), 1-53: the automaton, whose states are the places of a pattern.
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product

# The parser of the standard library, which has no public name since Python 3.11.
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

_DATE_LETTERS = frozenset("Yymdj")

# A part that is repeated a number of times stands so often in the automaton at most; more is a loop.
_COPIES = 3

# Characters by which sets are compared, beside those that a pattern names.
_USUAL = frozenset("aAzZ09_-./ \n\té\N{WHITE HEAVY CHECK MARK}")

_REPEATS = frozenset({op.MAX_REPEAT, op.MIN_REPEAT})
_WIDTHLESS = frozenset({op.AT, op.GROUPREF})
_APART = frozenset({op.ASSERT, op.ASSERT_NOT, op.ATOMIC_GROUP, op.POSSESSIVE_REPEAT})


def check_pattern(pattern: str) -> str:
    """Return a regular expression that can be used on every file of every night.

    Parameters
    ----------
    pattern : str
        Empty for no pattern.

    Returns
    -------
    str
        The pattern.

    Raises
    ------
    ValueError
        It is no regular expression, fits an empty text, or can take a time that is exponential in
        the length of a name.
    """
    if not pattern:
        return pattern
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            compiled = re.compile(pattern)
    except (re.error, FutureWarning, OverflowError, RecursionError) as error:
        message = f"{pattern!r} is not a regular expression: {error}"
        raise ValueError(message) from error
    if compiled.fullmatch(""):
        message = f"{pattern!r} fits an empty text, so it tells nothing apart: use + in place of *"
        raise ValueError(message)
    return check_time(pattern)


def check_time(pattern: str) -> str:
    """Return a regular expression whose time is polynomial in the length of what it is tried on.

    Raises
    ------
    ValueError
        It can take a time that is exponential.
    """
    if _is_exponential(parser.parse(pattern)):
        message = (
            f"{pattern!r} can take a time that doubles with every character: a repeated group whose "
            "content can be divided in several ways, such as ([0-9]+)+; repeat the group or what is "
            "in it, not both, or end each repeat with a character that it does not hold itself"
        )
        raise ValueError(message)
    return pattern


def check_groups(key: str, pattern: str, known: Sequence[str]) -> set[str]:
    """Return the named groups of a pattern.

    Raises
    ------
    ValueError
        It has a group that nothing reads.
    """
    named = set(re.compile(pattern).groupindex)
    for group in sorted(named - set(known)):
        close = get_close_matches(group, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        may = f"the groups are {', '.join(known)}" if known else "it may have none"
        message = f"{key}: nothing reads a group named {group!r}{hint} ({may})"
        raise ValueError(message)
    return named


def check_date_format(text: str) -> str:
    """Return a format of dates that names one day, whatever the language of the machine.

    Raises
    ------
    ValueError
        It has letters for other things than years, months and days in digits, or lacks one.
    """
    letters = re.findall(r"%(.?)", text.replace("%%", ""))
    other = sorted(set(letters) - _DATE_LETTERS)
    if other:
        message = f"%{other[0]} is none of %Y, %y, %m, %d, %j (years, months and days in digits)"
        raise ValueError(message)
    days = (
        dt.date(2023, 11, 25),
        dt.date(2024, 11, 25),
        dt.date(2024, 12, 25),
        dt.date(2024, 12, 26),
    )
    if len({day.strftime(text) for day in days}) < len(days):
        message = f"{text!r} does not name a day: it needs %Y, %m and %d, or %Y and %j"
        raise ValueError(message)
    return text


@dataclass(frozen=True)
class _Part:
    """A part of a pattern, as an automaton whose states are the places where characters stand.

    Attributes
    ----------
    empty : int
        Ways to take nothing.
    first, last : Counter of int
        The places where it can begin and end, with the number of ways to get there. Two are as good
        as many.
    """

    empty: int = 1
    first: Counter[int] = field(default_factory=Counter)
    last: Counter[int] = field(default_factory=Counter)


def _times(ways: Counter[int], factor: int) -> Counter[int]:
    return Counter({place: min(2, n * factor) for place, n in ways.items() if factor})


@dataclass
class _Automaton:
    """Glushkov's automaton; its edges are counted, as one can stand for several ways to go on."""

    alphabet: frozenset[str]
    takes: list[frozenset[str]] = field(default_factory=list)
    follow: Counter[tuple[int, int]] = field(default_factory=Counter)
    apart: list[Any] = field(default_factory=list)

    def sequence(self, items: Iterable[tuple[Any, Any]]) -> _Part:
        whole = _Part()
        for item in items:
            whole = self._join(whole, self._part(item))
        return whole

    def _connect(self, last: Counter[int], first: Counter[int]) -> None:
        for (a, ways_to), (b, ways_on) in product(last.items(), first.items()):
            self.follow[a, b] += ways_to * ways_on

    def _join(self, left: _Part, right: _Part) -> _Part:
        self._connect(left.last, right.first)
        return _Part(
            min(2, left.empty * right.empty),
            left.first + _times(right.first, left.empty),
            right.last + _times(left.last, right.empty),
        )

    def _part(self, item: tuple[Any, Any]) -> _Part:
        code, value = item
        if code in _REPEATS:
            return self._repeat(*value)
        if code is op.SUBPATTERN:
            return self.sequence(value[-1])
        if code in (op.BRANCH, op.GROUPREF_EXISTS):
            return self._branch(value[1] if code is op.BRANCH else value[1:])
        if code in _APART:  # what comes after it cannot make it try again
            self.apart.append(value[-1] if isinstance(value, tuple) else value)
            return _Part()
        return _Part() if code in _WIDTHLESS else self._character(code, value)

    def _branch(self, branches: Iterable[Any]) -> _Part:
        parts = [self.sequence(branch or ()) for branch in branches]
        return _Part(
            min(2, sum(part.empty for part in parts)),
            sum((part.first for part in parts), Counter()),
            sum((part.last for part in parts), Counter()),
        )

    def _repeat(self, least: int, most: int, items: Any) -> _Part:
        """Write copies of a part one after the other; beyond some the last of them is a loop."""
        whole, last = _Part(), _Part()
        endless = most == op.MAXREPEAT or most - least > _COPIES
        for _ in range(max(1, min(least, _COPIES))):
            last = self.sequence(items)
            whole = self._join(whole, last)
        if endless:
            self._connect(last.last, last.first)
            if last.empty:  # it is left at once, or after a round that takes nothing
                whole = _Part(2, whole.first, _times(whole.last, 2))
        elif least:
            for _ in range(most - least):
                last = self.sequence(items)
                longer = self._join(whole, last)
                whole = _Part(whole.empty, whole.first, whole.last + longer.last)
        return _Part(min(2, whole.empty + (not least)), whole.first, whole.last)

    def _character(self, code: Any, value: Any) -> _Part:
        self.takes.append(frozenset(c for c in self.alphabet if _takes(code, value, c)))
        place = Counter({len(self.takes) - 1: 1})
        return _Part(empty=0, first=place, last=place)


def _takes(code: Any, value: Any, character: str) -> bool:
    """Whether one item of a pattern takes a character."""
    if code is op.IN:
        negated = value[0][0] is op.NEGATE
        return negated != any(_takes(code, item, character) for code, item in value[negated:])
    if code is op.RANGE:
        return bool(value[0] <= ord(character) <= value[1])
    if code is op.LITERAL:
        return bool(ord(character) == value)
    if code is op.NOT_LITERAL:
        return bool(ord(character) != value)
    if code is op.CATEGORY:
        kind = str(value).rpartition("_")[2]
        held = {"DIGIT": str.isdigit, "SPACE": str.isspace}.get(kind, _is_word)(character)
        return held != ("_NOT_" in str(value))
    return code is op.ANY and character != "\n"


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _named(items: Any) -> set[str]:
    """Return the characters that a pattern names, and the ends of its ranges."""
    found: set[str] = set()
    for code, value in items:
        if code in (op.LITERAL, op.NOT_LITERAL):
            found.add(chr(value))
        elif code is op.RANGE:
            found |= {chr(end) for end in value}
        elif isinstance(value, tuple | list | parser.SubPattern):
            found |= _named_inside(value)
    return found


def _named_inside(value: Any) -> set[str]:
    if isinstance(value, parser.SubPattern):
        return _named(value)
    if isinstance(value, tuple) and len(value) == 2 and value[0] in op.OPCODES:
        return _named([value])
    if isinstance(value, tuple | list):
        return set().union(*(_named_inside(one) for one in value))
    return set()


def _is_exponential(items: Any) -> bool:
    """Whether a parsed pattern, or a part that it tries on its own, is exponentially ambiguous."""
    automaton = _Automaton(alphabet=_USUAL | _named(items))
    automaton.sequence(items)
    return _is_ambiguous(automaton) or any(_is_exponential(part) for part in automaton.apart)


def _is_ambiguous(automaton: _Automaton) -> bool:
    cycle = _components(automaton.follow, range(len(automaton.takes)))
    inner = {edge: n for edge, n in automaton.follow.items() if cycle[edge[0]] == cycle[edge[1]]}
    if any(ways > 1 for ways in inner.values()):
        return True  # one edge of a cycle, to be gone in two ways
    steps = [
        ((a, b), (x, y))
        for (a, x), (b, y) in product(inner, repeat=2)
        if cycle[a] == cycle[b] and automaton.takes[x] & automaton.takes[y]
    ]
    pairs = list(dict.fromkeys(pair for step in steps for pair in step))
    component = _components(steps, pairs)
    same = {component[pair] for pair in pairs if pair[0] == pair[1]}
    return any(component[pair] in same for pair in pairs if pair[0] != pair[1])


def _components(
    edges: Iterable[tuple[Hashable, Hashable]], nodes: Sequence[Hashable]
) -> dict[Hashable, int]:
    """Return the strongly connected component of every node of a directed graph."""
    if not nodes:
        return {}
    number = {node: position for position, node in enumerate(nodes)}
    ends = np.array([(number[a], number[b]) for a, b in edges], dtype=np.int64).reshape(-1, 2).T
    ones = np.ones(ends.shape[1], dtype=np.int8)
    graph = coo_array((ones, (ends[0], ends[1])), shape=(len(nodes), len(nodes)))
    _, component = connected_components(graph, directed=True, connection="strong")
    return dict(zip(nodes, component.tolist(), strict=True))
