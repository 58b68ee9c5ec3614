"""A Dask batch system for large archives of HEp-2 immunofluorescence images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anabatch.store.root import Store, open_store

__all__ = ["Store", "open_store"]


def __getattr__(name: str) -> Any:
    """Import the store when it is first asked for: `import anabatch` itself costs nothing."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from anabatch.store import root

    return getattr(root, name)
