"""Looking at a store and its archives without holding them: nothing is written."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anabatch.compute import Cluster
from anabatch.store.root import open_store

from .context import Context
from .reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabatch.config import Config


@contextmanager
def looking(config: Config) -> Iterator[Context]:
    """Yield a context over the newest version of a store, for plans alone.

    What a plan puts into its state stays in this process. Nothing is started: whoever computes with
    it makes a mistake.

    Parameters
    ----------
    config : Config

    Raises
    ------
    StoreNotFoundError
        There is no store.
    """
    store = open_store(config.store)
    quiet = Reporter("json", io.StringIO())
    cluster = Cluster(config.compute)
    yield Context(config, store, cluster, quiet, run="", folder=store.root)
