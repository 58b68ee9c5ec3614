"""What a layout check found, in sentences: what does not fit, and what may still be a mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .counting import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .layout import LayoutCheck
    from .layout_contents import ExportsReport
    from .layout_names import PatternReport

# Extensions of pictures that nothing here reads.
_PICTURES = frozenset(
    {
        ".czi",
        ".gif",
        ".heic",
        ".ims",
        ".jp2",
        ".lif",
        ".lsm",
        ".nd2",
        ".oib",
        ".oif",
        ".vsi",
        ".webp",
    }
)

_SHOWN = 5


def unmatched(check: LayoutCheck) -> Iterator[str]:
    """Yield everything of an archive that does not fit its layout."""
    if not check.images:
        yield "no image lies where the layout says: path"
    for pattern in check.patterns:
        if pattern.unmatched:
            yield _of_pattern(pattern)
    if check.problems:
        yield f"{_count(len(check.problems), 'place')} cannot be read, or bear no usable date"
    if check.empty:
        some = "image or export is an" if len(check.empty) == 1 else "images and exports are"
        yield f"{len(check.empty):,} {some} empty file" + ("s" if len(check.empty) > 1 else "")
    yield from _of_sizes(check)
    yield from _of_exports(check)
    unknown = [name for name, _, labels in check.classes if not labels]
    if unknown and len(unknown) == len(check.classes):
        yield (
            f"the class table has none of the class folders, such as {_list(unknown)}: is this the "
            "archive's own folder, and not one above or below it?"
        )
    elif unknown:
        yield f"the class table does not have {_list(unknown)}"


def _of_sizes(check: LayoutCheck) -> Iterator[str]:
    sizes = check.sizes
    for size, files, pixels in sizes.sizes:
        if pixels is None:
            yield (
                f"the size {size} ({files} of {sizes.opened} images opened) is not in "
                "pixels_per_reference_pixel: a run takes 1, and warns. Add it, with 1 if that is right"
            )
    if sizes.unreadable:
        yield f"{len(sizes.unreadable)} of {sizes.opened} images opened have no header that can be read"


def _of_pattern(pattern: PatternReport) -> str:
    total = pattern.matched + pattern.unmatched
    return f"{pattern.pattern} does not take {pattern.unmatched:,} of {total:,} {pattern.tried_on}"


def _of_exports(check: LayoutCheck) -> Iterator[str]:
    found = check.export_contents
    if found.unreadable:
        yield f"{len(found.unreadable)} of {found.opened} exports opened cannot be understood"
    unknown = [f"[{code.code}]" for code in found.codes if code.label is None]
    if unknown:
        yield f"the code table does not have {_list(unknown)}"
    if found.no_code and not found.codes:
        yield f"export.term finds a code in no term, such as {_terms(found)}"
    if found.rows and not found.rows_with_image:
        yield (
            f"none of {found.rows:,} rows of exports names an image beside it: is "
            "export.columns.image the right column?"
        )


def notes(check: LayoutCheck) -> Iterator[str]:
    """Yield what a run takes as it is, and what may still be a mistake."""
    found = check.export_contents
    missing = found.rows - found.rows_with_image
    if missing and found.rows_with_image:
        yield f"{missing:,} of {found.rows:,} rows of exports name no image beside them"
    if found.unnamed_images:
        yield f"{_count(found.unnamed_images, 'image')} beside the exports opened stand in none of them"
    if found.no_code and found.codes:
        yield f"terms without a code give no label: {_terms(found)}"
    for reason, rows in found.names[:_SHOWN]:
        yield f"in {_count(rows, 'row')} of exports {reason}"
    if found.no_term:
        yield f"in {_count(found.no_term, 'row')} of exports no pattern was entered"
    yield from _of_groups(check)
    pictures = {suffix: n for suffix, n in check.others.items() if suffix in _PICTURES}
    for suffix, files in pictures.items():
        yield f"{_count(files, 'file')} {suffix} are pictures that are not read: save them as TIFF or PNG"
    tables = {suffix: n for suffix, n in check.others.items() if suffix in (".xls", ".xlsx")}
    for suffix, files in tables.items():
        yield f"{_count(files, 'file')} {suffix} are not read: exports are CSV"


def _of_groups(check: LayoutCheck) -> Iterator[str]:
    said = {group.group: group for group in check.groups}
    for group in check.groups:
        if group.group in ("sample", "plate", "well", "date") and group.silent:
            yield f"{_count(group.silent, 'image')} that {group.pattern} takes have no {group.group}"
    if check.images and "sample" not in said and not check.classes:
        yield "no group says sample: every image counts as a serum of its own"
    elif "sample" in said and "plate" not in said:
        yield "no group says plate: samples of fewer than 8 digits are not kept together"


def _terms(found: ExportsReport) -> str:
    return _list(f"{term!r} ({rows:,})" for term, rows in found.no_code)


def _count(number: int, noun: str) -> str:
    return counted(number, noun, f"{noun}s")


def _list(items: Iterable[str]) -> str:
    every = list(items)
    more = len(every) - _SHOWN
    return ", ".join(every[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
