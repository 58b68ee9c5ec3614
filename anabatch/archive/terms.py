"""The terms of an export's row, as its dialect writes them: `[code] name`, several joined by `+`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from anabatch.archive.dialect import Dialect

MAX_TERMS = 1_000
"""Terms of one row, at most."""

# A term with more characters is something else, and no expression is tried on it.
_MAX_LENGTH = 1_000

_MAX_DIGITS = 9


class Term(NamedTuple):
    """One term.

    Attributes
    ----------
    raw : str
        As it stands, without spaces around it.
    code : int or None
        None for what is no term of the dialect, two codes in one term as well.
    name : str
        What stands beside the code; may be empty.
    """

    raw: str
    code: int | None
    name: str


def read_terms(raw: str, dialect: Dialect) -> list[Term]:
    """Return the terms of a row that are not blank, in their order.

    Parameters
    ----------
    raw : str
        The field as it stands. One of more than :data:`MAX_TERMS` pieces is one term without code.
    dialect : Dialect

    Returns
    -------
    list of Term
    """
    if raw.count(dialect.term_separator) > MAX_TERMS:
        return [Term(raw.strip(), None, "")]
    pieces = (piece.strip() for piece in raw.split(dialect.term_separator))
    return [_term(piece, dialect) for piece in pieces if piece]


def _term(piece: str, dialect: Dialect) -> Term:
    if len(piece) <= _MAX_LENGTH:
        match = re.fullmatch(dialect.term, piece, flags=re.ASCII)
        groups = match.groupdict() if match else {}
        digits = groups.get("code") or ""
        if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS:
            return Term(piece, int(digits), (groups.get("name") or "").strip())
    return Term(piece, None, "")
