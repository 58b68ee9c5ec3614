"""Text that is safe to show: names from an archive may hold anything."""

from __future__ import annotations

import unicodedata
from typing import Any

# Control, format (which can reverse the reading direction), surrogate, private and unassigned
# characters, and the separators of lines and paragraphs.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_NOTHING = "\N{EN DASH}"


def printable(text: str) -> str:
    r"""Return text with every character that cannot be seen written as an escape.

    Parameters
    ----------
    text : str
        Any text; bytes that were no UTF-8 may stand in it as surrogates (PEP 383).

    Returns
    -------
    str
        Always encodable as UTF-8, on one line.

    Examples
    --------
    >>> printable("plate\n7\udce9.jpg")
    'plate\\n7\\xe9.jpg'
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte, as PEP 383 smuggles it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def shown(value: Any) -> Any:
    """Return a template's value with its text printable; markup stays as it is."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return printable(value)
    return "" if value is None else value


def number(value: float | None, digits: int = 0) -> str:
    """Return a number with thin spaces between thousands; a dash for None.

    Examples
    --------
    >>> number(1234.5, 1)
    '1\u202f234.5'
    """
    return _NOTHING if value is None else f"{value:,.{digits}f}".replace(",", "\u202f")


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share of 1 in percent; a dash for None."""
    return _NOTHING if share is None else f"{share:.{digits}%}".replace("%", "\u202f%")


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> plural(1, "image"), plural(2, "image"), plural(0, "date")
    ('1 image', '2 images', '0 dates')
    """
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def shortened(text: str, width: int = 34) -> str:
    """Return text cut at a width, for a figure's axis; the tables beside figures have it whole."""
    return text if len(text) <= width else f"{text[: width - 1]}…"
