"""The command: a store's fields, or folders of images."""

import io
import json

import pytest
from anabatch.jobs import cli, scan, segment
from anabatch.jobs.contact_sheet import Output, of_folders, of_store
from anabatch.jobs.reporter import Reporter
from cheap import TINY, cheap_networks, draw_tiny
from running import make_config, run_jobs
from typer.testing import CliRunner

from anabatch.errors import ConfigurationError
from anabatch.report.contact_store import Wanted


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """An archive of two dates, segmented; only to be read."""
    root = tmp_path_factory.mktemp("night")
    for number, day in enumerate(("20240102", "20240103", "20240103")):
        name = f"00{number}_plate_1_20240000{number}_1_1_0{number}.jpg"
        draw_tiny(root / "DATA" / day / "001_SN09001" / name, number)
    config = make_config(root / "DATA", root / "store")
    with cheap_networks():
        run_jobs(config, scan)
        run_jobs(config, segment)
    return config


def told(make, *arguments):
    stream = io.StringIO()
    path = make(*arguments, Reporter("json", stream))
    events = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    return path.read_text(encoding="utf-8"), events


def command(*arguments):
    return CliRunner().invoke(cli.app, ["contact-sheet", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _in_process(monkeypatch):
    monkeypatch.setattr("anabatch.jobs.commands_look.limit_threads_of_this_process", lambda _: None)


def test_a_store_s_fields_are_shown_with_their_outlines(night, tmp_path):
    html, events = told(of_store, night, Wanted(), Output(tmp_path / "sheet.html", 2))
    assert html.count("<figure") == html.count("data:image/jpeg") == 3
    assert len(list((tmp_path / "sheet-pages").iterdir())) == 2
    assert any("contact sheet of 3 fields" in event for event in events)


def test_what_is_left_out_is_said_on_the_sheet_and_on_the_screen(night, tmp_path):
    html, events = told(of_store, night, Wanted(limit=1), Output(tmp_path / "sheet.html"))
    assert html.count("<figure") == 1
    assert "2 images left out: the newest are shown" in html
    assert any("2 images left out" in event for event in events)


def test_nothing_to_show_is_an_error_and_leaves_no_file(night, tmp_path):
    output = Output(tmp_path / "sheet.html")
    with pytest.raises(ConfigurationError, match="no segmented image of elsewhere is in the store"):
        of_store(night, Wanted(archive="elsewhere"), output, Reporter("json", io.StringIO()))
    bare = night.model_copy(update={"archives": ()})
    with pytest.raises(ConfigurationError, match="does not hold the images of sim themselves"):
        of_store(bare, Wanted(), output, Reporter("json", io.StringIO()))
    assert not list(tmp_path.iterdir())


def test_no_sheet_is_written_into_an_archive(night):
    inside = Output(night.archives[0].path / "20240102" / "sheet.html")
    with pytest.raises(ConfigurationError, match="which is only read"):
        of_store(night, Wanted(), inside, Reporter("json", io.StringIO()))
    folder = night.archives[0].path / "20240102"
    with pytest.raises(ConfigurationError, match="which is only read"):
        of_folders(None, [folder], Wanted(), inside, Reporter("json", io.StringIO()))


def test_folders_are_segmented_and_keep_nothing(night, tmp_path):
    folder = night.archives[0].path
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "broken.png").write_bytes(b"no image")
    before = sorted(path for path in folder.rglob("*"))
    arguments = [folder, tmp_path / "more"], Wanted(), Output(tmp_path / "out" / "sheet.html")
    with cheap_networks():
        html, _ = told(of_folders, None, *arguments)
    assert html.count("<figure") == 4
    assert html.count("data:image/jpeg") == 3
    assert "broken.png" in html
    assert "scale not known" in html
    assert sorted(path for path in folder.rglob("*")) == before


def test_the_archives_tables_tell_the_scale_of_folders_below_them(night, tmp_path):
    (archive,) = night.archives
    size = f"{TINY[0]}x{TINY[1]}"
    known = archive.model_copy(update={"pixels_per_reference_pixel": {size: 2.0}})
    config = night.model_copy(update={"archives": (known,)})
    folders, output = [archive.path / "20240103"], Output(tmp_path / "sheet.html")
    with cheap_networks():
        html, _ = told(of_folders, config, folders, Wanted(), output)
    assert html.count("<figure") == 2
    assert "scale not known" not in html


def test_the_files_that_changed_last_are_kept_and_a_sample_is_fixed(night, tmp_path):
    folders = [night.archives[0].path]
    with cheap_networks():
        first, _ = told(of_folders, None, folders, Wanted(limit=2), Output(tmp_path / "a.html"))
        sampled = [
            told(of_folders, None, folders, Wanted(limit=2, sample=True), Output(tmp_path / name))[
                0
            ]
            for name in ("b.html", "c.html")
        ]
    assert "1 image left out: the files that changed last are shown" in first
    assert "1 image left out: a fixed sample is shown" in sampled[0]
    assert sampled[0] == sampled[1]


def test_folders_without_images_are_an_error(tmp_path):
    (tmp_path / "images").mkdir()
    output = Output(tmp_path / "sheet.html")
    with pytest.raises(ConfigurationError, match="no images in"):
        of_folders(None, [tmp_path / "images"], Wanted(), output, _quiet())
    with pytest.raises(ConfigurationError, match="no folder"):
        of_folders(None, [tmp_path / "no"], Wanted(), output, _quiet())


def _quiet():
    return Reporter("json", io.StringIO())


def test_the_command_takes_an_archive_by_its_folder_and_a_date(night, tmp_path):
    out = tmp_path / "sheet.html"
    arguments = ("--store", night.store, "--archive", night.archives[0].path, "--name", "sim")
    done = command(*arguments, "--date", "2024-01-03", "--out", out)
    assert done.exit_code == 0, done.output
    html = out.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg") == 2
    assert "20240102" not in html


def test_the_command_takes_an_archive_by_its_name(night, tmp_path):
    file = tmp_path / "anabatch.toml"
    folder = night.archives[0].path
    file.write_text(
        f'store = "{night.store}"\n[[archives]]\nname = "sim"\npath = "{folder}"\nlayout = "dated"\n'
    )
    out = tmp_path / "sheet.html"
    done = command("-c", file, "--archive", "sim", "--out", out, "--pages", "--per-page", 1)
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "sheet-pages").iterdir())) == 3
    done = command("-c", file, "--archive", "nowhere", "--out", out)
    assert isinstance(done.exception, ConfigurationError)


def test_folders_need_no_configuration_and_take_none_unasked(night, tmp_path, monkeypatch):
    (tmp_path / "anabatch.toml").write_text("no TOML")
    monkeypatch.chdir(tmp_path)
    folder, taken = night.archives[0].path, []
    monkeypatch.setattr(
        "anabatch.jobs.contact_sheet.of_folders", lambda settings, *_: taken.append(settings)
    )
    assert command(folder).exit_code == 0
    assert taken == [None]
    assert isinstance(command(folder, "-c", "anabatch.toml").exception, ConfigurationError)


def test_options_of_a_store_do_not_go_with_folders(night):
    done = command(night.archives[0].path, "--date", "2024-01-03")
    assert done.exit_code == 2
    assert "--date" in done.output
