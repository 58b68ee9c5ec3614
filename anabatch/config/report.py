"""What the report shows."""

from __future__ import annotations

from anabatch.config.section import Count, Section


class ReportConfig(Section):
    """Parameters of the report.

    Attributes
    ----------
    fields : int
        Segmented images that are shown with outlines.
    cells_per_cluster : int
        Cells that are shown of every cluster.
    """

    fields: Count = 8
    cells_per_cluster: Count = 24
