"""Figures as inline pictures, drawn with matplotlib's objects; nothing global is left behind."""

from __future__ import annotations

import base64
import io
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from anabatch.report.text import printable, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

# Okabe, M. and Ito, K. (2008). Color universal design: how to make figures that are friendly to
# colorblind people. Their yellow is left out: it cannot be seen on white.
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
VERMILLION, PURPLE, SKY = "#D55E00", "#CC79A7", "#56B4E9"
DARK, GREY, PALE = "#222222", "#8A8A8A", "#D9D9D9"
CATEGORIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, DARK, GREY)
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")

_FONT = "DejaVu Sans"  # comes with matplotlib: figures look the same everywhere
_STYLE: Any = {
    "font.family": _FONT,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": DARK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "anabatch",  # equal figures are equal bytes
    "svg.fonttype": "path",
}
WIDTH = 10.5
"""Of a figure that fills the page, in inches."""

_DOTS_PER_INCH = 160


@dataclass(frozen=True)
class Plot:
    """A figure of the report.

    Attributes
    ----------
    uri : str
        The picture itself, as a data URI.
    alt : str
        What it shows, for those who cannot see it.
    caption : str
    """

    uri: str
    alt: str
    caption: str


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style; whatever style the process has is restored."""
    with mpl.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches. Call it, and draw, within :func:`style`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def data_uri(data: bytes, kind: Literal["png", "jpeg", "svg+xml"]) -> str:
    """Return a picture's bytes as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def to_plot(figure: Figure, *, alt: str, caption: str, points: bool = False) -> Plot:
    """Render a figure.

    Parameters
    ----------
    figure : Figure
    alt, caption : str
    points : bool
        Render it as pixels: for thousands of points, which a vector picture would hold one by one.
    """
    buffer = io.BytesIO()
    if points:
        figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
        return Plot(data_uri(buffer.getvalue(), "png"), alt, caption)
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Plot(data_uri(buffer.getvalue(), "svg+xml"), alt, caption)


@cache
def _has_glyph(character: str) -> bool:
    font: Any = get_font(findfont(FontProperties(family=_FONT)))
    return bool(font.get_char_index(ord(character)))


def figure_text(text: str, width: int = 34) -> str:
    r"""Return a name as a figure may show it.

    Characters that cannot be seen or that the figures' font lacks stand as escapes, dollar signs start
    no formula, and long names are cut.

    Examples
    --------
    >>> figure_text("a$b$")
    'a\\$b\\$'
    """
    seen = "".join(
        character if _has_glyph(character) else character.encode("unicode_escape").decode("ascii")
        for character in printable(text)
    )
    return shortened(seen, width).replace("$", r"\$")


def bar_names(axes: Axes, names: Sequence[str], counts: Sequence[int] | None = None) -> None:
    """Name the bars of a horizontal bar chart, the first one on top.

    Parameters
    ----------
    axes : Axes
    names : sequence of str
        Long ones are cut.
    counts : sequence of int, optional
        Written behind the names, in brackets; never cut.
    """
    behind = [""] * len(names) if counts is None else [f" ({count})" for count in counts]
    shown = [figure_text(name) + count for name, count in zip(names, behind, strict=True)]
    axes.set_yticks(range(len(names)), shown)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")


def whole_numbers(axes: Axes, axis: Literal["x", "y"]) -> None:
    """Put ticks at whole numbers only: the axis counts."""
    from matplotlib.ticker import MaxNLocator

    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_major_locator(MaxNLocator(integer=True))
