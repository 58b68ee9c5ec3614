"""The configuration: one frozen model a stage, read from TOML, unknown keys refused.

Every stage's model has a digest, which enters the action keys of that stage: two runs with equal
parameters share their results, and any other parameter recomputes exactly what depends on it.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from anabatch.errors import ConfigurationError

# Strict: `true` is not 1, and "8" is not 8.
Real = Annotated[float, Field(strict=True)]
Integer = Annotated[int, Field(strict=True)]
Positive = Annotated[Real, Field(gt=0)]
Count = Annotated[Integer, Field(ge=1)]
Share = Annotated[Real, Field(ge=0, le=1)]
ImageSize = Annotated[str, Field(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$")]


EXTRACTORS = ("vgg16", "lbp")
"""The feature extractors that come with anabatch."""

EXTRACTORS_OF_OTHERS = "anabatch.feature_extractors"
"""The group of entry points by which installed packages bring theirs."""


class Section(BaseModel):
    """A frozen section of the configuration that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self) -> str:
        """Return 32 hex digits that change with any parameter of the section."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


class ArchiveConfig(Section):
    """One archive: a named root folder with a layout.

    Attributes
    ----------
    name : str
        The archive's name. It enters the acquisition ids: do not change it later.
    path : Path
        The root folder. It is only ever read.
    layout : str
        A layout's name (`dated`, `by-class`, `unlabelled`), a path to a layout's TOML file, or
        `auto`, which detects it.
    pixels_per_reference_pixel : dict
        Image size as `WIDTHxHEIGHT` to the pixels that make one reference pixel. It goes before
        the layout's own table.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    path: Path
    layout: str = "auto"
    pixels_per_reference_pixel: dict[ImageSize, Positive] = {}


class ScanConfig(Section):
    """Parameters of the scan.

    Attributes
    ----------
    max_pixels : int
        Images with more pixels are refused from their header, before memory is taken.
    settle_seconds : float
        Files that changed less than this many seconds before they are listed are left for the next
        run: they may still be written to.
    rehash_share : float
        Share of an archive's unchanged files whose bytes every run reads again, those first that
        were not read for longest: a disk may change them without changing their times.
    ignore_inode, ignore_ctime : bool
        Do not take a file for changed because its inode, or the time of its inode, changed: some
        network and exFAT drives make these up at every mount.
    """

    max_pixels: Count = 400_000_000
    settle_seconds: Annotated[Real, Field(ge=0)] = 0.0
    rehash_share: Share = 0.01
    ignore_inode: Annotated[bool, Field(strict=True)] = False
    ignore_ctime: Annotated[bool, Field(strict=True)] = False


class AnnotateConfig(Section):
    """Parameters of the annotation; the vocabulary itself is data in `schemas/labels/`.

    Attributes
    ----------
    vocabulary : Path or None
        A folder with `vocabulary.csv`, `lis_codes.csv` and `hep_annot.csv` to use in place of the
        ones that are shipped.
    """

    vocabulary: Path | None = None


class SegmentConfig(Section):
    """Parameters of the segmentation. All diameters are in reference pixels.

    The defaults are the study's two-pass recipe: nuclei at 60, cells at 145, scaled down by
    `d / 90` where the mean nucleus diameter `d` is at most 90.

    Attributes
    ----------
    recipe : {'two-pass', 'one-pass', 'watershed'}
        `one-pass` finds cells at `one_pass_diameter` on the untreated signal, without nuclei.
        `watershed` needs no networks; of all the rest it uses `nucleus_diameter` alone.
    nuclei_model, cell_model : str
        A shipped network (`anabatch-nuclei`, `anabatch-cells`), a Cellpose model (`nuclei`,
        `cyto2`, `cyto3`), or a path to a Cellpose model file.
    diameter : {'fixed', 'auto'}
        `auto` has the nucleus network take a first look at every image, estimate the nuclei's size
        from it, and look for nuclei and cells of that size, whatever the magnification. It takes
        about two nucleus passes more, and needs the two-pass recipe.
    clahe_clip, clahe_grid : float, int
        Contrast-limited adaptive histogram equalisation: clip limit, and tiles a side; sides of more
        than 1388 reference pixels have proportionally more.
    flow_threshold, cellprob_threshold : float
        Cellpose's own thresholds.
    min_size : int
        Smallest mask, in network pixels; Cellpose's default.
    tile, tile_overlap : int, float
        Longest side of the network's tiles in network pixels, a multiple of 16, and the share of
        it that neighbours overlap at least: by default two diameters.
    tiles_per_batch : int
        Tiles of one shape that go through the network at once, and images that are worked on
        together on a GPU. The last batch is padded, so that results do not depend on neighbours.
        0 is 1 on a processor, which gains nothing from more, and 8 on a GPU. Like the device, it is
        in no key.
    precision : {'float32', 'bfloat16'}
        Of the networks' weights and of what goes between them. `bfloat16` is faster where the
        device computes with it, at the cost of a few outlines.
    device : {'cpu', 'cuda'}
        Where the networks run. A device that is not there is an error.
    """

    recipe: Literal["two-pass", "one-pass", "watershed"] = "two-pass"
    nuclei_model: str = "anabatch-nuclei"
    cell_model: str = "anabatch-cells"
    diameter: Literal["fixed", "auto"] = "fixed"
    nucleus_diameter: Positive = 60.0
    cell_diameter: Positive = 145.0
    reference_nucleus_diameter: Positive = 90.0
    one_pass_diameter: Positive = 75.0
    clahe_clip: Positive = 10.0
    clahe_grid: Count = 8
    flow_threshold: Annotated[Real, Field(ge=0)] = 0.4
    cellprob_threshold: Real = 0.0
    min_size: Annotated[Integer, Field(ge=0)] = 15
    tile: Annotated[Integer, Field(ge=64, multiple_of=16)] = 448
    tile_overlap: Annotated[Real, Field(ge=0, lt=0.5)] = 0.16
    tiles_per_batch: Annotated[Integer, Field(ge=0)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def tiles_at_once(self) -> int:
        """Tiles of a batch, as the device has it where nothing was said."""
        return self.tiles_per_batch or (1 if self.device == "cpu" else 8)

    @model_validator(mode="after")
    def _an_estimate_needs_nuclei(self) -> Self:
        if self.diameter == "auto" and self.recipe != "two-pass":
            message = (
                "diameter = 'auto' estimates by the nucleus network: recipe must be 'two-pass'"
            )
            raise ValueError(message)
        return self


class CellsConfig(Section):
    """Parameters of the cell crops.

    Attributes
    ----------
    crop : int
        Side of the square crops, in crop pixels.
    """

    crop: Annotated[Integer, Field(ge=16)] = 96


class FeaturizeConfig(Section):
    """Parameters of the features.

    Attributes
    ----------
    extractor : str
        `vgg16`; `lbp`, histograms of local binary patterns, which needs no network, and none of the
        other parameters: a baseline; or the name by which an installed package brings another.
    weights : str
        `imagenet` (Keras's own), `anabatch-vgg16-quarter`, or a path to a Keras weights file.
    preprocessing : {'unit', 'keras'}
        `unit` gives the network grey levels in [0, 1]; `keras` gives 0 to 255 less the ImageNet
        channel means.
    channels : {'grey', 'nucleus-cytoplasm-mask'}
        What the network's three channels are: the crop thrice, or the light of the nucleus, all
        other light, and the cell's mask. A shipped network takes those alone that it was trained for.
    pooling : {'flatten', 'average'}
        What becomes of the 3 x 3 places of block 5: all of them, or their mean, a ninth as long.
    precision : {'float32', 'mixed_bfloat16'}
        Of what goes between the network's layers. `mixed_bfloat16` is faster where the device
        computes with it, and features differ in their third digit.
    batch : int
        Crops that go through the network at once; the last batch is padded.
    device : {'cpu', 'cuda'}
        Where the network runs. A device that is not there is an error.
    """

    extractor: str = "vgg16"
    weights: str = "anabatch-vgg16-quarter"
    preprocessing: Literal["unit", "keras"] = "unit"
    channels: Literal["grey", "nucleus-cytoplasm-mask"] = "grey"
    pooling: Literal["flatten", "average"] = "flatten"
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    batch: Count = 64
    device: Literal["cpu", "cuda"] = "cpu"

    @field_validator("extractor")
    @classmethod
    def _is_there(cls, name: str) -> str:
        """Refuse a name that nobody brings; what it stands for is not loaded here."""
        if name not in EXTRACTORS and name not in entry_points(group=EXTRACTORS_OF_OTHERS).names:
            known = sorted({*EXTRACTORS, *entry_points(group=EXTRACTORS_OF_OTHERS).names})
            message = f"no feature extractor is called {name!r}; there are {', '.join(known)}"
            raise ValueError(message)
        return name


class EmbedConfig(Section):
    """Parameters of the Nyström kernel PCA.

    Attributes
    ----------
    landmarks : int
        Number of landmarks, m.
    landmark_method : {'kmeans', 'uniform'}
        `uniform` is the study's own choice.
    gamma : float or 'auto'
        Width of the RBF kernel; `auto` is one over the median squared distance of a pilot.
    components : int
        Components that are kept in the embedding (fewer if the landmarks give fewer).
    cutoff : float
        Eigenvalues below this share of the first are dropped.
    pilot : int
        Rows from which landmarks are chosen; at least 30 times the landmarks are used.
    chunk : int
        Rows that are processed at once.
    seed : int
        Seed of all drawing.
    refit_share : float
        The model is fitted again when new and gone rows are more than this share of the rows that it was
        fitted on.
    """

    landmarks: Annotated[Integer, Field(ge=2)] = 512
    landmark_method: Literal["kmeans", "uniform"] = "kmeans"
    gamma: Positive | Literal["auto"] = "auto"
    components: Count = 150
    cutoff: Positive = 1e-6
    pilot: Count = 20_000
    chunk: Count = 4_096
    seed: Integer = 0
    refit_share: Annotated[Real, Field(ge=0)] = 0.2


class ClusterConfig(Section):
    """Parameters of the clusters.

    Attributes
    ----------
    method : {'kmeans', 'lloyd', 'mixture'}
        `kmeans` finds centres on a pilot, and moves them in mini-batch rounds and two passes over all
        rows; `lloyd` in passes over all rows until they rest. `mixture` fits Gaussians with diagonal
        covariances on the pilot, and takes the most probable one.
    k : int
        Number of clusters.
    components : int
        Leading components of the embedding that are used.
    pilot, restarts : int
        Rows of the pilot, and k-means++ restarts on it.
    rounds : int
        Mini-batch passes over all chunks between the pilot and the two Lloyd passes.
    chunk : int
        Rows that are processed at once.
    seed : int
        Seed of all drawing.
    refit_share : float
        The model is fitted again when new and gone rows are more than this share of the rows that it was
        fitted on.
    refit : {'cold', 'warm'}
        How: `cold` starts anew, and gives the clusters the numbers of those that they continue; `warm`
        starts where the centres are, as long as embedding and parameters stay.
    new_kinds : {'propose', 'add'}
        What becomes of cells that lie far from all clusters and near to each other: they are told of,
        or become a cluster at once, if they are of three images or more.
    least_new : int
        Cells without which they are no new kind.
    """

    method: Literal["kmeans", "lloyd", "mixture"] = "kmeans"
    k: Annotated[Integer, Field(ge=2)] = 8
    components: Count = 35
    pilot: Count = 20_000
    restarts: Count = 10
    rounds: Annotated[Integer, Field(ge=0)] = 2
    chunk: Count = 4_096
    seed: Integer = 0
    refit_share: Annotated[Real, Field(ge=0)] = 0.2
    refit: Literal["cold", "warm"] = "cold"
    new_kinds: Literal["propose", "add"] = "propose"
    least_new: Count = 25


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


class ComputeConfig(Section):
    """Where and how wide the work runs. Nothing here may change a result.

    Attributes
    ----------
    scheduler : str
        `local` (processes on this machine), `sync` (in this process), or a Dask scheduler's address.
    workers : int
        Processes of a local cluster.
    gpus : int or 'all'
        GPUs for the networks of the segmentation: of a local cluster, each gets a worker process of
        its own, beside the others; of another scheduler, it needs so many workers with the resource
        `GPU`, and one with the resource `CPU`. Fewer than these are an error.
    threads : int
        Threads that the numerical libraries of every worker use. One number for every backend.
    batch_megapixels : float
        Size of a batch, in reference megapixels.
    window : int
        Batches in flight for every worker.
    retries : int
        How often a task that its worker does not survive is tried beside others, and then again
        with nothing beside it. With 0 it is tried once. A task that raises is not tried again.
    """

    scheduler: Annotated[str, Field(pattern=r"^(local|sync|(tcp|tls|ws|wss)://.+)$")] = "local"
    workers: Count = 2
    gpus: Annotated[Integer, Field(ge=0)] | Literal["all"] = 0
    threads: Count = 1
    batch_megapixels: Positive = 40.0
    window: Count = 2
    retries: Annotated[Integer, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _gpus_need_workers(self) -> Self:
        if self.gpus and self.scheduler == "sync":
            message = "gpus need workers, and scheduler = 'sync' has none: use 'local'"
            raise ValueError(message)
        return self


class GuardsConfig(Section):
    """What a run may do without being asked to.

    Attributes
    ----------
    vanished_share : float
        A run stops when more than this share of an archive's known images is gone, or of its known
        exports; images that were whole and are in quarantine now count with those that are gone.
        Fewer than three never stop a run, unless they are all.
    recompute_share : float
        A run stops when it would compute more than this share of a stage's results again.
    """

    vanished_share: Share = 0.2
    recompute_share: Share = 0.3


class KeepConfig(Section):
    """What `anabatch gc` keeps of the past. A version is kept while either rule keeps it.

    Attributes
    ----------
    versions : int
        Newest versions of the ledger that are kept.
    days : float
        Days for which every version is kept.
    trash_days : float
        Days that what was taken away lies in the trash before it is deleted.
    """

    versions: Count = 30
    days: Annotated[Real, Field(ge=0)] = 30.0
    trash_days: Annotated[Real, Field(ge=0)] = 7.0


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


def load_config(path: Path) -> Config:
    """Read a configuration file.

    Relative paths in it are relative to the file's own folder.

    Parameters
    ----------
    path : Path
        A TOML file, as `anabatch init` writes it.

    Returns
    -------
    Config

    Raises
    ------
    ConfigurationError
        The file is missing, is not TOML, has unknown keys, or has values out of range.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = f"there is no configuration file at {path}"
        raise ConfigurationError(what, "Write one with `anabatch init`.") from error
    except OSError as error:
        what = f"the configuration {path} cannot be read: {error}"
        raise ConfigurationError(what) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        what = f"{path} is not valid TOML: {error}"
        raise ConfigurationError(what) from error
    return resolve_paths(parse_config(raw, source=str(path)), path.resolve().parent)


def parse_config(raw: dict[str, Any], source: str) -> Config:
    """Check raw values against the configuration's models.

    Parameters
    ----------
    raw : dict
        Values as they stand in TOML.
    source : str
        What to call the origin of the values in an error.

    Returns
    -------
    Config

    Raises
    ------
    ConfigurationError
        A key is unknown or a value is out of range.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(step) for step in item['loc']) or 'configuration'}: {item['msg']}"
            for item in error.errors()
        )
        what = f"{source}: {problems}"
        raise ConfigurationError(what, "Correct the values named.") from error


def resolve_paths(config: Config, base: Path) -> Config:
    """Return the configuration with its relative paths made absolute from `base`.

    A layout or a network's weights may be a name or a path: a path has a `/` or a suffix.

    Raises
    ------
    ConfigurationError
        The store lies in an archive, or an archive in the store.
    """
    archives = tuple(
        archive.model_copy(
            update={
                "path": _absolute(archive.path, base),
                "layout": _name_or_path(archive.layout, base),
            }
        )
        for archive in config.archives
    )
    store = _absolute(config.store, base)
    _refuse_a_store_in_an_archive(store, archives)
    vocabulary = config.annotate.vocabulary
    segment, featurize = config.segment, config.featurize
    return config.model_copy(
        update={
            "archives": archives,
            "store": store,
            "annotate": config.annotate.model_copy(
                update={"vocabulary": vocabulary and _absolute(vocabulary, base)}
            ),
            "segment": segment.model_copy(
                update={
                    name: _name_or_path(getattr(segment, name), base)
                    for name in ("nuclei_model", "cell_model")
                }
            ),
            "featurize": featurize.model_copy(
                update={"weights": _name_or_path(featurize.weights, base)}
            ),
        }
    )


def _refuse_a_store_in_an_archive(store: Path, archives: tuple[ArchiveConfig, ...]) -> None:
    """Refuse to write into an archive, which is only ever read, or to read our own results."""
    for archive in archives:
        if store.is_relative_to(archive.path):
            what = f"the store {store} lies in the archive {archive.name}, {archive.path}"
        elif archive.path.is_relative_to(store):
            what = f"the archive {archive.name}, {archive.path}, lies in the store {store}"
        else:
            continue
        raise ConfigurationError(what, "Give the store a folder of its own, beside the archives.")


def _absolute(path: Path, base: Path) -> Path:
    return (base / path.expanduser()).resolve()


def _name_or_path(value: str, base: Path) -> str:
    is_path = "/" in value or Path(value).suffix
    return str(_absolute(Path(value), base)) if is_path else value
