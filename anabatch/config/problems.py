"""What is wrong with values of the configuration: each key once, and what it takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_KINDS = {
    "float_type": "a number",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text",
    "path_type": "a path",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "{le:g} or less",
    "multiple_of": "a multiple of {multiple_of}",
    "literal_error": "{expected}",
    "string_too_short": "a text of {min_length} or more characters",
    "too_short": "a list of {min_length} or more values",
    "form": "{words}",
}
"""What a key takes, by the kind of error that pydantic makes of anything else."""
_SHOWN = 60


def problems(error: ValidationError, raw: Any, own: Callable[[str], str] = lambda _: "") -> str:
    """Return what is wrong, key by key, in a line.

    Parameters
    ----------
    error : pydantic.ValidationError
    raw : dict
        The values that were checked.
    own : callable, optional
        Returns what is said of a wrong key in the place of all else; empty where that will do.
    """
    found: dict[tuple[str, bool], list[ErrorDetails]] = {}
    for item in error.errors():
        if not _follows(item):
            found.setdefault((_key(item, raw), _is_of_key(item)), []).append(item)
    told = (f"{key}{own(key) or _text(items)}" for (key, _), items in found.items())
    return "; ".join(dict.fromkeys(told))


def _follows(item: ErrorDetails) -> bool:
    """Whether an error is of a list that is too short only for want of the items that are wrong themselves."""
    return item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]


def _is_of_key(item: ErrorDetails) -> bool:
    """Whether an error is of a key that users may name themselves, and not of its value."""
    return item["loc"][-1:] == ("[key]",)


def _key(item: ErrorDetails, raw: Any) -> str:
    """Return the key as it stands in the file: where values of several kinds fit, pydantic names the kind too."""
    steps: list[str] = []
    here = raw
    for step in item["loc"]:
        inside = isinstance(here, dict | list | tuple)
        there = inside and (step in here if isinstance(here, dict) else isinstance(step, int))
        if not there and item["type"] != "missing":
            break
        steps.append(str(step))
        here = here[step] if there else None
    return ".".join(steps)


def _text(items: list[ErrorDetails]) -> str:
    first = items[0]
    if first["type"] == "missing":
        return " is missing"
    if first["type"] == "extra_forbidden":
        return " is not known"
    if first["type"] == "value_error":  # one of ours, which says all of it
        said = str(first["ctx"]["error"])
        return f": {said}" if first["loc"] else said
    takes = " or ".join(dict.fromkeys(_takes(item) for item in items))
    if _is_of_key(first):
        return f": the key has to be {takes}"
    given = json.dumps(first["input"], default=str, ensure_ascii=False)
    given = given if len(given) <= _SHOWN else f"{given[:_SHOWN]}..."
    return f" has to be {takes}, and is {given}"


def _takes(item: ErrorDetails) -> str:
    if item["type"] not in _KINDS:
        return item["msg"].removeprefix("Input should be ")
    return _KINDS[item["type"]].format(**item.get("ctx", {}))
