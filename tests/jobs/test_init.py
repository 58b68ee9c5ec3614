"""The commented configuration."""

import tomllib

import pytest
from anabatch.jobs.init import template, write_template

from anabatch.config import Config, load_config
from anabatch.errors import ConfigurationError


def test_the_template_is_the_defaults(tmp_path):
    path = tmp_path / "anabatch.toml"
    write_template(path)
    found = load_config(path)
    defaults = Config.model_validate({"store": "store"})
    for name in set(Config.model_fields) - {"store", "archives"}:
        assert getattr(found, name) == getattr(defaults, name), name
    assert found.store == tmp_path / "store"
    assert [archive.path for archive in found.archives] == [tmp_path / "DATA"]


def test_the_template_has_one_section_a_stage():
    sections = set(tomllib.loads(template()))
    assert sections == set(Config.model_fields)


def test_a_file_that_is_there_is_not_overwritten(tmp_path):
    path = tmp_path / "anabatch.toml"
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match="already there"):
        write_template(path)
    assert path.read_text() == "mine"
