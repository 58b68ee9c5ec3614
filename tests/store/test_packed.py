import json
from collections import Counter
from sys import getsizeof
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.store.packed import digits_of, fact, number_of, pack, unpack

numbers = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False)
)
digits = st.text("0123456789abcdefA_ ", min_size=64, max_size=64)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
values = st.recursive(
    st.one_of(st.none(), numbers, st.text(max_size=8), digits, digests),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
facts = st.dictionaries(st.sampled_from(["size", "image_id", "a/b.jpg", "", "é"]), values)


def exact(value):
    """A text that tells 1, 1.0 and True apart, and the order of names."""
    return json.dumps(value)


@given(facts)
def test_what_is_kept_is_what_was_given(given_facts):
    kept = pack(given_facts)
    assert exact(unpack(kept)) == exact(given_facts)
    for name, value in given_facts.items():
        assert exact(fact(kept, name)) == exact(value)


@given(st.one_of(st.text(), digits, digests, digests.map(lambda digest: digest[:32])))
def test_digits_are_given_back_as_they_were(text):
    assert digits_of(number_of(text)) == text


@pytest.mark.parametrize("text", ["00ff", "0" * 64, "f" * 32])
def test_digits_are_kept_as_a_number(text):
    assert isinstance(number_of(text), int)
    assert digits_of(number_of(text)) == text


@pytest.mark.parametrize("text", ["00FF", "0_0", " 00", "0x0", "-1", "+1", "\u0661", "image"])
def test_what_is_not_quite_digits_stays_a_text(text):
    assert number_of(text) is text


def test_digests_are_kept_in_half_the_memory():
    digest = "".join(["ab"] * 32)
    (kept, _) = pack({"file_sha256": digest})
    assert getsizeof(kept) <= getsizeof(digest) / 1.8


def test_a_fact_that_is_not_there_is_the_default_or_an_error():
    kept = pack({"size": 3, "dropped": {}})
    assert fact(kept, "width", None) is None
    assert fact(kept, "size", None) == 3
    assert fact(kept, "dropped", None) == {}
    with pytest.raises(KeyError, match="width"):
        fact(kept, "width")


def test_what_is_given_back_is_the_callers_own():
    sizes = [1, 2]
    kept = pack({"sizes": sizes, "proposed": {"cells": 1}})
    sizes.append(3)
    found = unpack(kept)
    found["proposed"]["cells"] = 2
    found["size"] = 1
    fact(kept, "sizes").append(4)
    assert unpack(kept) == {"sizes": [1, 2], "proposed": {"cells": 1}}


def test_other_kinds_of_values_stay_what_they_are():
    own: dict[Any, Any] = {"dropped": Counter(small=2), "place": (1, [2, (3,)]), 4: "name"}
    found = unpack(pack(own))
    assert found == own
    assert type(found["dropped"]) is Counter
    assert type(found["place"][1][1]) is tuple


def test_equal_texts_can_be_one():
    known = "".join(["6f", "45"])
    texts = {known: known, "b": "b"}
    for found in (pack({"image_id": "6f" + "45"}, texts), pack({"a": ["6f" + "45"]}, texts)):
        value = fact(found, "image_id", None) or fact(found, "a")[0]
        assert value is known


def test_names_are_kept_once():
    one, other = (pack({"size": size, "proposed": {"cells": size}}) for size in (1000, 2000))
    assert one[-1] is other[-1]
    assert one[1][-1] is other[1][-1]
    assert getsizeof(one) < getsizeof(unpack(one)) / 2


def test_names_that_are_data_are_kept_no_longer_than_their_values():
    one, other = (pack({"20211213/exp.csv": size}) for size in (1, 2))
    assert one[-1] is not other[-1]
