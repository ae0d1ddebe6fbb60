"""Counter-based draws: pure, uniform, independent, the same on every platform."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.forms.randomness import generator, hash_keys, hash_sequence, hash_words, hasher, uniforms

NUM = 1 << 16
KEYS = hash_keys([f"class/{index:05d}.png" for index in range(NUM)])
MASK = (1 << 64) - 1

# recorded once; a change of any of them changes the order and the draws of every run
GOLDEN_WORD_0 = 9549033805879814570
GOLDEN_WORDS = 17215809898746501739
GOLDEN_KEYS = [4065664396171618159, 8029228240149818652, 17634017691694402085]
GOLDEN_UNIFORMS = [
    "0x1.d09d9c212b442p-1",
    "0x1.89c16d66d5b7cp-2",
    "0x1.149c619042bfcp-1",
    "0x1.e54035797140cp-3",
]
GOLDEN_PHILOX = [2939227600222828710, 589522855953152581]


def plain_mix(word: int) -> int:
    """The splitmix64 finaliser in whole numbers."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def plain_uniform(key_hash: int, *, seed: int, epoch: int, draw: str, counter: int) -> float:
    stream = hash_words(seed, epoch, draw)
    state = plain_mix((plain_mix(key_hash ^ stream) + stream) & MASK)
    return (plain_mix((state + (counter + 1) * 0x9E3779B97F4A7C15) & MASK) >> 11) * 2.0**-53


def test_golden_values_hold_on_every_platform() -> None:
    assert hash_words(0) == GOLDEN_WORD_0
    assert hash_words("a", 1, "crop") == GOLDEN_WORDS
    assert hash_keys(["a.png", "b.png", ""]).tolist() == GOLDEN_KEYS
    drawn = uniforms(hash_keys(["a.png", "b.png"]), seed=0, epoch=3, draw="crop", count=2)
    assert [value.hex() for value in drawn.ravel().tolist()] == GOLDEN_UNIFORMS
    assert generator(0, "order").integers(0, 2**62, 2).tolist() == GOLDEN_PHILOX


@settings(max_examples=60, deadline=None)
@given(
    key_hash=st.integers(0, MASK),
    seed=st.integers(-5, 2**63),
    epoch=st.integers(0, 10**6),
    draw=st.text(max_size=8),
)
def test_draws_match_the_plain_formula(key_hash: int, seed: int, epoch: int, draw: str) -> None:
    drawn = uniforms(np.array([key_hash], dtype=np.uint64), seed=seed, epoch=epoch, draw=draw, count=3)[0]
    expected = [plain_uniform(key_hash, seed=seed, epoch=epoch, draw=draw, counter=c) for c in range(3)]
    assert drawn.tolist() == expected


def test_draws_are_pure_and_do_not_touch_their_keys() -> None:
    before = KEYS.copy()
    whole = uniforms(KEYS[:100], seed=1, epoch=2, draw="crop", count=4)
    uniforms(KEYS, seed=9, epoch=9, draw="noise")
    np.random.default_rng(0).random(10)
    assert np.array_equal(uniforms(KEYS[:100], seed=1, epoch=2, draw="crop", count=4), whole)
    assert np.array_equal(uniforms(KEYS[40:43], seed=1, epoch=2, draw="crop", count=4), whole[40:43])
    assert np.array_equal(uniforms(KEYS[:100], seed=1, epoch=2, draw="crop", count=1), whole[:, :1])
    order = np.random.default_rng(0).permutation(100)
    assert np.array_equal(uniforms(KEYS[:100][order], seed=1, epoch=2, draw="crop", count=4), whole[order])
    assert np.array_equal(KEYS, before)


def test_shapes_and_bounds() -> None:
    drawn = uniforms(KEYS, seed=0, epoch=0, draw="crop", count=3)
    assert drawn.shape == (NUM, 3)
    assert drawn.dtype == np.float64
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert uniforms(KEYS[:0], seed=0, epoch=0, draw="crop").shape == (0, 1)


def chi_square(values: np.ndarray) -> float:
    """Deviation of 64 equal bins from their expectation, in standard deviations of chi-square(63)."""
    counts = np.bincount((values * 64).astype(int), minlength=64)
    expected = len(values) / 64
    return float((((counts - expected) ** 2 / expected).sum() - 63) / np.sqrt(2 * 63))


@pytest.mark.parametrize("kind", ["hashed keys", "counting keys", "high bits only"])
@pytest.mark.parametrize("draw", ["crop", "flip"])
def test_draws_are_uniform_for_any_keys(kind: str, draw: str) -> None:
    counting = np.arange(NUM, dtype=np.uint64)
    keys = {"hashed keys": KEYS, "counting keys": counting, "high bits only": counting << np.uint64(48)}[kind]
    for column in uniforms(keys, seed=0, epoch=0, draw=draw, count=3).T:
        assert abs(chi_square(column)) < 4.5
        assert abs(column.mean() - 0.5) < 4.5 / np.sqrt(12 * NUM)
        assert abs(np.corrcoef(column[:-1], column[1:])[0, 1]) < 4.5 / np.sqrt(NUM)


def test_draws_are_uniform_over_epochs_for_one_sample() -> None:
    values = np.array([uniforms(KEYS[:1], seed=0, epoch=epoch, draw="crop")[0, 0] for epoch in range(8192)])
    assert abs(chi_square(values)) < 4.5
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4.5 / np.sqrt(len(values))


def test_names_epochs_seeds_and_counters_are_independent() -> None:
    columns = [uniforms(KEYS, seed=0, epoch=0, draw="crop", count=2)]
    for seed, epoch, draw in (
        (0, 0, "flip"),
        (0, 1, "crop"),
        (1, 0, "crop"),
        (1, 1, "flip"),
        (10, 0, "crop"),
    ):
        columns.append(uniforms(KEYS, seed=seed, epoch=epoch, draw=draw))
    values = np.concatenate(columns, axis=1).T
    for first, second in itertools.combinations(range(len(values)), 2):
        assert abs(np.corrcoef(values[first], values[second])[0, 1]) < 4.5 / np.sqrt(NUM)
        joint = np.floor(values[first] * 8) * 8 + np.floor(values[second] * 8)
        assert abs(chi_square(joint / 64)) < 4.5


def test_words_keep_their_borders_types_and_order() -> None:
    words = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        (1,),
        ("1",),
        (1, 2),
        (2, 1),
        (12,),
        ("1", 2),
        (),
        ("",),
        (-1,),
    ]
    assert len({hash_words(*each) for each in words}) == len(words)


def test_key_hashes_do_not_collide() -> None:
    assert KEYS.dtype == np.uint64
    assert len(np.unique(KEYS)) == NUM
    assert hash_keys(["x"])[0] == hash_words("x")


def test_generators_are_keyed_by_their_words() -> None:
    first = generator(0, "lbp").random(4)
    assert np.array_equal(generator(0, "lbp").random(4), first)
    assert not np.array_equal(generator(1, "lbp").random(4), first)
    assert not np.array_equal(generator(0, "rg").random(4), first)


@pytest.fixture
def sequence() -> tuple[np.ndarray, np.ndarray]:
    return hash_keys(["a", "b", "c", "d"]), np.array([8, 9, 10, 11])


def test_the_hash_of_a_sequence_is_the_plain_sum(sequence: tuple[np.ndarray, np.ndarray]) -> None:
    keys, positions = sequence
    expected = sum(
        plain_mix(plain_mix((position + 1) * 0x9E3779B97F4A7C15 & MASK) ^ plain_mix(key))
        for key, position in zip(keys.tolist(), positions.tolist(), strict=True)
    )
    assert hash_sequence(keys, positions) == expected & MASK


def test_the_hash_of_a_sequence_knows_order_place_and_repetition(
    sequence: tuple[np.ndarray, np.ndarray],
) -> None:
    keys, positions = sequence
    others = [
        (keys[[1, 0, 2, 3]], positions),  # two samples have changed places
        (keys[[0, 0, 2, 3]], positions),
        (keys[[0, 0, 1, 1]], positions),  # an exclusive or of keys would call these two empty
        (keys[[2, 2, 3, 3]], positions),
        (keys, positions + 4),
        (keys[:3], positions[:3]),
        (keys[:0], positions[:0]),
    ]
    hashes = [hash_sequence(*sequence), *(hash_sequence(*other) for other in others)]
    assert len(set(hashes)) == len(hashes)


def test_hashes_of_the_parts_of_a_sequence_add_up(sequence: tuple[np.ndarray, np.ndarray]) -> None:
    keys, positions = sequence
    parts = [hash_sequence(keys[rank::2], positions[rank::2]) for rank in (0, 1)]
    assert sum(parts) & MASK == hash_sequence(keys, positions)


@given(st.lists(st.one_of(st.integers(-5, 5), st.text(max_size=3)), max_size=3), st.text(max_size=20))
def test_many_names_are_hashed_like_one(words: list[int | str], name: str) -> None:
    assert hasher(*words)(name) == hash_words(*words, name)
