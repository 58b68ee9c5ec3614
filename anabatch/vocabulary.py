"""The vocabulary of labels, as data: `schemas/labels/`, or a folder of the laboratory's own.

- `vocabulary.csv` (label, axis, parent, icap, english, synonyms): all labels, each on one axis;
- `lis_codes.csv` (code, alias_of, label, names): the codes of the laboratory information system. The
  column `names` may be missing: it has the names under which a code is known, over the years;
- `hep_annot.csv` (class, labels): what the names of class folders mean.

A layout can bring tables of codes and classes of its own.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anabatch.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable

AXES = ("status", "pattern", "antigen", "class")
"""The axes of labels. Labels of the axis `class` are folder names, and not in the vocabulary."""

NEGATIVE, NEGATIVE_CODE = "negative", 2
POSITIVE, POSITIVE_CODE = "positive", 3

CODE_TABLE, CLASS_TABLE = "lis_codes.csv", "hep_annot.csv"

NameProblem = Literal["other_name", "unknown_name"]
"""What can be wrong with the name beside a known code."""

MAX_CODE = 32_767
"""Largest code: codes are kept as 16-bit integers."""


@dataclass(frozen=True)
class Vocabulary:
    """All labels, and what codes and class names mean.

    Attributes
    ----------
    axes : mapping
        Label to its axis (`status`, `pattern`, `antigen`).
    codes : mapping
        Code to its canonical code and label.
    classes : mapping
        Class name, in lower case and with single spaces, to its labels.
    names : mapping
        Code to the names under which it is known, as they stand in the code table; a code without
        any goes by whatever name.
    """

    axes: Mapping[str, str]
    codes: Mapping[int, tuple[int, str]]
    classes: Mapping[str, tuple[str, ...]]
    names: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def load(
        cls, folder: Path | None = None, codes: str = CODE_TABLE, classes: str = CLASS_TABLE
    ) -> Vocabulary:
        """Read a vocabulary.

        Parameters
        ----------
        folder : Path, optional
            A folder with the files; the shipped ones without it.
        codes, classes : str
            The tables of codes and of class names: files in the folder, or absolute paths.

        Returns
        -------
        Vocabulary

        Raises
        ------
        ConfigurationError
            A file is missing or has other columns, or the files contradict themselves or each
            other; the message names file and line.
        """
        source = files("anabatch.schemas") / "labels" if folder is None else folder
        axes = _read_axes(source / "vocabulary.csv")
        meanings, names = _read_codes(_table(source, codes), axes)
        return cls(axes, meanings, _read_classes(_table(source, classes), axes), names)

    @cached_property
    def digest(self) -> str:
        """32 hex digits that change with whatever determines a label, and with nothing else."""
        content = [
            sorted(self.axes.items()),
            sorted(self.codes.items()),
            sorted(self.classes.items()),
            sorted(self.names.items()),
        ]
        canonical = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()

    def resolve(self, code: int) -> tuple[int, str | None]:
        """Return a code's canonical code and label; an unknown code's label is None."""
        return self.codes.get(code, (code, None))

    def check_name(self, code: int, name: str) -> NameProblem | None:
        """Tell whether a code goes by this name.

        Parameters
        ----------
        code : int
        name : str
            What stands beside the code. Case, accents, spaces and punctuation do not matter.

        Returns
        -------
        {'other_name', 'unknown_name'} or None
            The name is another code's; it is nobody's, and the code has names; nothing is wrong, or
            there is nothing to compare.
        """
        canonical, label = self.resolve(code)
        plain = normalise_name(name)
        if label is None or not plain or canonical in self._codes_of_name.get(plain, ()):
            return None
        if plain in self._codes_of_name:
            return "other_name"
        return "unknown_name" if self.names_of(code) else None

    def names_of(self, code: int) -> tuple[str, ...]:
        """Return the names under which a code is known, then those of its aliases."""
        canonical, _ = self.resolve(code)
        alike = [of for of in self.names if of != code and self.resolve(of)[0] == canonical]
        found = (name for of in (code, *alike) for name in self.names.get(of, ()))
        return tuple(dict.fromkeys(found))

    @cached_property
    def _codes_of_name(self) -> dict[str, set[int]]:
        """Canonical codes by name; a label is a name of its codes as well."""
        found: dict[str, set[int]] = defaultdict(set)
        for code, (canonical, label) in self.codes.items():
            for name in (label, *self.names.get(code, ())):
                found[normalise_name(name)].add(canonical)
        return dict(found)

    def class_labels(self, name: str) -> tuple[str, ...]:
        """Return a class name's labels, whatever its case and spaces; none for an unknown class."""
        return self.classes.get(normalise_class(name), ())

    def axis(self, label: str) -> str:
        """Return a label's axis.

        Raises
        ------
        KeyError
            The vocabulary has no such label.
        """
        return self.axes[label]


def normalise_class(name: str) -> str:
    """Return a class name in lower case, with single spaces."""
    return " ".join(name.split()).casefold()


def normalise_name(name: str) -> str:
    """Return a code's name in lower case, without accents, spaces and punctuation."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in plain if letter.isalnum())


def _table(source: Traversable, name: str) -> Traversable:
    return Path(name) if Path(name).is_absolute() else source / name


def _read_axes(file: Traversable) -> dict[str, str]:
    axes: dict[str, str] = {}
    parents: dict[str, tuple[int, str]] = {}
    for line, row in _rows(file, ("label", "axis", "parent", "icap", "english", "synonyms")):
        label, axis, parent = row["label"], row["axis"], row["parent"]
        _require(label == label.casefold() != "", file, line, f"label {label!r} is not lower-case")
        _require(label not in axes, file, line, f"label {label!r} stands twice")
        _require(axis in AXES[:-1], file, line, f"{axis!r} is none of {', '.join(AXES[:-1])}")
        axes[label] = axis
        if parent:
            parents[label] = (line, parent)
    for label, (line, parent) in parents.items():
        _require(axes.get(parent) == axes[label], file, line, f"no such parent: {parent!r}")
    for status in (NEGATIVE, POSITIVE):
        _require(axes.get(status) == "status", file, 1, f"the status {status!r} is missing")
    return axes


def _read_codes(
    file: Traversable, axes: Mapping[str, str]
) -> tuple[dict[int, tuple[int, str]], dict[int, tuple[str, ...]]]:
    """Return code to canonical code and label, and code to names."""
    labels: dict[int, str] = {}
    aliases: dict[int, tuple[int, int]] = {}
    names: dict[int, tuple[str, ...]] = {}
    for line, row in _rows(file, ("code", "alias_of", "label"), ("names",)):
        code = _code(row["code"], file, line)
        twice = code in labels or code in aliases
        _require(not twice, file, line, f"code {code} stands twice")
        _require(bool(row["alias_of"]) != bool(row["label"]), file, line, "needs alias_of or label")
        if row["alias_of"]:
            aliases[code] = (line, _code(row["alias_of"], file, line))
        else:
            _require(row["label"] in axes, file, line, f"unknown label {row['label']!r}")
            labels[code] = row["label"]
        if known := tuple(filter(None, map(str.strip, row["names"].split(";")))):
            names[code] = known
    for line, target in aliases.values():
        _require(target in labels, file, line, f"alias of {target}, which has no label")
    for code, status in ((NEGATIVE_CODE, NEGATIVE), (POSITIVE_CODE, POSITIVE)):
        _require(labels.get(code) == status, file, 1, f"code {code} must be {status!r}")
    canonical = {code: code for code in labels} | {code: to for code, (_, to) in aliases.items()}
    return {code: (to, labels[to]) for code, to in canonical.items()}, names


def _read_classes(file: Traversable, axes: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    classes: dict[str, tuple[str, ...]] = {}
    for line, row in _rows(file, ("class", "labels")):
        name = normalise_class(row["class"])
        labels = tuple(label.strip() for label in row["labels"].split(";") if label.strip())
        _require(bool(name) and name not in classes, file, line, f"class {name!r} stands twice")
        unknown = [label for label in labels if label not in axes]
        _require(not unknown, file, line, f"unknown labels {', '.join(unknown)}")
        _require(len(set(labels)) == len(labels), file, line, "a label stands twice")
        classes[name] = labels
    return classes


def _code(text: str, file: Traversable, line: int) -> int:
    good = text.isascii() and text.isdigit() and int(text) <= MAX_CODE
    _require(good, file, line, f"{text!r} is no code from 0 to {MAX_CODE}")
    return int(text)


def _rows(
    file: Traversable, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Iterable[tuple[int, dict[str, str]]]:
    """Yield physical line and stripped fields of every row that is not blank.

    Fields of optional columns that the file does not have are empty.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        what = f"the vocabulary's file {file} cannot be read: {error.strerror}"
        remedy = (
            f"The folder needs vocabulary.csv, {CODE_TABLE} and {CLASS_TABLE}, or the layout's own."
        )
        raise ConfigurationError(what, remedy) from error
    except UnicodeDecodeError as error:
        what = f"{file} is not UTF-8"
        raise ConfigurationError(what, "Save it as CSV UTF-8, separated by commas.") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    header = tuple(next(reader, []))
    wanted = f"the columns must be {', '.join(columns)}"
    wanted += f", and may be {', '.join(optional)}" if optional else ""
    _require(header in (columns, (*columns, *optional)), file, 1, wanted)
    for fields in reader:
        if any(field.strip() for field in fields):
            wrong = f"{len(fields)} fields, not {len(header)}"
            _require(len(fields) == len(header), file, reader.line_num, wrong)
            row = dict.fromkeys(optional, "")
            row |= zip(header, (field.strip() for field in fields), strict=True)
            yield reader.line_num, row


def _require(holds: bool, file: Traversable, line: int, problem: str) -> None:  # noqa: FBT001 -- a predicate
    if not holds:
        what = f"{file}, line {line}: {problem}"
        raise ConfigurationError(what)
