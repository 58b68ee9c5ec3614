import pytest

from anabatch.errors import PartCorruptError
from anabatch.store.actions import Action
from anabatch.store.ledger import Ledger
from anabatch.store.ledger_log import file_sets


@pytest.fixture
def ledger(tmp_path):
    made = Ledger.create(tmp_path / "ledger")
    for unit in "ab":
        made.commit([Action("scan", unit, "k")], [], run="r")
    made.fold(run="r")
    made.commit([], [Action("scan", "a", "k")], run="r")
    made.restore(1, run="r")
    return made.fold(run="r")


def test_the_files_of_every_version_are_those_that_delta_reads(ledger):
    found = dict(file_sets(ledger.folder, ledger.version))
    assert len(found) == 7
    for version, files in found.items():
        assert files == set(Ledger(ledger.folder, version).files())
    assert list(file_sets(ledger.folder, 2)) == [(v, found[v]) for v in range(3)]
    assert list(file_sets(ledger.folder, -1)) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"add": 3}', '{"remove": {}}', None])
def test_a_commit_that_cannot_be_read_is_an_error(ledger, text):
    commit = ledger.folder / "_delta_log" / f"{1:020d}.json"
    if text is None:
        commit.unlink()
    else:
        commit.write_text(text)
    with pytest.raises(PartCorruptError, match="00001"):
        list(file_sets(ledger.folder, 2))


def test_a_commit_that_says_something_else_is_an_error(ledger):
    ledger._delta.create_checkpoint()
    (ledger.folder / "_delta_log" / f"{6:020d}.json").write_text("{}")
    with pytest.raises(PartCorruptError, match="version 6"):
        list(file_sets(ledger.folder, 6))
