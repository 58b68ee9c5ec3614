"""Init: a commented configuration file to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.config import Config
from anabatch.errors import ConfigurationError
from anabatch.named_places import writing

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """\
# anabatch: what to read, where to keep the results, and how each stage works.
# Every value below is the default, but for the archive. Relative paths start at this file.

# The store: a folder that anabatch makes, and that nothing else writes to.
store = "store"

# One table an archive. The name enters the images' identities: do not change it later.
# Layouts: dated (DATE/RUN/*.jpg with LIS exports), by-class (GROUP/CLASS/*.jpg), unlabelled
# (pat_N/*.jpg), a path to a layout's TOML file, or auto.
[[archives]]
name = "laboratory"
path = "DATA"
layout = "auto"
# Pixels that make one reference pixel, for image sizes that the layout does not know:
# pixels_per_reference_pixel = {{ "2048x1536" = 2.0 }}

[scan]
max_pixels = {scan.max_pixels}  # larger images are refused from their header
settle_seconds = {scan.settle_seconds}  # files younger than this wait for the next run
rehash_share = {scan.rehash_share}  # of the unchanged files, whose bytes every run reads again
# Drives that make up inodes or their times at every mount: see a change by size and time alone.
ignore_inode = {scan.ignore_inode}
ignore_ctime = {scan.ignore_ctime}

[annotate]
# vocabulary = "labels"  # a folder with your own vocabulary.csv, lis_codes.csv, hep_annot.csv

[segment]
recipe = "{segment.recipe}"  # or "one-pass", or "watershed", without networks
# anabatch-nuclei and anabatch-cells are small networks for trying things out. For real work name
# Cellpose's own ("nuclei", "cyto2", "cyto3") or the path of a Cellpose model file.
nuclei_model = "{segment.nuclei_model}"
cell_model = "{segment.cell_model}"
# "auto" estimates the nuclei's size from every image itself, whatever its magnification; "fixed"
# takes it for nucleus_diameter.
diameter = "{segment.diameter}"
# Diameters in reference pixels: cells are sought at cell_diameter where the image's mean nucleus
# diameter d is above reference_nucleus_diameter, and at cell_diameter * d / reference elsewhere.
nucleus_diameter = {segment.nucleus_diameter}
cell_diameter = {segment.cell_diameter}
reference_nucleus_diameter = {segment.reference_nucleus_diameter}
one_pass_diameter = {segment.one_pass_diameter}
clahe_clip = {segment.clahe_clip}
clahe_grid = {segment.clahe_grid}
flow_threshold = {segment.flow_threshold}
cellprob_threshold = {segment.cellprob_threshold}
min_size = {segment.min_size}
device = "{segment.device}"  # or "cuda"; a device that is not there is an error

[cells]
crop = {cells.crop}  # side of the crops; VGG16's features are defined for 96

[featurize]
extractor = "{featurize.extractor}"  # or "lbp", local binary patterns: a baseline without a network
# anabatch-vgg16-quarter is a small network for trying things out. For real work: "imagenet", or
# the path of a Keras weights file.
weights = "{featurize.weights}"
preprocessing = "{featurize.preprocessing}"  # or "keras", as ImageNet's weights were trained
channels = "{featurize.channels}"  # or "nucleus-cytoplasm-mask"
pooling = "{featurize.pooling}"  # or "average": a ninth as many features
precision = "{featurize.precision}"  # or "mixed_bfloat16", faster where the device has it
batch = {featurize.batch}
device = "{featurize.device}"  # or "cuda", where Keras finds one (KERAS_BACKEND=torch, or TensorFlow's)

[embed]
landmarks = {embed.landmarks}
landmark_method = "{embed.landmark_method}"  # or "uniform", the study's own choice
gamma = "{embed.gamma}"  # or a number; the study used 1e-5
components = {embed.components}
refit_share = {embed.refit_share}  # fit again when more than this share of the cells has changed

[cluster]
method = "{cluster.method}"  # "lloyd", or "mixture" of Gaussians
k = {cluster.k}  # `anabatch cluster --choose-k 2..12` helps to choose
components = {cluster.components}
restarts = {cluster.restarts}
rounds = {cluster.rounds}
refit_share = {cluster.refit_share}
refit = "{cluster.refit}"  # "warm": from where the centres are
new_kinds = "{cluster.new_kinds}"  # "add": a new kind of cells gets a cluster without being asked

[report]
fields = {report.fields}
cells_per_cluster = {report.cells_per_cluster}

[guards]
# A run stops, with exit code 4, before it takes away or computes again more than this.
# Fewer than three images, or exports, do not stop a run, unless they are all that are known.
vanished_share = {guards.vanished_share}  # of an archive's known images: is the disk mounted?
recompute_share = {guards.recompute_share}  # of a stage's results; --accept-recompute goes on

[keep]
# What `anabatch gc` keeps of the past: a version is kept while either rule keeps it.
versions = {keep.versions}
days = {keep.days}
trash_days = {keep.trash_days}  # what was taken away lies in the trash for so long

[compute]
scheduler = "{compute.scheduler}"  # "sync", or a Dask scheduler's address, tcp://host:8786
workers = {compute.workers}
gpus = {compute.gpus}  # for the networks, a worker process each: a number, or "all"
threads = {compute.threads}  # of each worker's numerical libraries; one number everywhere
batch_megapixels = {compute.batch_megapixels}
"""


def template() -> str:
    """Return the text of a commented configuration with every stage's defaults."""
    defaults = Config.model_validate({"store": "store"})
    text = TEMPLATE.format(**{name: getattr(defaults, name) for name in Config.model_fields})
    return text.replace("= False", "= false")


def write_template(path: Path) -> None:
    """Write the commented configuration.

    Raises
    ------
    ConfigurationError
        The file is already there.
    PlaceError
        It cannot be written there.
    """
    text = template()
    with writing(path):
        try:
            file = path.open("x", encoding="utf-8")
        except FileExistsError as error:
            what = f"{path} is already there"
            raise ConfigurationError(what, "Move it away, or give another name.") from error
        with file:
            file.write(text)
