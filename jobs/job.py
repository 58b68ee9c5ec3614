"""What a job is: its inputs, outputs, parameters and resources, as data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Job:
    """A job's declaration.

    Attributes
    ----------
    name : str
        Its command.
    reads, writes : tuple of str
        Kinds of parts, as in the store's `parts/`; `archive` and `exports` are the user's files.
    parameters : tuple of str
        Sections of the configuration that determine its results.
    resources : dict
        What a worker must offer.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    parameters: tuple[str, ...]
    resources: dict[str, float] = field(default_factory=dict)
