"""Opening a store, to read it at one version or to write to it."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from anabatch.errors import MissingRowsError, PartCorruptError, StoreNotFoundError
from anabatch.named_places import writing
from anabatch.store.collections import Collections
from anabatch.store.durable import make_folder
from anabatch.store.leases import LeasedPath, horizon, lease
from anabatch.store.ledger import Ledger, check_name, mend, settle
from anabatch.store.live import CLUSTER_MODEL, SEGMENT
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
_MOST_FILES = 64
"""Files of a ledger's version, above which a commit is followed by a fold."""
RUNS = "runs"

_ATTEMPTS = 3


class Store:
    """A store at one version of its ledger.

    As a context manager it gives up its version at the end, if it was opened to be read.

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the version that is read: `anabatch gc` need not keep it for this store."""
        if isinstance(self.root, LeasedPath) and self.root.lease:
            self.root.lease.release()

    @property
    def version(self) -> int:
        """The ledger's version."""
        return self._ledger.version

    @property
    def leased(self) -> bool:
        """Whether `anabatch gc` keeps this version for as long as something reads it here."""
        held = self.root.lease if isinstance(self.root, LeasedPath) else None
        return held is not None and held.held

    @property
    def collections(self) -> Collections:
        """Tables and arrays over the present state; what they have read is kept until it changes."""
        revision = self.state.revision
        if self._collections is None or self._collections[0] != revision:
            self._collections = revision, Collections(self.root, self.state)
        return self._collections[1]

    def table(self, name: str, model: str = CLUSTER_MODEL) -> StoreTable:
        """Return a table: `acquisitions`, `annotations`, `cells`, or `clusters` by their model."""
        return self.collections.table(name, model)

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
            0 is background. Those of mosaics are maps of temporary files.

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
        return part.label_images(str(action.components["array"]), action.first_row)

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
        if len(self._ledger.files()) > _MOST_FILES:
            self._ledger = self._ledger.fold(run=run)
        return True

    def history(self, stage: str, unit: str) -> list[tuple[int, Action]]:
        """Return what the ledger still tells of one unit: version and action, the oldest first."""
        return self._ledger.history(stage, unit)

    def gone(self, stage: str) -> list[Action]:
        """Return the tombstones of what a stage no longer has, as far as the ledger still tells."""
        return self._ledger.gone(stage)

    def fold(self, run: str) -> int:
        """Write the ledger as one file, in a version of its own with the same state.

        Parameters
        ----------
        run : str
            The run's id.

        Returns
        -------
        int
            How many files it was; 0 if it was one already, and nothing was done.
        """
        files = len(self._ledger.files())
        if files < 2:
            return 0
        self._ledger = self._ledger.fold(run=run)
        return files

    def restore(self, version: int, run: str) -> None:
        """Bring the state of an older version back, as a new version.

        Parameters
        ----------
        version : int
        run : str
            The run's id.

        Raises
        ------
        StoreNotFoundError
            There is no such version, or it is no longer kept.
        """
        if version < horizon(self.root):
            raise no_longer_kept(self.root, version)
        self._ledger = self._ledger.restore(version, run=run)
        self.state = State(self._ledger.actions())
        self._collections = None

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
            # clusters of a part of the archive say how many cells they are of
            mine = action.components.get("selected", live.get(cells, action.rows))
            rows[kind] = rows.get(kind, 0) + int(mine)
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

    While the store, a table or an array of it is in use in this process, `anabatch gc` keeps what
    it reads. That takes a small file in the store: a reader who may not write there, or whose disk
    is full, reads all the same, and only what the configuration retains is kept for it
    (:attr:`Store.leased` tells).

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
        There is no store, no such version, or it is no longer kept.
    """
    root = Path(path).resolve()
    for _ in range(_ATTEMPTS):  # the newest version may be old by the time that it is claimed
        ledger = Ledger(root / LEDGER, at)
        leased = LeasedPath(root)
        leased.lease = lease(root, ledger.version)
        if ledger.version >= horizon(root):
            return Store(leased, ledger)
        if at is not None:
            break
    raise no_longer_kept(root, ledger.version)


def no_longer_kept(root: Path, version: int) -> StoreNotFoundError:
    """Return the error that says that a version is below the horizon."""
    what = f"version {version} of the store at {root} is no longer kept"
    return StoreNotFoundError(what, f"The oldest that is kept is version {horizon(root)}.")


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
    PlaceError
        The folder cannot be made, or this user may not write there.
    """
    root = path.resolve()
    with writing(root), _held(root, run=run, create=create) as store:
        yield store


@contextmanager
def _held(root: Path, *, run: str, create: bool) -> Iterator[Store]:
    if create:
        check_name(root / LEDGER)
        make_folder(root, Path(root.anchor))
    else:
        with suppress(PartCorruptError):  # torn, perhaps: that is mended by whoever holds it
            Ledger(root / LEDGER)  # only whether there is one: the lock would make the folder
    with hold(root, run=run):
        mend(root / LEDGER)
        settle(root / LEDGER)
        # no lease: what the newest version needs is never taken, and nobody else may take anything
        yield create_store(root) if create else Store(root, Ledger(root / LEDGER))


def create_store(path: Path) -> Store:
    """Open a store to write to it, and make it first where there is none."""
    root = path.resolve()
    try:
        return Store(root, Ledger(root / LEDGER))
    except StoreNotFoundError:  # also where an earlier attempt was cut short
        make_folder(root, Path(root.anchor))
        return Store(root, Ledger.create(root / LEDGER))
