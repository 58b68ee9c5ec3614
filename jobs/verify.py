"""Verify: whether the store still is what was written, noted for the next run to make good."""

from __future__ import annotations

import secrets
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from anabatch.named_places import reading, writing
from anabatch.store.damage import note_damage
from anabatch.store.verification import verify as look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anabatch.store.verification import Verification

_SEEDS = 1 << 32


def verify(
    store: Path,
    *,
    share: float,
    seed: int | None = None,
    all_versions: bool = False,
    workers: int = 1,
) -> Verification:
    """Verify a store, and write down which parts are damaged.

    Parameters
    ----------
    store : Path
    share : float
        Share of the bytes of the parts that is read, 0 to 1.
    seed : int, optional
        Draws the files; another one every time by default, so that in time all are read.
    all_versions : bool
        Whether to verify all versions that are kept.
    workers : int
        Threads that look at parts.

    Returns
    -------
    Verification

    Raises
    ------
    StoreNotFoundError
        There is no store.
    StoreError
        This user may not read all of it.
    PlaceError
        This user may not read the store; or there is damage to be written down, and it cannot be.
    """
    root = store.resolve()
    with reading(root), _progress() as advance:
        found = look(
            root,
            share=share,
            seed=secrets.randbelow(_SEEDS) if seed is None else seed,
            all_versions=all_versions,
            workers=workers,
            advance=advance,
        )
    with writing(root):
        note_damage(root, found.damaged, found.whole, found.sized)
    return found


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Show at a terminal how far it is; yields what is called for every part, with their number."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("verify", total=None)
        yield lambda total: bar.update(task, advance=1, total=total)
