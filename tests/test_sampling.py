import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anabatch.sampling import draw

identities = st.lists(st.text(max_size=8), unique=True, max_size=40)


@given(identities, st.integers(0, 50), st.integers(0, 2**40), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(ids, n, seed, random):
    shuffled = random.sample(ids, len(ids))
    assert [shuffled[i] for i in draw(shuffled, n, seed)] == [ids[i] for i in draw(ids, n, seed)]


@given(identities, st.integers(0, 50))
def test_every_row_is_drawn_at_most_once(ids, n):
    drawn = draw(ids, n, seed=0)
    assert len(set(drawn.tolist())) == len(drawn) == min(n, len(ids))


@given(identities, st.integers(0, 40), st.integers(0, 40))
def test_the_sample_of_a_union_is_found_among_the_samples_of_its_parts(ids, cut, n):
    left, right = ids[:cut], ids[cut:]
    of_parts = {left[i] for i in draw(left, n, 7)} | {right[i] for i in draw(right, n, 7)}
    assert {ids[i] for i in draw(ids, n, 7)} <= of_parts


@given(identities, st.integers(0, 40))
def test_a_smaller_sample_begins_a_larger_one(ids, n):
    assert draw(ids, n, 1).tolist() == draw(ids, 40, 1)[:n].tolist()


def test_arrays_and_lists_draw_alike_and_seeds_differ():
    ids = [f"{i:032x}" for i in range(1000)]
    assert draw(ids, 50, 3).tolist() == draw(np.array(ids), 50, 3).tolist()
    assert draw(ids, 50, 3).tolist() != draw(ids, 50, 4).tolist()


def test_rows_are_drawn_uniformly():
    ids = [str(i) for i in range(200)]
    hits = np.zeros(200)
    for seed in range(400):
        hits[draw(ids, 50, seed)] += 1
    # each is binomial(400, 1/4): mean 100, standard deviation 8.7
    assert abs(hits - 100).max() < 5 * 8.7
    assert abs(hits[:100].sum() - hits[100:].sum()) < 5 * np.sqrt(400 * 50)


def test_equal_ids_are_drawn_by_position():
    assert draw(["a", "a", "a"], 2, 0).tolist() == [0, 1]
    assert draw([], 2, 0).tolist() == []
