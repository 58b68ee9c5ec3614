import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anabatch.errors import PartCorruptError, StoreError, StoreNotFoundError
from anabatch.store import inspection
from anabatch.store.damage import DAMAGE, note_damage, read_damage
from anabatch.store.inspection import Fault
from anabatch.store.keys import file_digest
from anabatch.store.leases import raise_horizon
from anabatch.store.live import CELLS
from anabatch.store.parts import MANIFEST
from anabatch.store.root import create_store, open_store
from anabatch.store.verification import draw_files, verify


def stored(store, image):
    """Return the action of an image's cells, which is there."""
    action = store.state.get(CELLS, image)
    assert action is not None
    return action


def full(root, **options):
    return verify(root, share=1, **options)


def problems(found):
    return {(item.part, item.file, item.fault) for item in found.problems}


def files_of(root):
    """All files that a version names, as (part, file)."""
    named = {action.part for action in open_store(root).state.actions() if action.part}
    return [
        (part, path.relative_to(root / part).as_posix())
        for part in sorted(named)
        for path in sorted((root / part).rglob("*"))
        if path.is_file()
    ]


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_a_store_that_nobody_touched_is_whole(filled):
    found = full(filled.root)
    assert found.problems == []
    assert found.leftovers == []
    assert found.damaged == {}
    assert found.version == 1
    assert found.parts == len({part for part, _ in files_of(filled.root)}) == 10
    # every byte of the parts was read, with the manifests and the ledger's files
    size = sum((filled.root / part / name).stat().st_size for part, name in files_of(filled.root))
    assert found.read == found.size > size


def test_without_a_share_no_file_of_a_part_is_read(filled, monkeypatch):
    monkeypatch.setattr(inspection, "file_digest", None)
    found = verify(filled.root, share=0)
    assert found.problems == []
    assert found.sized == {part for part, _ in files_of(filled.root)}
    assert found.whole == set()


@pytest.fixture(scope="module")
def original(_original):
    return _original, files_of(_original)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_flipped_bit_is_found(original, data):
    root, files = original
    part, name = data.draw(st.sampled_from(files))
    path = root / part / name
    whole = path.read_bytes()
    flip(path, data.draw(st.integers(0, 8 * len(whole) - 1)))
    try:
        fault = Fault.MANIFEST if name == MANIFEST else Fault.CHANGED
        found = full(root)
        assert problems(found) == {(part, name, fault)}
        assert found.damaged == {part: "CORRUPT"}
    finally:
        path.write_bytes(whole)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_file_that_is_cut_lengthened_or_gone_is_found_by_its_size(original, data):
    root, files = original
    part, name = data.draw(st.sampled_from(files))
    path = root / part / name
    whole = path.read_bytes()
    harm = data.draw(st.sampled_from([Fault.MISSING, Fault.TRUNCATED, Fault.LONGER]))
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        if harm is Fault.MISSING:
            path.unlink()
        else:
            path.write_bytes(whole[:cut] if harm is Fault.TRUNCATED else whole + b"\0")
        expected = Fault.MANIFEST if name == MANIFEST and harm is not Fault.MISSING else harm
        found = verify(root, share=0)
        assert problems(found) == {(part, name, expected)}
        assert found.damaged == {part: "MISSING" if harm is Fault.MISSING else "CORRUPT"}
    finally:
        path.write_bytes(whole)


def test_a_part_that_is_gone_is_missing(filled):
    part = files_of(filled.root)[0][0]
    shutil.rmtree(filled.root / part)
    found = verify(filled.root, share=0)
    assert problems(found) == {(part, MANIFEST, Fault.MISSING)}
    assert found.damaged == {part: "MISSING"}


def test_extra_files_are_found_and_keep_nothing_from_being_read(filled):
    part = files_of(filled.root)[0][0]
    (filled.root / part / "Thumbs.db").write_text("x")
    (filled.root / part / "deep" / "er").mkdir(parents=True)
    (filled.root / part / "deep" / "er" / "x").write_text("x")
    (filled.root / part / "deep" / "link").symlink_to(filled.root)
    found = full(filled.root)
    assert problems(found) == {
        (part, name, Fault.EXTRA) for name in ("Thumbs.db", "deep/er/x", "deep/link")
    }
    assert found.damaged == {}
    assert all("delete it" in item.remedy for item in found.problems)


def test_a_link_in_the_place_of_a_file_is_no_file(filled, tmp_path):
    part, name = next(item for item in files_of(filled.root) if item[1].endswith(".parquet"))
    shutil.move(filled.root / part / name, tmp_path / "elsewhere")
    (filled.root / part / name).symlink_to(tmp_path / "elsewhere")
    assert problems(full(filled.root)) == {(part, name, Fault.MISSING)}


def test_a_part_in_the_place_of_another_is_found(filled):
    parts = sorted({part for part, _ in files_of(filled.root) if part.startswith("parts/cells")})
    shutil.rmtree(filled.root / parts[0])
    shutil.copytree(filled.root / parts[1], filled.root / parts[0])
    found = full(filled.root)
    assert problems(found) == {(parts[0], MANIFEST, Fault.MANIFEST)}


def test_a_problem_says_what_hangs_on_it_and_what_to_do(filled):
    live = stored(open_store(filled.root), "image0")
    (filled.root / live.part / "cells.parquet").unlink()
    (problem,) = full(filled.root).problems
    assert problem.depends == "cells of 2 images (2021-12-13), and all that is made of it"
    assert "anabatch run" in problem.remedy


def test_an_attempt_that_no_version_names_is_no_damage(filled):
    with filled.part("cells") as part:
        part.text("half.txt", "x")
    with filled.part("features") as finished:
        finished.text("whole.txt", "x")
        finished.finish([])
    found = full(filled.root)
    assert found.problems == []
    assert found.leftovers == sorted([part.path, finished.path])


def test_parts_of_older_versions_are_verified_when_asked_for(filled):
    store = create_store(filled.root)
    gone = stored(store, "image3")
    store.state.delete([gone])
    store.commit("r")
    (filled.root / gone.part / "cells.parquet").unlink()
    assert full(filled.root).problems == []
    found = full(filled.root, all_versions=True)
    assert problems(found) == {(gone.part, "cells.parquet", Fault.MISSING)}
    assert found.problems[0].depends == "older versions alone"
    raise_horizon(filled.root, 2)
    found = full(filled.root, all_versions=True)
    assert found.problems == []
    assert found.leftovers == [gone.part]


def test_what_is_taken_away_during_the_verification_is_no_damage(filled):
    store = create_store(filled.root)
    gone = stored(store, "image3")
    store.state.delete([gone])
    store.commit("r")
    calls: list[int] = []

    def collect(_):
        if not calls:
            raise_horizon(filled.root, 2)
        calls.append(_)

    (filled.root / gone.part / "cells.parquet").unlink()
    found = full(filled.root, all_versions=True, advance=collect)
    assert len(calls) == calls[0] == found.parts
    assert found.problems == []
    assert found.damaged == {}


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_of_the_bytes_is_drawn_by_the_seed(filled, monkeypatch, share):
    read = []
    digest = file_digest

    def remember(path):
        read.append(path)
        return digest(path)

    monkeypatch.setattr(inspection, "file_digest", remember)
    sizes = {path: path.stat().st_size for path in (filled.root / "parts").rglob("*")}
    total = sum(size for path, size in sizes.items() if path.is_file() and path.name != MANIFEST)
    subsets = []
    for seed in (0, 0, 1):
        found = verify(filled.root, share=share, seed=seed)
        assert found.problems == []
        assert found.whole == set()
        size = sum(sizes[path] for path in read)
        assert share * total <= size <= share * total + max(sizes[path] for path in read)
        subsets.append(sorted(read))
        read.clear()
    assert subsets[0] == subsets[1] != subsets[2]


def test_damage_in_a_file_that_was_drawn_is_found(filled):
    part, name = next(item for item in files_of(filled.root) if item[1].startswith("masks/c"))
    flip(filled.root / part / name, 100)
    seeds = [seed for seed in range(20) if verify(filled.root, share=0.2, seed=seed).problems]
    assert 0 < len(seeds) < 20
    assert problems(verify(filled.root, share=0.2, seed=seeds[0])) == {(part, name, Fault.CHANGED)}


@given(
    st.dictionaries(st.tuples(st.text(max_size=3), st.text(max_size=3)), st.integers(0, 1000)),
    st.floats(0, 1),
    st.integers(),
)
def test_drawn_files_make_up_the_share_and_no_file_too_many(sizes, share, seed):
    drawn = [sizes[file] for file in draw_files(sizes, share, seed)]
    due = share * sum(sizes.values())
    assert sum(drawn) >= due * (1 - 1e-9)
    assert sum(drawn) - max(drawn, default=0) <= due


def test_over_many_seeds_every_file_is_drawn():
    sizes = {("p", str(number)): 1 + number % 7 for number in range(50)}
    drawn = set().union(*(draw_files(sizes, 0.1, seed) for seed in range(100)))
    assert drawn == sizes.keys()


def test_threads_find_the_same(filled):
    for part, name in files_of(filled.root)[::7]:
        (filled.root / part / name).unlink()
    assert full(filled.root, workers=4).problems == full(filled.root).problems


def test_a_disk_that_fails_is_damage_and_a_missing_permission_is_none(filled, monkeypatch):
    bad = next(item for item in files_of(filled.root) if item[1].startswith("crops/c"))
    digest = file_digest

    def failing(number):
        def read(path):
            if path == filled.root / bad[0] / bad[1]:
                raise OSError(number, os.strerror(number), str(path))
            return digest(path)

        return read

    monkeypatch.setattr(inspection, "file_digest", failing(errno.EIO))
    assert problems(full(filled.root)) == {(*bad, Fault.UNREADABLE)}
    monkeypatch.setattr(inspection, "file_digest", failing(errno.EACCES))
    with pytest.raises(StoreError, match="may not be read"):
        full(filled.root)


def newest_commit(root):
    return max((root / "ledger" / "_delta_log").glob("*.json"))


def test_a_ledger_that_cannot_be_read_is_a_problem_with_a_remedy(filled):
    commit = newest_commit(filled.root)
    commit.write_text("{")
    found = full(filled.root)
    assert found.version is None
    assert ("ledger", f"_delta_log/{commit.name}", Fault.TRUNCATED) in problems(found)
    assert all("backup" in item.remedy for item in found.problems)
    assert found.damaged == {}


def test_flipped_bits_of_the_ledger_are_found_whether_it_can_be_read_or_not(filled):
    commit = newest_commit(filled.root)
    (data,) = (filled.root / "ledger").glob("*.parquet")
    for path, text in ((commit, b"run-1"), (data, b"parquet-cpp")):
        whole = path.read_bytes()
        flip(path, 8 * whole.index(text))
        found = full(filled.root)
        assert ("ledger", path.relative_to(filled.root / "ledger").as_posix(), Fault.CHANGED) in (
            problems(found)
        )
        path.write_bytes(whole)


def test_no_store_is_an_error(tmp_path):
    with pytest.raises(StoreNotFoundError):
        full(tmp_path)


def test_damage_is_noted_until_it_is_healed(filled):
    root = filled.root
    part = files_of(root)[0][0]
    other = files_of(root)[-1][0]
    name = next(name for where, name in files_of(root) if where == part and name != MANIFEST)
    shutil.copytree(root, root.with_name("backup"))
    flip(root / part / name, 5)
    shutil.rmtree(root / other)

    def note(share):
        found = verify(root, share=share)
        note_damage(root, found.damaged, found.whole, found.sized)
        return read_damage(root)

    assert note(0) == {other: "MISSING"}
    assert note(1) == {other: "MISSING", part: "CORRUPT"}
    assert note(0) == {other: "MISSING", part: "CORRUPT"}  # it looked at sizes alone
    shutil.copytree(root.with_name("backup") / other, root / other)
    assert note(0) == {part: "CORRUPT"}
    shutil.copy(root.with_name("backup") / part / name, root / part / name)
    assert note(0.5) == {part: "CORRUPT"}
    assert note(1) == {}
    assert not (root / DAMAGE).exists()


def test_damage_of_a_part_that_nothing_names_is_known_while_it_is_there(filled):
    root = filled.root
    with filled.part("cells") as part:
        part.text("a.txt", "x")
        part.finish([])
    note_damage(root, {part.path: "CORRUPT"}, set(), set())
    found = verify(root, share=0)
    note_damage(root, found.damaged, found.whole, found.sized)
    assert read_damage(root) == {part.path: "CORRUPT"}
    (root / part.path / "a.txt").write_text("y")
    found = full(root)
    note_damage(root, found.damaged, found.whole, found.sized)
    assert found.problems == []
    assert read_damage(root) == {part.path: "CORRUPT"}
    shutil.rmtree(root / part.path)
    note_damage(root, {}, set(), set())
    assert read_damage(root) == {}


def test_a_list_of_damage_that_cannot_be_read_is_an_error(filled):
    for text in ("{", "[]", json.dumps({"parts": {"p": "ODD"}})):
        Path(filled.root, DAMAGE).write_text(text)
        with pytest.raises(PartCorruptError, match="verify --full"):
            full(filled.root)
