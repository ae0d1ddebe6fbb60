from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.splits import choose_groups, cut_splits

samples = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 4)), min_size=1, max_size=120)
fractions = st.floats(0, 0.95)


@given(samples=samples, select=fractions, test=fractions, seed=st.integers(0, 99))
def test_a_group_is_never_divided(
    samples: list[tuple[int, int]], select: float, test: float, seed: int
) -> None:
    groups = [f"g{group}" for group, _ in samples]
    labels = np.array([label for _, label in samples])
    splits = cut_splits(
        ["train"] * len(groups),
        groups=groups,
        labels=labels,
        seed=seed,
        select_fraction=select,
        test_fraction=test,
    )
    homes: dict[str, set[str]] = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        homes[group].add(split)
    assert all(len(found) == 1 for found in homes.values())
    assert "train" in splits


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8), fraction=st.floats(0.01, 0.9))
def test_the_share_is_kept_and_spread_over_the_classes(sizes: list[int], fraction: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    groups = [f"g{number}" for number in range(len(labels))]
    chosen = choose_groups(groups, labels, fraction=fraction, seed=0, draw="select")
    counts = np.bincount(labels[chosen], minlength=len(sizes))
    possible = sum(size - 1 for size in sizes)
    assert chosen.sum() == min(possible, max(1, round(fraction * len(groups))))
    assert (counts <= np.array(sizes) - 1).all()
    assert (counts >= np.minimum(np.floor(fraction * np.array(sizes)), np.array(sizes) - 1)).all()


def test_the_choice_depends_on_seed_and_draw_only() -> None:
    groups = [f"g{number}" for number in range(100)]
    labels = np.arange(100) % 5

    def choose(order: list[int], seed: int, draw: str) -> set[str]:
        names = [groups[place] for place in order]
        chosen = choose_groups(names, labels[order], fraction=0.2, seed=seed, draw=draw)
        return {name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen}

    straight, backwards = list(range(100)), list(range(99, -1, -1))
    assert choose(straight, 0, "test") == choose(backwards, 0, "test")
    assert choose(straight, 0, "test") != choose(straight, 1, "test")
    assert choose(straight, 0, "test") != choose(straight, 0, "select")


def test_only_training_samples_are_moved() -> None:
    splits = ["test", "train", "pretrain", "train", "train", "select"]
    cut = cut_splits(
        splits,
        groups=list("abcdef"),
        labels=np.zeros(6, np.int64),
        seed=0,
        select_fraction=0.5,
        test_fraction=0,
    )
    assert [cut[place] for place in (0, 2, 5)] == ["test", "pretrain", "select"]
    assert sorted(cut[place] for place in (1, 3, 4)) == ["select", "select", "train"]


def test_nothing_is_chosen_for_a_share_of_zero() -> None:
    assert not choose_groups(list("abc"), np.zeros(3, np.int64), fraction=0, seed=0, draw="x").any()
