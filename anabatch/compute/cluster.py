"""A backend that starts when it is first needed, and ends with the run."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from anabatch.compute.backends import Distributed, InProcess
from anabatch.compute.workers import client_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from anabatch.compute.backends import Backend
    from anabatch.config import ComputeConfig


class Cluster:
    """A backend that starts when it is first needed; a context manager.

    Parameters
    ----------
    config : ComputeConfig
    announce : callable, optional
        Told the dashboard's address when a cluster starts.
    performance_report : Path, optional
        Where Dask's own account of a distributed run goes.
    """

    def __init__(
        self,
        config: ComputeConfig,
        *,
        announce: Callable[[str], None] | None = None,
        performance_report: Path | None = None,
    ) -> None:
        self.config = config
        self._announce = announce
        self._performance_report = performance_report
        self._stack = ExitStack()
        self._backend: Backend | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def started(self) -> bool:
        """Whether anything was computed."""
        return self._backend is not None

    @property
    def backend(self) -> Backend:
        """The backend, started if it was not."""
        if self._backend is None:
            self._backend = self._start()
            if self._announce and self._backend.dashboard:
                self._announce(self._backend.dashboard)
        return self._backend

    def _start(self) -> Backend:
        if self.config.scheduler == "sync":
            return InProcess()
        client = self._stack.enter_context(client_of(self.config))
        if self._performance_report:
            self._stack.enter_context(_account(client, self._performance_report))
        self._stack.callback(_hush_closing)
        return Distributed(client, window=self.config.window, retries=self.config.retries)


@contextmanager
def _account(client: Any, path: Path) -> Iterator[None]:
    """Have Dask write its account of a run, unless the scheduler that keeps it is gone."""
    from distributed import performance_report

    account = performance_report(filename=str(path))
    account.__enter__()
    try:
        yield
    finally:
        if client.status == "running":
            account.__exit__(None, None, None)


def _hush_closing() -> None:
    """Keep what is of no interest any more from the screen: all results are in.

    Workers with network libraries take longer to end than their nannies wait for.
    """
    logging.getLogger("distributed.nanny").setLevel(logging.ERROR)
