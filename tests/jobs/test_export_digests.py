"""Which exports are read to know what they hold."""

import hashlib
import os
from types import SimpleNamespace

import pytest
from anabatch.jobs import export_digests
from anabatch.jobs.export_digests import ExportDigests
from edited import EditedArchive

from anabatch.archive.layout import load_layout
from anabatch.archive.listing import list_archive
from anabatch.config import ScanConfig
from anabatch.stages.exports import PlannedExport
from anabatch.store.actions import DEFERRED, OK

LONG_AGO = 1_500_000_000_000_000_000


@pytest.fixture
def archive(tmp_path):
    made = EditedArchive(tmp_path / "DATA")
    for hour in (10, 11, 12):
        made.put_export("20211213", hour, "SCREEN", [(hour, "[15] Mouchete")])
        made.touch(made.exports()[-1])
    return made


@pytest.fixture
def look(archive, tmp_path, monkeypatch):
    """Return the digests by path and the paths that were read for them, as one run does."""

    def run(**settings):
        read = []
        whole = export_digests.look_at

        def noted(root, file):
            read.append(file.name)
            return whole(root, file)

        listing = list_archive(archive.root, load_layout("dated"))
        scan = ScanConfig(**({"rehash_share": 0.0, "ignore_ctime": True} | settings))
        context = SimpleNamespace(
            config=SimpleNamespace(scan=scan),
            store=SimpleNamespace(root=tmp_path),
            listing=lambda _: listing,
        )
        digests = ExportDigests(context, SimpleNamespace(name="sim", path=archive.root))
        paths = [file.relative_path for file in listing.exports]
        with monkeypatch.context() as patched:
            patched.setattr(export_digests, "look_at", noted)
            found = {path: digests.of(path).digest for path in paths}
        digests.save()
        return found, read

    return run


def test_what_has_not_changed_is_read_once(archive, look):
    found, read = look()
    assert len(read) == 3
    assert list(found.values()) == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in archive.exports()
    ]
    assert look() == (found, [])


def test_what_has_changed_is_read_again_and_no_other(archive, look):
    before, _ = look()
    first, *_ = archive.exports()
    first.write_bytes(first.read_bytes() + b"14;1;1:80;D:\\x.jpg;\r\n")
    os.utime(first, ns=(LONG_AGO + 5, LONG_AGO + 5))
    found, read = look()
    assert read == [first.name]
    assert len(set(before.items()) - set(found.items())) == 1


def test_a_time_set_back_hides_nothing(archive, look):
    before, _ = look(ignore_ctime=False)
    first, *_ = archive.exports()
    archive.put_secretly(first, first.read_bytes().replace(b"Mouchete", b"Nucleole"))
    assert look(ignore_ctime=False)[0] != before


def test_what_was_written_just_now_is_read_again(archive, look):
    first, *_ = archive.exports()
    first.touch()
    look()
    assert look()[1] == [first.name]


def test_a_share_is_read_again_whatever_its_times_say(look):
    look()
    turns = [look(rehash_share=0.3)[1] for _ in range(3)]
    assert sorted(name for turn in turns for name in turn) == sorted(look(rehash_share=1.0)[1])


def listed(archive, tmp_path, awaited=(), **settings):
    listing = list_archive(archive.root, load_layout("dated"))
    context = SimpleNamespace(
        config=SimpleNamespace(scan=ScanConfig(**settings)),
        store=SimpleNamespace(root=tmp_path),
        listing=lambda _: listing,
    )
    digests = ExportDigests(context, SimpleNamespace(name="sim", path=archive.root), awaited)
    return digests, [file.relative_path for file in listing.exports]


def test_an_export_that_vanished_or_changed_since_it_was_listed_is_deferred(archive, tmp_path):
    digests, (first, second, third) = listed(archive, tmp_path)
    archive.exports()[0].unlink()
    archive.exports()[0].write_bytes(b"other")
    assert [digests.of(path).outcome for path in (first, second, third)] == [DEFERRED, DEFERRED, OK]
    assert "went away" in digests.of(first).why_not
    assert "changed while it was read" in digests.of(second).why_not
    assert digests.of(second).sha256 == ""


def test_an_export_that_has_not_settled_is_deferred_unless_it_was_seen_before(archive, tmp_path):
    first, *_ = archive.exports()
    settings = {"settle_seconds": 600.0, "ignore_ctime": True}
    first.touch()
    digests, (path, other, _) = listed(archive, tmp_path, **settings)
    assert digests.of(path).outcome == DEFERRED
    assert "less than 600 s" in digests.of(path).why_not
    assert digests.of(other).outcome == OK


def test_an_export_that_is_too_large_is_known_to_be_none_and_not_read(
    archive, tmp_path, monkeypatch
):
    monkeypatch.setattr("anabatch.archive.exports.MAX_BYTES", 10)
    digests, (path, *_) = listed(archive, tmp_path)
    monkeypatch.setattr("anabatch.stages.exports.read_file", lambda *_, **__: pytest.fail("read"))
    assert digests.of(path).outcome == OK
    assert "is larger than" in digests.of(path).why_not


def test_what_is_awaited_is_read_whatever_its_times_say(archive, look, tmp_path, monkeypatch):
    look()
    read = []

    def noted(_, file):
        read.append(file)
        return b"", PlannedExport(file)

    monkeypatch.setattr(export_digests, "look_at", noted)
    digests, paths = listed(
        archive, tmp_path, archive_paths(archive)[:1], rehash_share=0.0, ignore_ctime=True
    )
    for path in paths:
        digests.of(path)
    assert [file.relative_path for file in read] == paths[:1]


def archive_paths(archive):
    return [path.relative_to(archive.root).as_posix() for path in archive.exports()]
