from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from anabatch.config import (
    AnnotateConfig,
    ArchiveConfig,
    CellsConfig,
    ClusterConfig,
    ComputeConfig,
    Config,
    EmbedConfig,
    FeaturizeConfig,
    GuardsConfig,
    KeepConfig,
    ReportConfig,
    ScanConfig,
    SegmentConfig,
    load_config,
    parse_config,
    resolve_paths,
)
from anabatch.errors import ConfigurationError

SECTIONS = (
    ScanConfig,
    AnnotateConfig,
    SegmentConfig,
    CellsConfig,
    FeaturizeConfig,
    EmbedConfig,
    ClusterConfig,
    ReportConfig,
    ComputeConfig,
    GuardsConfig,
    KeepConfig,
)
# A value other than the default, for every parameter of every section.
OTHER = {
    "recipe": "one-pass",
    "device": "cuda",
    "precision": "bfloat16",
    (FeaturizeConfig, "precision"): "mixed_bfloat16",  # Keras's own word
    "extractor": "lbp",
    "preprocessing": "keras",
    "channels": "nucleus-cytoplasm-mask",
    "pooling": "average",
    "landmark_method": "uniform",
    "gamma": 0.25,
    "scheduler": "sync",
    "vocabulary": Path("labels"),
    "diameter": "auto",
    "tile": 256,
    "tile_overlap": 0.2,
    "rehash_share": 0.5,
    "vanished_share": 0.5,
    "recompute_share": 0.5,
    "method": "lloyd",
    "refit": "warm",
    "new_kinds": "add",
}
PARAMETERS = [(section, name) for section in SECTIONS for name in section.model_fields]


def _other(section, name):
    default = section.model_fields[name].default
    if name in OTHER:
        return OTHER.get((section, name), OTHER[name])
    if isinstance(default, bool):
        return not default
    return f"{default}x" if isinstance(default, str) else default + 1


@pytest.mark.parametrize(("section", "name"), PARAMETERS)
def test_a_digest_changes_with_any_parameter(section, name):
    changed = section(**{name: _other(section, name)})
    assert changed.digest() != section().digest()
    assert len(changed.digest()) == 32


@pytest.mark.parametrize("section", SECTIONS)
def test_a_digest_does_not_depend_on_the_order_of_keys(section):
    values = section().model_dump()
    backwards = dict(reversed(values.items()))
    assert section(**values).digest() == section(**backwards).digest() == section().digest()


@pytest.mark.parametrize("recipe", ["one-pass", "watershed"])
def test_only_the_nucleus_network_estimates_diameters(recipe):
    assert SegmentConfig(recipe="two-pass", diameter="auto").diameter == "auto"
    with pytest.raises(ValidationError, match="two-pass"):
        SegmentConfig(recipe=recipe, diameter="auto")


def test_equal_numbers_have_equal_digests():
    assert SegmentConfig(nucleus_diameter=60).digest() == SegmentConfig().digest()


def test_a_digest_is_the_same_tomorrow():
    """Digests are part of action keys: another text for equal values would recompute an archive."""
    assert CellsConfig().digest() == "3642c2c8977f669a4b1b9ac70db09ed8"


@pytest.mark.parametrize("section", [*SECTIONS, Config])
def test_unknown_keys_are_refused(section):
    values = {"store": "s"} if section is Config else {}
    with pytest.raises(ValidationError, match="colour"):
        section(**values, colour="green")


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_is_frozen(section):
    name = next(iter(section.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(section(), name, None)


def _write(tmp_path, text):
    path = tmp_path / "anabatch.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("store = 's'\n[segmnt]\n", "segmnt"),
        ("store = 's'\n[segment]\nnucleus = 60\n", "segment.nucleus"),
        ("store = 's'\n[segment]\nnucleus_diameter = 0\n", "segment.nucleus_diameter"),
        ("store = 's'\n[segment]\nnucleus_diameter = nan\n", "segment.nucleus_diameter"),
        ("store = 's'\n[segment]\nnucleus_diameter = inf\n", "segment.nucleus_diameter"),
        ("store = 's'\n[segment]\ntile = 100\n", "segment.tile"),
        ("store = 's'\n[cluster]\nk = 8.0\n", "cluster.k"),
        ("store = 's'\n[cluster]\nk = '8'\n", "cluster.k"),
        ("store = 's'\n[compute]\nworkers = true\n", "compute.workers"),
        ("store = 's'\n[compute]\nscheduler = 'dask'\n", "compute.scheduler"),
        ("store = 's'\n[embed]\ngamma = 'wide'\n", "embed.gamma"),
        ("", "store"),
        ("store = ", "not valid TOML"),
        ("store = 's'\nstore = 't'", "not valid TOML"),
        ("store = 's'\n[[archives]]\nname = 'a/b'\npath = 'x'\n", "archives.0.name"),
        ("store = 's'\n[[archives]]\nname = 'a'\npath = 'x'\ncolour = 1\n", "colour"),
        (
            "store = 's'\n[[archives]]\nname='a'\npath='x'\n[[archives]]\nname='a'\npath='y'\n",
            "used twice: a",
        ),
        (
            """
            store = 's'
            [[archives]]
            name = 'a'
            path = 'x'
            pixels_per_reference_pixel = {'2776 x 2080' = 2.0}
            """,
            "2776 x 2080",
        ),
    ],
)
def test_a_bad_file_is_refused_by_name_and_key(tmp_path, text, words):
    path = _write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            {"embed": {"gamma": -1}},
            "embed.gamma has to be a number above 0 or 'auto', and is -1",
        ),
        (
            {"embed": {"gamma": "wide"}},
            "embed.gamma has to be a number or 'auto', and is \"wide\"",
        ),
        ({"embed": {"gamma": [1]}}, "embed.gamma has to be a number or 'auto', and is [1]"),
        ({"embed": {"gamma": {"a": 1}}}, "embed.gamma has to be a number or 'auto', "),
        ({"compute": {"gpus": -1}}, "compute.gpus has to be 0 or more or 'all', and is -1"),
        ({"compute": {"gpus": 1.5}}, "compute.gpus has to be a whole number or 'all', "),
        (
            {"cluster": {"method": "x"}},
            "cluster.method has to be 'kmeans', 'lloyd' or 'mixture', and is \"x\"",
        ),
        ({"cluster": {"k": 1, "restarts": True}}, "cluster.restarts has to be a whole number, "),
        ({"segment": {"tile": 100}}, "segment.tile has to be a multiple of 16, and is 100"),
        ({"segment": {"tile_overlap": 0.7}}, "tile_overlap has to be a number below 0.5, "),
        ({"scan": {"rehash_share": 2}}, "scan.rehash_share has to be 1 or less, and is 2"),
        ({"scan": {"ignore_inode": 1}}, "scan.ignore_inode has to be true or false, and is 1"),
        ({"embed": {"gama": 1}}, "embed.gama is not known"),
        ({"embed": 3}, "embed has to be a table, and is 3"),
        ({"annotate": {"vocabulary": 3}}, "annotate.vocabulary has to be a path, and is 3"),
        ({"archives": [{"name": "a"}]}, "test: archives.0.path is missing"),
        ({"archives": 3}, "archives has to be a list, and is 3"),
        (
            {"archives": [{"name": "a/b", "path": "x"}]},
            "archives.0.name has to be a name of letters, digits, '.', '_' and '-' that begins with",
        ),
        (
            {"compute": {"scheduler": "moon"}},
            "compute.scheduler has to be 'local', 'sync' or a Dask scheduler's address, as tcp://ho",
        ),
        ({"compute": {"scheduler": 3}}, "compute.scheduler has to be a text, and is 3"),
        (
            {"segment": {"diameter": "auto", "recipe": "watershed"}},
            "test: segment: diameter = 'auto' estimates by",
        ),
        ({"archives": [{"name": "a", "path": "x"}] * 2}, "test: archive names are used twice: a"),
    ],
)
def test_a_bad_value_is_told_once_with_what_the_key_takes(section, said):
    with pytest.raises(ConfigurationError) as caught:
        parse_config({"store": "s"} | section, "test")
    assert said in caught.value.what
    key = said.split(" has to be ")[0] if " has to be " in said else said
    assert caught.value.what.count(key) == 1
    for word in ("pydantic", "constrained", "literal[", "Input", "Value error", "<class"):
        assert word not in caught.value.what


SIZES = "archives.0.pixels_per_reference_pixel"
KEY = "the key has to be an image's width and height, as 1388x1040"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"2776 x 2080": 2.0}, f"test: {SIZES}.2776 x 2080: {KEY}"),
        ({"1x1\n": 1.0}, f"test: {SIZES}.1x1\n: {KEY}"),
        ({"big": "x"}, f'test: {SIZES}.big: {KEY}; {SIZES}.big has to be a number, and is "x"'),
        ({"1x1": 0}, f"test: {SIZES}.1x1 has to be a number above 0, and is 0"),
    ],
)
def test_a_key_that_users_name_is_told_apart_from_its_value(sizes, said):
    archive = {"name": "a", "path": "x", "pixels_per_reference_pixel": sizes}
    with pytest.raises(ConfigurationError) as caught:
        parse_config({"store": "s", "archives": [archive]}, "test")
    assert set(caught.value.what.split("; ")) == set(said.split("; "))


def test_a_file_that_is_not_there_says_how_to_get_one(tmp_path):
    with pytest.raises(ConfigurationError, match="anabatch init"):
        load_config(tmp_path / "none.toml")


def test_a_folder_or_other_bytes_are_no_configuration(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin").write_bytes(b"store = 'h\xe4'")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_config(tmp_path / "latin")


def test_relative_paths_are_relative_to_the_file(tmp_path):
    path = _write(
        tmp_path,
        """
        store = "store"
        [[archives]]
        name = "a"
        path = "../disk/DATA"
        layout = "ours.toml"
        [[archives]]
        name = "b"
        path = "/mnt/b"
        layout = "by-class"
        [annotate]
        vocabulary = "labels"
        [segment]
        nuclei_model = "./nets/nuclei"
        cell_model = "cyto2"
        [featurize]
        weights = "vgg.h5"
        """,
    )
    config = load_config(path)
    assert config.store == tmp_path / "store"
    assert [archive.path for archive in config.archives] == [
        tmp_path.parent / "disk" / "DATA",
        Path("/mnt/b"),
    ]
    assert [archive.layout for archive in config.archives] == [
        str(tmp_path / "ours.toml"),
        "by-class",
    ]
    assert config.annotate.vocabulary == tmp_path / "labels"
    assert config.segment.nuclei_model == str(tmp_path / "nets" / "nuclei")
    assert config.segment.cell_model == "cyto2"
    assert config.featurize.weights == str(tmp_path / "vgg.h5")
    assert resolve_paths(config, Path("/elsewhere")) == config


@pytest.mark.parametrize(
    ("store", "archive", "words"),
    [
        ("disk/DATA", "disk/DATA", "lies in the archive a"),
        ("disk/DATA/store", "disk/DATA", "lies in the archive a"),
        ("link/store", "disk/DATA", "lies in the archive a"),
        ("store", "store/DATA", "lies in the store"),
        ("disk", "link", "lies in the store"),
    ],
)
def test_a_store_in_an_archive_or_an_archive_in_a_store_is_refused(tmp_path, store, archive, words):
    (tmp_path / "disk" / "DATA").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "DATA")
    archives = (
        ArchiveConfig(name="b", path=Path("elsewhere")),
        ArchiveConfig(name="a", path=Path(archive)),
    )
    with pytest.raises(ConfigurationError, match=words) as caught:
        resolve_paths(Config(store=Path(store), archives=archives), tmp_path)
    assert "a folder of its own" in caught.value.remedy


def test_a_store_beside_an_archive_is_not_in_it(tmp_path):
    beside = Config(
        store=Path("DATA-store"), archives=(ArchiveConfig(name="a", path=Path("DATA")),)
    )
    assert resolve_paths(beside, tmp_path).store == tmp_path / "DATA-store"


@pytest.mark.parametrize("name", ["imagenet", "anabatch-vgg16-quarter", "cyto3", "nuclei"])
def test_names_stay_names_whatever_lies_beside_the_file(tmp_path, name):
    (tmp_path / name).touch()
    featurize, segment = FeaturizeConfig(weights=name), SegmentConfig(cell_model=name)
    config = Config(store=Path("s"), featurize=featurize, segment=segment)
    resolved = resolve_paths(config, tmp_path)
    assert resolved.featurize.weights == resolved.segment.cell_model == name


def test_the_defaults_are_the_recipe_of_the_study():
    config = SegmentConfig()
    assert (config.recipe, config.nucleus_diameter, config.cell_diameter) == ("two-pass", 60, 145)
    assert (config.reference_nucleus_diameter, config.one_pass_diameter) == (90, 75)
    assert (config.clahe_clip, config.clahe_grid) == (10, 8)
    assert CellsConfig().crop == 96


def test_a_configuration_survives_its_own_json():
    config = Config(
        store=Path("/s"),
        archives=(ArchiveConfig(name="a", path=Path("/a"), pixels_per_reference_pixel={"2x1": 2}),),
    )
    assert parse_config(config.model_dump(mode="json"), "json") == config


@given(st.text(max_size=20))
def test_archive_names_are_safe_names_of_folders(name):
    try:
        ArchiveConfig(name=name, path=Path("x"))
    except ValidationError:
        return
    assert Path("parts", name).parent == Path("parts")
    assert name.isascii()
    assert not name.startswith(".")


def test_a_gpu_is_given_more_tiles_at_once_unless_something_is_said():
    assert SegmentConfig().tiles_at_once == 1
    assert SegmentConfig(device="cuda").tiles_at_once == 8
    assert SegmentConfig(device="cuda", tiles_per_batch=3).tiles_at_once == 3
    assert SegmentConfig(tiles_per_batch=3).tiles_at_once == 3
