import inspect
import pickle
import re

import pytest

from anabatch import errors

CLASSES = [
    item
    for _, item in inspect.getmembers(errors, inspect.isclass)
    if issubclass(item, errors.AnabatchError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_pickling_with_its_notes(kind):
    error = kind("x.jpg is cut short", "Copy it again.")
    error.add_note("while reading batch 7")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    assert type(again) is kind
    assert again.args == ("x.jpg is cut short", "Copy it again.")
    assert (again.what, again.remedy) == again.args
    assert again.__notes__ == ["while reading batch 7"]
    assert str(again) == str(error) == "x.jpg is cut short. Copy it again."


@pytest.mark.parametrize("kind", CLASSES)
def test_without_a_remedy_the_sentence_is_what_is_wrong(kind):
    assert str(kind("no such thing")) == "no such thing"
    assert str(pickle.loads(pickle.dumps(kind("no such thing")))) == "no such thing"  # noqa: S301


@pytest.mark.parametrize("kind", CLASSES)
def test_keyword_arguments_survive_too(kind):
    assert kind(what="a", remedy="b").args == ("a", "b")


def _drawn():
    """Yield name, parent and builtin bases of every line of the tree in the module's docstring."""
    stack: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^    ([│├└─ ]*)(\w+Error)\b(?: \((\w+)\))?", line)
        if match:
            depth = len(match[1]) // 4
            stack[depth:] = [match[2]]
            yield match[2], stack[depth - 1] if depth else None, match[3]


def test_the_tree_that_is_drawn_is_the_tree():
    drawn = {name: (parent, builtin) for name, parent, builtin in _drawn()}
    assert set(drawn) == {kind.__name__ for kind in CLASSES}
    for name, (parent, builtin) in drawn.items():
        bases = [base.__name__ for base in getattr(errors, name).__bases__]
        assert bases == [item for item in (parent or "Exception", builtin) if item]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_says_when_it_is_raised(kind):
    assert kind.__doc__
    assert kind.__doc__ != errors.AnabatchError.__doc__ or kind is errors.AnabatchError
