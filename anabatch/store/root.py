"""Opening a store, to read it at one version or to write to it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabatch.errors import MissingRowsError, StoreNotFoundError
from anabatch.store.collections import Collections
from anabatch.store.durable import make_folder
from anabatch.store.ledger import Ledger, check_name
from anabatch.store.live import SEGMENT
from anabatch.store.lock import hold
from anabatch.store.parts import Part
from anabatch.store.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import dask.array as da
    import numpy as np
    from numpy.typing import NDArray

    from anabatch.store.actions import Action
    from anabatch.store.collections import StoreTable

LEDGER = "ledger"
RUNS = "runs"


class Store:
    """A store at one version of its ledger.

    Parameters
    ----------
    root : Path
        The store's folder.
    ledger : Ledger
        Its ledger, at the version to show.
    """

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self.root = root
        self.state = State(ledger.actions())
        self._ledger = ledger
        self._collections: tuple[int, Collections] | None = None

    @property
    def version(self) -> int:
        """The ledger's version."""
        return self._ledger.version

    @property
    def collections(self) -> Collections:
        """Tables and arrays over the present state; what they have read is kept until it changes."""
        revision = self.state.revision
        if self._collections is None or self._collections[0] != revision:
            self._collections = revision, Collections(self.root, self.state)
        return self._collections[1]

    def table(self, name: str) -> StoreTable:
        """Return a table: `acquisitions`, `annotations`, `cells` or `clusters`."""
        return self.collections.table(name)

    def array(self, name: str) -> da.Array:
        """Return an array (`crops`, `masks`, `features`, `embedding`) aligned with `cells`."""
        return self.collections.array(name)

    def label_image(self, image_id: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the label images of an image.

        Parameters
        ----------
        image_id : str

        Returns
        -------
        nuclei, cells : ndarray, shape (H, W), int32
            0 is background.

        Raises
        ------
        MissingRowsError
            The image is not in the store, or is not segmented.
        """
        action = self.state.get(SEGMENT, image_id)
        if action is None or action.part is None:
            reason = f": {action.reason}" if action and action.reason else ""
            what = f"image {image_id} has no label images{reason}"
            raise MissingRowsError(what, "Run `anabatch segment`.")
        part = Part(self.root, action.part)
        row = action.first_row
        both = part.array(str(action.components["array"]), row, row + 1)[0]
        return both[0], both[1]

    def commit(self, run: str, select: Callable[[Action], bool] = lambda _: True) -> bool:
        """Commit the pending changes that are selected, in one version of the ledger.

        Parameters
        ----------
        run : str
            The run's id.
        select : callable
            Which actions to commit.

        Returns
        -------
        bool
            Whether there was anything to commit.
        """
        changes = self.state.pending(select)
        if not changes:
            return False
        self._ledger = self._ledger.commit(changes.put, changes.delete, run=run)
        self.state.settle(changes)
        return True

    def kept_since_commit(self, name: str) -> bool:
        """Whether some run has left a file of this name in its folder after the last commit.

        It goes by the file system's times.
        """
        made = [path.stat().st_mtime_ns for path in (self.root / RUNS).glob(f"*/{name}")]
        return max(made, default=-1) >= self._ledger.written_ns()

    def summary(self) -> list[dict[str, Any]]:
        """Return, for every kind of part, its live rows, parts and bytes.

        Returns
        -------
        list of dict
            Keys `table`, `rows`, `parts`, `bytes`, by name.
        """
        # what is made of a cell part has as many live rows as that
        live = {part.path: part.rows for part in self.collections.cell_parts}
        rows: dict[str, int] = {}
        parts: dict[str, set[str]] = {}
        for action in self.state.actions():
            if action.part is None:
                continue
            kind = action.part.split("/")[1]
            cells = action.unit.rpartition(":")[2]
            rows[kind] = rows.get(kind, 0) + live.get(cells, action.rows)
            parts.setdefault(kind, set()).add(action.part)
        return [
            {
                "table": kind,
                "rows": rows[kind],
                "parts": len(paths),
                "bytes": sum(Part(self.root, path).size for path in paths),
            }
            for kind, paths in sorted(parts.items())
        ]


def open_store(path: str | Path, at: int | None = None) -> Store:
    """Open a store to read it.

    Parameters
    ----------
    path : str or Path
        The store's folder.
    at : int, optional
        Version of the ledger; the newest by default.

    Returns
    -------
    Store

    Raises
    ------
    StoreNotFoundError
        There is no store, or no such version.
    """
    root = Path(path).resolve()
    return Store(root, Ledger(root / LEDGER, at))


@contextmanager
def hold_store(path: Path, *, run: str, create: bool) -> Iterator[Store]:
    """Hold a store for one run, which may write to it.

    The ledger is read when the store is held: what another run has committed is in it.

    Parameters
    ----------
    path : Path
        The store's folder.
    run : str
        The run's id.
    create : bool
        Whether to make the store where there is none.

    Raises
    ------
    StoreLockedError
        Another run holds the store.
    StoreNotFoundError
        There is no store, and it is not to be made. Nothing is.
    """
    root = path.resolve()
    if create:
        check_name(root / LEDGER)
        make_folder(root, Path(root.anchor))
    else:
        Ledger(root / LEDGER)  # only whether there is one: the lock would make the folder
    with hold(root, run=run):
        yield create_store(root) if create else open_store(root)


def create_store(path: Path) -> Store:
    """Open a store, and make it first where there is none."""
    root = path.resolve()
    try:
        return open_store(root)
    except StoreNotFoundError:  # also where an earlier attempt was cut short
        make_folder(root, Path(root.anchor))
        return Store(root, Ledger.create(root / LEDGER))
