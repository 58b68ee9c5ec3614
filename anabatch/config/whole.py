"""The whole configuration: a section a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from anabatch.config.archives import AnnotateConfig, ArchiveConfig, ScanConfig
from anabatch.config.features import FeaturizeConfig
from anabatch.config.population import ClusterConfig, EmbedConfig
from anabatch.config.report import ReportConfig
from anabatch.config.running import ComputeConfig, GuardsConfig, KeepConfig
from anabatch.config.section import Section
from anabatch.config.segmentation import CellsConfig, SegmentConfig


class Config(Section):
    """The whole configuration.

    Attributes
    ----------
    store : Path
        The store's folder.
    archives : tuple of ArchiveConfig
        Archives to read; their names are distinct.
    """

    store: Path
    archives: tuple[ArchiveConfig, ...] = ()
    scan: ScanConfig = ScanConfig()
    annotate: AnnotateConfig = AnnotateConfig()
    segment: SegmentConfig = SegmentConfig()
    cells: CellsConfig = CellsConfig()
    featurize: FeaturizeConfig = FeaturizeConfig()
    embed: EmbedConfig = EmbedConfig()
    cluster: ClusterConfig = ClusterConfig()
    report: ReportConfig = ReportConfig()
    compute: ComputeConfig = ComputeConfig()
    guards: GuardsConfig = GuardsConfig()
    keep: KeepConfig = KeepConfig()

    @model_validator(mode="after")
    def _archive_names_are_distinct(self) -> Self:
        names = [archive.name for archive in self.archives]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            message = f"archive names are used twice: {', '.join(repeated)}"
            raise ValueError(message)
        return self
