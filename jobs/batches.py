"""Batches that fail are taken apart: only the item that is guilty is given up.

A batch fails as a whole: its worker dies, or it raises what no stage expects of bad input. Then its
items run again, each in a batch of its own, when all others are through. What fails once more is
given up with its reason; its neighbours have lost nothing but time.
"""

from __future__ import annotations

import textwrap
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.errors import ConfigurationError, DeviceError, GuardError, StoreError
from anabatch.store.disk import disk_error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from anabatch.compute import Backend, Outcome

_NOT_OF_AN_ITEM = (StoreError, GuardError)
_OF_ALL = (ConfigurationError, DeviceError)

_HOPELESS = 12
"""If so many items fail, and nothing has come through before, it is no item's fault."""

_REASON_LENGTH = 500


@dataclass(frozen=True)
class Apart:
    """How batches of one job are taken apart.

    Attributes
    ----------
    split : callable
        Given a batch that failed, returns batches of one item each, with their graphs. It may
        return the batch itself, if that has one item.
    give_up : callable
        Given a batch of one item and the error that it ended in again; called after all batches
        are through.
    """

    split: Callable[[Any], list[tuple[Any, Any]]]
    give_up: Callable[[Any, Exception], None]


def outcomes(
    backend: Backend,
    graphs: Iterable[tuple[Any, Any]],
    *,
    apart: Apart | None,
    failed: Callable[[Any, Exception], None],
) -> Generator[Outcome]:
    """Compute batches and yield what came of them, as it comes.

    Parameters
    ----------
    backend : Backend
    graphs : iterable of (batch, Delayed)
    apart : Apart or None
        How to take a batch apart that failed. Without it the error is the batch's outcome.
    failed : callable
        Told every batch that failed, with its error, as it comes.

    Yields
    ------
    Outcome
        Of batches, and of items of batches that failed. Those with an error could not be helped by
        taking the batch apart: the store is not what it should be. Others should go on, and then
        the run should end.

    Raises
    ------
    Exception
        The error of a batch that every other would meet too: the disk's, a device's, the
        configuration's. Or that of an item, if a dozen items failed and nothing came through:
        then it is the code's fault, and no item's.
    """
    suspects: list[Any] = []
    hope = False
    with closing(_checked(backend, graphs, failed)) as crowd:
        for outcome in crowd:
            if apart is not None and _of_an_item(outcome.error):
                suspects.append(outcome.name)
            else:
                hope = hope or outcome.error is None
                yield outcome
    if apart is None or not suspects:
        return
    guilty: list[tuple[Any, Exception]] = []
    singles = (single for batch in suspects for single in apart.split(batch))
    with closing(_checked(backend, singles, failed)) as crowd:
        for outcome in crowd:
            if outcome.error is None or not _of_an_item(outcome.error):
                hope = hope or outcome.error is None
                yield outcome
                continue
            guilty.append((outcome.name, outcome.error))
            if not hope and len(guilty) >= _HOPELESS:
                raise _hopeless(guilty)
    for batch, error in guilty:
        apart.give_up(batch, error)


def reason(error: Exception) -> str:
    """Return why an item was given up: the kind of the error, and its words."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", _REASON_LENGTH, placeholder=" ...")


def _checked(
    backend: Backend,
    graphs: Iterable[tuple[Any, Any]],
    failed: Callable[[Any, Exception], None],
) -> Generator[Outcome]:
    """Yield outcomes; tell of those that failed, and raise what every other would meet too."""
    with closing(backend.stream(graphs)) as stream:
        for outcome in stream:
            if outcome.error is not None:
                failed(outcome.name, outcome.error)
                if isinstance(outcome.error, _OF_ALL) or disk_error(outcome.error):
                    raise outcome.error
            yield outcome


def _of_an_item(error: Exception | None) -> bool:
    return error is not None and not isinstance(error, _NOT_OF_AN_ITEM)


def _hopeless(guilty: list[tuple[Any, Exception]]) -> Exception:
    error = guilty[0][1]
    error.add_note(f"{len(guilty)} items failed one by one, and nothing came through")
    return error
