"""The environment of all templates: everything is escaped, and text from archives made printable."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from anabatch.report.text import number, percent, plural, shown


def environment() -> Environment:
    """Return an environment for the templates of the report."""
    made = Environment(
        loader=PackageLoader("anabatch.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "percent": percent}
    made.globals["plural"] = plural
    return made
