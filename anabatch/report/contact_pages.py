"""Pages of a contact sheet as PNG files: a few fields each, to be looked at without a browser."""

from __future__ import annotations

from functools import cache
from math import ceil
from typing import TYPE_CHECKING

from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from anabatch.report.outlines import CELL_COLOUR, MARKS, NUCLEUS_COLOUR
from anabatch.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabatch.report.contact import Card

_WIDTH, _HEIGHT = 900, 900  # of a field's place at most, in pixels
_GAP = 16
_SIZES = (19, 14)  # of the path, and of the other lines
_LEADING = 1.3
_INK, _SOFT, _WARN, _PAPER = "#1c1c1c", "#5a5a5a", "#a33f00", "#ffffff"


class Pages:
    """Pages that fill as cards come; a full page is written, and forgotten.

    Parameters
    ----------
    folder : Path
        It is made where it is missing; pages of an earlier sheet are deleted from it.
    per_page : int
        Fields on a page.
    """

    def __init__(self, folder: Path, per_page: int) -> None:
        self._folder = folder
        self._per_page = per_page
        self._waiting: list[tuple[int, Card]] = []
        self._fields = 0
        self.written = 0
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("page-[0-9][0-9][0-9][0-9].png"):
            old.unlink()

    def add(self, card: Card) -> None:
        """Take a card, and write the page if that is full."""
        self._fields += 1
        self._waiting.append((self._fields, card))
        if len(self._waiting) == self._per_page:
            self.finish()

    def finish(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        self.written += 1
        page = _page([_tile(number, card) for number, card in self._waiting])
        self._waiting.clear()
        page.save(self._folder / f"page-{self.written:04d}.png")


def _page(tiles: list[Image.Image]) -> Image.Image:
    """Set tiles side by side, in as many rows as columns, and the key below."""
    columns = ceil(len(tiles) ** 0.5)
    lines = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in line) + _GAP for line in lines]
    key = _key()
    page = Image.new("RGB", (columns * (_WIDTH + _GAP) + _GAP, sum(heights) + key.height), _PAPER)
    top = 0
    for line, height in zip(lines, heights, strict=True):
        for column, tile in enumerate(line):
            page.paste(tile, (_GAP + column * (_WIDTH + _GAP), top + _GAP))
        top += height
    page.paste(key, (_GAP, top))
    return page


def _tile(number: int, card: Card) -> Image.Image:
    """Set a card's text above its picture."""
    texts = [(f"{number}. {card.path}", _SIZES[0], _INK)]
    texts += [(text, _SIZES[1], _SOFT) for text in (card.place, card.labels) if text]
    few = card.found is None or not card.found.cells
    texts.append((card.counts, _SIZES[1], _WARN if few else _INK))
    facts = "; ".join(f"{name}: {value}" for name, value in card.facts.items())
    texts += [(facts, _SIZES[1], _SOFT), (card.missing, _SIZES[1], _WARN)]
    lines = [
        (line, size, colour)
        for text, size, colour in texts
        for line in _wrapped(printable(text), size)
    ]
    text_height = ceil(sum(size * _LEADING for _, size, _ in lines)) + _GAP // 2
    picture = Image.fromarray(card.drawing.picture) if card.drawing else None
    height = text_height + (picture.height if picture else 0)
    tile = Image.new("RGB", (_WIDTH, height), _PAPER)
    brush, y = ImageDraw.Draw(tile), 0.0
    for line, size, colour in lines:
        brush.text((0, y), line, fill=colour, font=_font(size))
        y += size * _LEADING
    if picture:
        tile.paste(picture, (0, text_height))
    return tile


def _wrapped(text: str, size: int) -> Iterator[str]:
    """Cut a text into lines that fit, between words where there are words."""
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line and _font(size).getlength(longer) > _WIDTH:
            yield line
            longer = word
        while _font(size).getlength(longer) > _WIDTH:
            fits = max(n for n in range(1, len(longer)) if _fits(longer[:n], size))
            yield longer[:fits]
            longer = longer[fits:]
        line = longer
    if line:
        yield line


def _fits(text: str, size: int) -> bool:
    return bool(_font(size).getlength(text) <= _WIDTH)


def _key() -> Image.Image:
    """Draw what colours and marks mean."""
    size = _SIZES[1]
    key = Image.new("RGB", (_WIDTH, 2 * size), "#333333")
    brush, x = ImageDraw.Draw(key), float(_GAP // 2)
    said = [("nuclei", NUCLEUS_COLOUR), ("cells", CELL_COLOUR)]
    said += [(f"{form} {kind}", colour) for kind, (colour, form, _) in MARKS.items()]
    for text, colour in said:
        brush.text((x, size * 0.4), text, fill=colour, font=_font(size))
        x += _font(size).getlength(text) + 2 * _GAP
    return key


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(findfont("DejaVu Sans"), size)  # matplotlib brings it
