"""Facts kept in little memory: values in a tuple, and their names once for all that have the same.

A ledger holds three actions for every image, with a dozen facts each, for as long as a run takes. As
dictionaries they would be most of the memory that a run needs.
"""

from __future__ import annotations

from itertools import count
from sys import intern
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Packed: TypeAlias = "tuple[Any, ...]"
"""Values, and last of all the :class:`_Shape` that says what they are."""


class _Shape:
    """What packed values are.

    Attributes
    ----------
    kind : type
        `dict`, `list` or `tuple`.
    places : dict
        Where the values of a dictionary stand, by name, in their order.
    nested : tuple of int
        Places of those values that are packed themselves.
    named : tuple of (str, int)
        The names of these, and their places, in a dictionary.
    """

    __slots__ = ("kind", "named", "nested", "places")

    def __init__(self, kind: type, names: Iterable[str] = (), nested: tuple[int, ...] = ()) -> None:
        self.kind = kind
        self.places = dict(zip(names, count(), strict=False))
        self.nested = nested
        self.named = tuple((name, at) for name, at in self.places.items() if at in nested)


_shapes: dict[tuple[tuple[str, ...], tuple[int, ...]], _Shape] = {}
_NOTHING: Packed = (_Shape(dict),)
_FLAT = {kind: _Shape(kind) for kind in (list, tuple)}
_DIGITS = 64  # of a SHA-256, which is no other's: texts that several actions have are shared


def number_of(digits: str) -> int | str:
    """Return hex digits as a number, which takes half of their memory, and other texts as they are."""
    try:
        number = int(f"1{digits}", 16)  # the first digit stands for the zeros that may follow
    except ValueError:
        return digits
    return number if hex(number)[3:] == digits else digits


def digits_of(number: int | str) -> str:
    """Return the text that :func:`number_of` was given."""
    return hex(number)[3:] if isinstance(number, int) else number


def pack(facts: Mapping[str, Any], texts: Mapping[str, str] | None = None) -> Packed:
    """Return facts as they are kept.

    Parameters
    ----------
    facts : mapping
        Values that JSON can hold, by name. What is changed in them later is not seen.
    texts : mapping, optional
        For every text in the facts an equal one, which is kept in its place.
    """
    if not facts:
        return _NOTHING
    values, nested = _packed(facts.values(), texts)
    return *values, _shape(tuple(facts), nested)


def unpack(kept: Packed) -> dict[str, Any]:
    """Return facts as a dictionary that is the caller's own."""
    shape = kept[-1]
    facts = dict(zip(shape.places, kept, strict=False))  # the shape itself has no name
    for name, place in shape.named:
        facts[name] = _plain(kept[place])
    return facts


def fact(kept: Packed, name: str, *default: Any) -> Any:
    """Return one of the facts by its name, or the default if there is one."""
    shape = kept[-1]
    if default and name not in shape.places:
        return default[0]
    place = shape.places[name]
    return _plain(kept[place]) if place in shape.nested else kept[place]


def _plain(kept: Packed | int) -> Any:
    if isinstance(kept, int):
        return hex(kept)[3:]
    shape = kept[-1]
    if shape.kind is dict:
        return unpack(kept)
    values = list(kept[:-1])
    for place in shape.nested:
        values[place] = _plain(values[place])
    return shape.kind(values)


def _packed(
    found: Iterable[Any], texts: Mapping[str, str] | None
) -> tuple[list[Any], tuple[int, ...]]:
    """Return values as they are kept, and the places of those that are packed."""
    values = list(found)
    nested: tuple[int, ...] = ()
    for place, value in enumerate(values):
        kind = type(value)
        if kind is str:
            if len(value) == _DIGITS and isinstance(number := number_of(value), int):
                values[place] = number
                nested += (place,)
            elif texts is not None:
                values[place] = texts[value]
        elif kind is dict:
            values[place] = pack(value, texts)
            nested += (place,)
        elif kind is list or kind is tuple:
            inner, deeper = _packed(value, texts)
            values[place] = (*inner, _Shape(kind, nested=deeper) if deeper else _FLAT[kind])
            nested += (place,)
    return values, nested


def _shape(names: tuple[str, ...], nested: tuple[int, ...]) -> _Shape:
    """Return the shape of a dictionary: one object for all dictionaries of it."""
    found = _shapes.get((names, nested))
    if found is None:
        if not all(type(name) is str and name.isidentifier() for name in names):
            return _Shape(dict, names, nested)  # paths are names too, and of one action alone
        names = tuple(map(intern, names))
        found = _shapes[names, nested] = _Shape(dict, names, nested)
    return found


class Texts(dict[str, str]):
    """For every text one that is equal: the one that is known, or the first that was asked for."""

    def __init__(self, known: Mapping[str, str]) -> None:
        super().__init__()
        self._known = known

    def __missing__(self, text: str) -> str:
        found = self[text] = self._known.get(text, text)
        return found


class Numbers(dict[str, Any]):
    """For every text of a number one object."""

    def __init__(self, kind: Callable[[str], Any]) -> None:
        super().__init__()
        self._kind = kind

    def __missing__(self, text: str) -> Any:
        found = self[text] = self._kind(text)
        return found
