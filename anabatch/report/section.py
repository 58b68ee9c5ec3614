"""What a section of the report is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Section:
    """One section: facts, and the template that shows them.

    Attributes
    ----------
    anchor : str
        Its name within the page.
    title : str
    template : str
        File in `templates/`; it sees the facts as `f`.
    facts : dict
    absent : str
        Why there is nothing to show; empty when there is. It takes the template's place.
    command : str
        The command that makes what is absent.
    """

    anchor: str
    title: str
    template: str
    facts: dict[str, Any] = field(default_factory=dict)
    absent: str = ""
    command: str = ""
