"""Records of separated text: quotes may hold separators and line ends, and a stray quote does no harm.

The two wishes contradict each other, since a quote that nobody closed looks like the start of a field
over many lines. So lines are joined only where the result is a sound record and the lines alone are not:
every quote closes before a separator or a line end, the record has the header's columns, it is no longer
than :data:`MAX_LINES`, and at most one of its lines names what a row is about. Anything else is one record
a line, where a stray quote spoils its own line only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_LINES = 64
"""Physical lines of one record, at most."""

MAX_FIELDS = 10_000
"""Fields of one record, at most; the rest of the line is the last one."""

_LINE_END = re.compile(r"\r\n|\n|\r")


class Record(NamedTuple):
    """The fields of a record, without their quotes.

    Attributes
    ----------
    line : int
        Its first physical line, from 1.
    fields : list of str
    """

    line: int
    fields: list[str]


class _Piece(NamedTuple):
    """Fields of a piece of text, where they end, and whether a quote stayed open or was misplaced."""

    fields: list[str]
    end: int
    sound: bool


@dataclass(frozen=True)
class RecordReader:
    """Splits text at one separator.

    Attributes
    ----------
    separator : str
        One character.
    """

    separator: str

    def split(self, line: str) -> list[str]:
        """Return the fields of one line, whatever its quotes."""
        return self._fields(line, 0, len(line)).fields

    def read(
        self, text: str, *, skip: int, width: int, names: Callable[[str], bool]
    ) -> Iterator[Record]:
        """Yield the records of a text.

        Parameters
        ----------
        text : str
        skip : int
            First lines that are passed over: the preamble and the header.
        width : int
            Columns of the header.
        names : callable
            Whether a line, alone, names what a row is about: no two such lines are one record.

        Yields
        ------
        Record
            Blank lines are records of one empty field.
        """
        lines = line_bounds(text)
        index = skip
        while index < len(lines):
            start, stop = lines[index]
            piece = self._fields(text, start, stop)
            last = index
            if not piece.sound:
                piece, last = self._joined(text, lines, index, width, names) or (piece, index)
            yield Record(index + 1, piece.fields)
            index = last + 1

    def _joined(
        self,
        text: str,
        lines: Sequence[tuple[int, int]],
        index: int,
        width: int,
        names: Callable[[str], bool],
    ) -> tuple[_Piece, int] | None:
        """Return the record of several lines that starts at a line, and its last line, if sound."""
        window = lines[index : index + MAX_LINES]
        piece = self._fields(text, window[0][0], window[-1][1])
        more = piece.fields[width:]
        if not piece.sound or len(piece.fields) < width or any(map(str.strip, more)):
            return None
        within = [bounds for bounds in window if bounds[1] <= piece.end]
        if sum(names(text[start:stop]) for start, stop in within) > 1:
            return None
        return piece, index + len(within) - 1

    def _fields(self, text: str, start: int, end: int) -> _Piece:
        """Read fields up to the first line end that no quotes hold, or up to `end`.

        Without any quote the piece is taken for a single line.
        """
        if text.find('"', start, end) < 0:
            return _Piece(text[start:end].split(self.separator, MAX_FIELDS), end, sound=True)
        fields: list[str] = []
        sound = True
        while len(fields) < MAX_FIELDS:
            quoted = self._quoted.match(text, start, end)
            if quoted:
                fields.append(quoted[1].replace('""', '"'))
                start = quoted.end()
            else:
                plain = self._plain.match(text, start, end)
                stop = plain.end() if plain else start
                stray = text.startswith('"', start, end)
                fields.append(text[start + stray : stop])
                sound = sound and not stray
                start = stop
            if start >= end or text[start] != self.separator:
                return _Piece(fields, start, sound)
            start += 1
        rest = _LINE_END.search(text, start, end)
        stop = rest.start() if rest else end
        return _Piece([*fields, text[start:stop]], stop, sound=False)

    @cached_property
    def _quoted(self) -> re.Pattern[str]:
        # possessive: a quote that closes nothing is found out in one pass
        return re.compile(rf'"((?:[^"]++|"")*+)"(?={re.escape(self.separator)}|[\r\n]|\Z)')

    @cached_property
    def _plain(self) -> re.Pattern[str]:
        return re.compile(rf"[^{re.escape(self.separator)}\r\n]*+")


def line_bounds(text: str) -> list[tuple[int, int]]:
    """Return start and end of every physical line, without its line end."""
    ends = list(_LINE_END.finditer(text))
    starts = [0, *(end.end() for end in ends)]
    return list(zip(starts, [*(end.start() for end in ends), len(text)], strict=True))
