"""Which exports are read to know what they hold."""

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from anabatch.jobs.export_digests import ExportDigests
from edited import EditedArchive

from anabatch.archive.layout import load_layout
from anabatch.archive.listing import list_archive
from anabatch.config import ScanConfig

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
        whole = Path.read_bytes

        def noted(path):
            if path.suffix == ".csv":
                read.append(path.name)
            return whole(path)

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
            patched.setattr(Path, "read_bytes", noted)
            found = {path: digests.of(path) for path in paths}
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


def test_the_digest_of_a_vanished_export_says_why(archive, tmp_path):
    listing = list_archive(archive.root, load_layout("dated"))
    context = SimpleNamespace(
        config=SimpleNamespace(scan=ScanConfig()),
        store=SimpleNamespace(root=tmp_path),
        listing=lambda _: listing,
    )
    digests = ExportDigests(context, SimpleNamespace(name="sim", path=archive.root))
    archive.exports()[0].unlink()
    assert digests.of(listing.exports[0].relative_path) == "unreadable: No such file or directory"
