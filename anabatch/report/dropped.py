"""Why masks are dropped, in words, in the order in which they are shown."""

from __future__ import annotations

REASONS = {
    "too_large": "too large",
    "flow_error": "flows do not fit the mask",
    "too_small": "too small",
    "scale_bar": "on the scale bar",
    "vanished": "nothing left at full size",
}
"""The segmentation's reasons."""


def in_words(reason: str) -> str:
    """Return a reason in words; one that is not known as it stands, without underscores."""
    return REASONS.get(reason, reason.replace("_", " "))
