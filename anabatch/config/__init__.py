"""The configuration: one frozen model a stage, read from TOML, unknown keys refused.

Every stage's model has a digest, which enters the action keys of that stage: two runs with equal
parameters share their results, and any other parameter recomputes exactly what depends on it.
"""

from anabatch.config.archives import AnnotateConfig, ArchiveConfig, ScanConfig
from anabatch.config.features import EXTRACTORS, EXTRACTORS_OF_OTHERS, FeaturizeConfig
from anabatch.config.loading import load_config, parse_config, resolve_paths
from anabatch.config.population import ClusterConfig, EmbedConfig
from anabatch.config.report import ReportConfig
from anabatch.config.running import ComputeConfig, GuardsConfig, KeepConfig
from anabatch.config.section import (
    Count,
    ImageSize,
    Integer,
    Positive,
    Real,
    Section,
    Share,
    form,
)
from anabatch.config.segmentation import CellsConfig, SegmentConfig
from anabatch.config.whole import Config

__all__ = [
    "EXTRACTORS",
    "EXTRACTORS_OF_OTHERS",
    "AnnotateConfig",
    "ArchiveConfig",
    "CellsConfig",
    "ClusterConfig",
    "ComputeConfig",
    "Config",
    "Count",
    "EmbedConfig",
    "FeaturizeConfig",
    "GuardsConfig",
    "ImageSize",
    "Integer",
    "KeepConfig",
    "Positive",
    "Real",
    "ReportConfig",
    "ScanConfig",
    "Section",
    "SegmentConfig",
    "Share",
    "form",
    "load_config",
    "parse_config",
    "resolve_paths",
]
