"""Batches that fail are taken apart: only the item that is guilty is given up.

A batch fails as a whole: its worker dies, or it raises what no stage expects of bad input. Then its
items run again, each in a batch of its own, when all others are through. What fails once more is
given up with its reason; its neighbours have lost nothing but time. Where many fail alike, it is
rather the program's or the machine's fault: they are given up until the next run alone.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.errors import ConfigurationError, DeviceError, GuardError, StoreError
from anabatch.store.disk import disk_error

from .standing import TRANSIENT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from anabatch.compute import Backend, Outcome

_NOT_OF_AN_ITEM = (StoreError, GuardError)
_OF_ALL = (ConfigurationError, DeviceError)

_MANY = 12
"""If so many items fail with one kind of error, it is hardly their fault."""

_REASON_LENGTH = 500


@dataclass(frozen=True)
class Blame:
    """What an item is given up for.

    Attributes
    ----------
    error : Exception
        What it ended in by itself.
    alike : int
        How many items of the job ended in this kind of error, each by itself.
    """

    error: Exception
    alike: int

    @property
    def reason(self) -> str:
        """The kind of the error, and its words."""
        return reason(self.error)

    @property
    def components(self) -> dict[str, bool]:
        """What the failure's action says: where many failed alike, the next run tries again."""
        return {TRANSIENT: True} if self.alike >= _MANY else {}


@dataclass(frozen=True)
class Apart:
    """How batches of one job are taken apart.

    Attributes
    ----------
    split : callable
        Given a batch that failed, returns batches of one item each, with their graphs. It may
        return the batch itself, if that has one item.
    give_up : callable
        Given a batch of one item and what it is given up for; called after all batches are through.
    """

    split: Callable[[Any], list[tuple[Any, Any]]]
    give_up: Callable[[Any, Blame], None]


def outcomes(
    backend: Backend,
    graphs: Iterable[tuple[Any, Any]],
    *,
    apart: Apart | None,
    failed: Callable[[Any, Exception], None],
    alike: Callable[[Blame], None],
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
    alike : callable
        Told, where many items ended in one kind of error, what the first of them did.

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
        configuration's.
    """
    suspects: list[Any] = []
    with closing(_checked(backend, graphs, failed)) as crowd:
        for outcome in crowd:
            if apart is not None and _of_an_item(outcome.error):
                suspects.append(outcome.name)
            else:
                yield outcome
    if apart is None or not suspects:
        return
    guilty: list[tuple[Any, Exception]] = []
    singles = (single for batch in suspects for single in apart.split(batch))
    with closing(_checked(backend, singles, failed)) as crowd:
        for outcome in crowd:
            if outcome.error is not None and _of_an_item(outcome.error):
                guilty.append((outcome.name, outcome.error))
            else:
                yield outcome
    kinds = Counter(type(error) for _, error in guilty)
    blames = [(batch, Blame(error, kinds[type(error)])) for batch, error in guilty]
    for blame in {type(blame.error): blame for _, blame in reversed(blames)}.values():
        if blame.alike >= _MANY:
            alike(blame)
    for batch, blame in blames:
        apart.give_up(batch, blame)


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
