from hypothesis import given
from hypothesis import strategies as st

from anabatch.store.actions import FAILED, Action
from anabatch.store.state import Changes, State


def action(unit, stage="scan", **values):
    return Action(stage, unit, "k", **values)


def test_nothing_is_pending_after_loading():
    state = State([action("a"), action("b")])
    assert not state.pending()
    assert [item.unit for item in state.actions()] == ["a", "b"]


def test_a_stage_is_ordered_by_part_and_row():
    units = [("d", 2, 0), ("a", 1, 5), ("c", 1, 0), ("b", 1, 0)]
    state = State(action(u, sequence=s, first_row=f) for u, s, f in units)
    assert [item.unit for item in state.stage("scan")] == ["b", "c", "a", "d"]
    assert state.stage("cells") == []


def test_failures_are_what_failed():
    bad = action("b", outcome=FAILED, reason="cut short")
    assert State([action("a"), bad]).failures() == [bad]


def test_sequences_are_never_given_twice():
    state = State([action("a", sequence=4)])
    assert state.next_sequence() == 5
    state.put([action("b", sequence=9)])
    assert state.next_sequence() == 10
    state.delete([action("b", sequence=9)])
    assert state.next_sequence() == 10


def test_a_first_sequence_is_one():
    assert State().next_sequence() == 1


def test_an_action_that_was_never_committed_leaves_no_trace():
    state = State()
    state.put([action("a")])
    state.delete([action("a")])
    assert state.get("scan", "a") is None
    assert not state.pending()


def test_a_deletion_that_is_taken_back_is_a_replacement():
    state = State([action("a")])
    state.delete([action("a")])
    newer = action("a", run="2")
    state.put([newer])
    assert state.pending() == Changes((newer,), ())


def test_the_revision_rises_with_every_change_and_with_nothing_else():
    state = State([action("a")])
    seen = [state.revision]
    state.put([action("b")])
    seen.append(state.revision)
    state.delete([action("a")])
    seen.append(state.revision)
    assert seen == sorted(set(seen))
    state.settle(state.pending())
    state.put([])
    state.delete([])
    assert state.revision == seen[-1]


def test_what_is_not_selected_stays_pending():
    state = State([action("old", archive="x")])
    state.put([action("a", archive="x"), action("b", archive="y")])
    state.delete([action("old", archive="x")])
    chosen = state.pending(lambda item: item.archive == "x")
    assert {item.unit for item in chosen.put} == {"a"}
    assert {item.unit for item in chosen.delete} == {"old"}
    state.settle(chosen)
    assert {item.unit for item in state.pending().put} == {"b"}
    assert not state.pending().delete


def test_what_changes_during_a_commit_stays_pending():
    state = State()
    state.put([action("a", run="1"), action("b", run="1")])
    during = state.pending()
    newer = action("a", run="2")
    state.put([newer])
    state.delete([action("b")])
    state.settle(during)
    assert state.pending().put == (newer,)
    assert [item.unit for item in state.pending().delete] == ["b"]


def test_what_a_commit_of_some_changes_leaves_is_told_before():
    a, b, c = (Action("scan", unit, "old", archive=unit) for unit in "abc")
    state = State([a, b, c])
    newer, other = (Action("scan", unit, "new", archive=unit) for unit in "ad")
    state.put([newer, other])
    state.delete([b, c])
    some = state.pending(lambda action: action.archive in "db")
    after = state.after(some)
    assert {action.unit: action.key for action in after.actions()} == {
        "a": "old",
        "c": "old",
        "d": "new",
    }
    state.settle(some)
    rest = state.after(state.pending())
    assert {action.unit: action.key for action in rest.actions()} == {"a": "new", "d": "new"}
    assert state.after(state.pending(lambda _: False)).actions() == after.actions()


commits = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=5),
        st.sets(st.sampled_from("abcd")),
    ),
    max_size=8,
)


@given(commits)
def test_what_is_told_before_a_commit_is_what_the_ledger_then_holds(commits):
    state = State()
    ledger: dict[str, Action] = {}
    for number, (steps, chosen) in enumerate(commits):
        for unit, gone in steps:
            action = Action("scan", unit, f"{number}", archive=unit)
            if gone:
                state.delete([state.get("scan", unit) or action])
            else:
                state.put([action])
        changes = state.pending(lambda action: action.archive in chosen)  # noqa: B023 (called at once)
        told = state.after(changes)
        ledger |= {action.unit: action for action in changes.put}
        ledger = {u: a for u, a in ledger.items() if u not in {d.unit for d in changes.delete}}
        assert {action.unit: action for action in told.actions()} == ledger
        state.settle(changes)
        gone = {action.unit for action in state.pending().delete}
        assert gone == ledger.keys() - {action.unit for action in state.actions()}
