"""The pending changes of a store against a plain dictionary, under any sequence of steps."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from anabatch.store.actions import Action
from anabatch.store.state import Changes, State

stages = st.sampled_from(["scan", "cells"])
units = st.sampled_from("abcd")
archives = st.sampled_from(["x", "y"])


class StateMachine(RuleBasedStateMachine):
    """`ledger` is what is committed, `live` what a reader of the state sees."""

    def __init__(self):
        super().__init__()
        self.state = State()
        self.ledger: dict[tuple[str, str], Action] = {}
        self.live: dict[tuple[str, str], Action] = {}
        self.highest = 0
        self.commit: Changes | None = None
        self.count = 0

    @rule(stage=stages, unit=units, archive=archives, sequence=st.integers(0, 20))
    def put(self, stage, unit, archive, sequence):
        self.count += 1
        action = Action(stage, unit, str(self.count), archive=archive, sequence=sequence)
        self.state.put([action])
        self.live[action.identity] = action
        self.highest = max(self.highest, sequence)

    @rule(stage=stages, unit=units)
    def delete(self, stage, unit):
        standing = self.state.get(stage, unit) or Action(stage, unit, "never there")
        self.state.delete([standing])
        self.live.pop((stage, unit), None)

    @precondition(lambda self: self.commit is None)
    @rule(archive=st.sampled_from(["x", "y", None]))
    def begin_commit(self, archive):
        self.commit = self.state.pending(lambda a: archive is None or a.archive == archive)

    @precondition(lambda self: self.commit is not None)
    @rule()
    def end_commit(self):
        assert self.commit is not None
        touched = [action.identity for action in (*self.commit.put, *self.commit.delete)]
        assert len(touched) == len(set(touched))
        self.ledger |= {action.identity: action for action in self.commit.put}
        for action in self.commit.delete:
            del self.ledger[action.identity]
        self.state.settle(self.commit)
        self.commit = None

    @precondition(lambda self: self.commit is None)
    @rule()
    def open_again(self):
        self.state = State(self.ledger.values())
        self.live = dict(self.ledger)
        self.highest = max((a.sequence for a in self.ledger.values()), default=0)

    @invariant()
    def the_state_is_what_the_steps_made_it(self):
        assert {action.identity: action for action in self.state.actions()} == self.live
        assert self.state.next_sequence() == self.highest + 1
        for stage in ("scan", "cells"):
            found = self.state.stage(stage)
            places = [(action.sequence, action.first_row, action.unit) for action in found]
            assert places == sorted(places)
            assert {a.identity for a in found} == {i for i in self.live if i[0] == stage}

    @invariant()
    def ledger_and_pending_changes_make_the_state(self):
        if self.commit is not None:
            return
        changes = self.state.pending()
        after = dict(self.ledger) | {action.identity: action for action in changes.put}
        for action in changes.delete:
            del after[action.identity]
        assert after == self.live


StateMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestState = StateMachine.TestCase
