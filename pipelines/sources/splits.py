"""Cut groups off for selection and testing; a group is never divided."""

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.randomness import hash_words, hasher

Int64s = NDArray[np.int64]


def choose_groups(
    groups: list[str], labels: Int64s, *, fraction: float, seed: int, draw: str
) -> NDArray[np.bool_]:
    """Return which samples belong to the chosen share of the groups, bool[N].

    The share is spread over the classes by largest remainder; every class keeps at least one group unchosen,
    so a class of one group gives none. Which groups of a class come first depends on (seed, draw, name) only.

    Shapes: `groups` N names, `labels` i64[N]; a group counts for the class of its first sample.
    """
    if fraction <= 0:
        return np.zeros(len(groups), np.bool_)
    members: dict[int, list[str]] = {}
    for group, label in dict(zip(reversed(groups), reversed(labels.tolist()), strict=True)).items():
        members.setdefault(label, []).append(group)
    quotas = _quotas({label: len(names) for label, names in members.items()}, fraction, seed)
    chosen: set[str] = set()
    drawn = hasher(seed, draw)
    for label, names in members.items():
        by_draw = sorted(names, key=lambda name: (drawn(name), name))
        chosen.update(by_draw[: quotas[label]])
    return np.array([group in chosen for group in groups], np.bool_)


def _quotas(sizes: dict[int, int], fraction: float, seed: int) -> dict[int, int]:
    """Return how many groups each class gives up: floors first, then the largest remainders."""
    limits = {label: size - 1 for label, size in sizes.items()}
    quotas = {label: min(int(fraction * size), limits[label]) for label, size in sizes.items()}
    wanted = max(1, round(fraction * sum(sizes.values())))
    order = sorted(
        sizes,
        key=lambda label: (int(fraction * sizes[label]) - fraction * sizes[label], hash_words(seed, label)),
    )
    while sum(quotas.values()) < wanted:
        free = [label for label in order if quotas[label] < limits[label]]
        if not free:
            break
        for label in free[: wanted - sum(quotas.values())]:
            quotas[label] += 1
    return quotas


def cut_splits(
    splits: list[str],
    *,
    groups: list[str],
    labels: Int64s,
    seed: int,
    select_fraction: float,
    test_fraction: float = 0.0,
) -> list[str]:
    """Return the splits with shares of the groups of "train" renamed to "test" and then "select"."""
    result = np.array(splits, dtype="U16")
    for name, fraction in (("test", test_fraction), ("select", select_fraction)):
        rows = np.flatnonzero(result == "train")
        if len(rows) == 0:
            continue
        names = [groups[row] for row in rows]
        chosen = choose_groups(names, labels[rows], fraction=fraction, seed=seed, draw=name)
        result[rows[chosen]] = name
    return [str(split) for split in result]


def pattern_numbers(label_sets: NDArray[np.uint8]) -> Int64s:
    """Return a number for each distinct row of labels, i64[N], which stands in for a class: u8[N, L]."""
    _, numbers = np.unique(label_sets, axis=0, return_inverse=True)
    return np.asarray(numbers, np.int64).reshape(-1)


# What a sample may be measured on comes first: of a divided group its samples are kept.
_SIDES = {"test": 0, "select": 1}
_TRAINING = 2


def divided_groups(
    groups: list[str], splits: list[str]
) -> tuple[dict[str, tuple[str, ...]], NDArray[np.bool_]]:
    """Return the groups on both sides of a split with their splits, and which samples of them to leave out.

    A group is kept in test, else in select; its samples elsewhere are the surplus, bool[N].
    """
    if len(set(groups)) == len(groups):
        return {}, np.zeros(len(groups), np.bool_)
    first: dict[str, int] = {}
    homes: dict[str, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        side = _SIDES.get(split, _TRAINING)
        first[group] = min(first.get(group, side), side)
        homes.setdefault(group, set()).add(split)
    surplus = np.array(
        [_SIDES.get(split, _TRAINING) > first[group] for group, split in zip(groups, splits, strict=True)],
        np.bool_,
    )
    names = sorted({group for group, extra in zip(groups, surplus, strict=True) if extra})
    return {name: tuple(sorted(homes[name])) for name in names}, surplus
