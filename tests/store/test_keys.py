import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.store.keys import action_key, batch_name, bytes_digest, canonical_json, file_digest

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3
        )
    ),
    max_leaves=6,
)
components = st.dictionaries(st.sampled_from("abcdef"), json_values, max_size=5)


@given(components)
def test_a_key_does_not_depend_on_order(values):
    backwards = dict(reversed(values.items()))
    assert action_key(**values) == action_key(**backwards)
    assert canonical_json(values) == canonical_json(backwards)


@given(components, components)
def test_keys_are_equal_only_for_equal_text(one, other):
    assert (action_key(**one) == action_key(**other)) == (
        canonical_json(one) == canonical_json(other)
    )


def test_a_key_changes_with_name_and_value():
    keys = {action_key(), action_key(a=1), action_key(b=1), action_key(a=2), action_key(a="1")}
    assert len(keys) == 5
    assert all(len(key) == 32 for key in keys)


def test_keys_are_the_same_tomorrow():
    """The keys of ten years of results: they may only change with a new version of the store."""
    assert action_key(stage="scan", version=1, size=0.5) == "93da824806a5575652b5516479cca5fc"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_json_has_no_text_for_is_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        action_key(value=value)


def test_a_batch_is_named_by_its_keys_in_any_order():
    assert batch_name(["b", "a", "c"]) == batch_name(["c", "b", "a"])
    assert batch_name(["ab", "c"]) != batch_name(["a", "bc"])
    assert len(batch_name([])) == 12


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_file_has_the_digest_of_its_bytes(tmp_path, size):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "x").write_bytes(data)
    assert file_digest(tmp_path / "x") == bytes_digest(data)
