"""Networks on a worker: loaded once a process, and only with the weights that the plan named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from anabatch.errors import WeightsError

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

T = TypeVar("T")


def as_planned(load: _lru_cache_wrapper[T], *arguments: Any, digest: str, names: str) -> T:
    """Return a network whose digest is the one that the plan named.

    Parameters
    ----------
    load : callable
        Loads a network with the attribute `digest`; wrapped by `functools.lru_cache`.
    *arguments
        The loader's.
    digest : str
        What the plan named.
    names : str
        The weights, for the error.

    Raises
    ------
    WeightsError
        The files on this worker are others than those of the plan.
    """
    network: Any = load(*arguments)
    if network.digest != digest:
        load.cache_clear()  # the files may have changed since it was loaded
        network = load(*arguments)
    if network.digest != digest:
        what = f"the weights of {names} on this worker are not those that the run was planned with"
        raise WeightsError(what, "Put the same files on every worker.")
    return network  # type: ignore[no-any-return]  # a loader's network, whatever it is
