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
    warning : str
        What is wrong with what it shows; empty when nothing is.
    mark : str
        The warning in a word or two, for the contents.
    command : str
        The command that makes what is absent, or anew what the warning is of.
    """

    anchor: str
    title: str
    template: str
    facts: dict[str, Any] = field(default_factory=dict)
    absent: str = ""
    warning: str = ""
    mark: str = "old clusters"
    command: str = ""
