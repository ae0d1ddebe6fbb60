"""The fits of a table: one set of Gram matrices, several representations; in a process of its own."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from raytrain.evaluation.factor import GramPair
from raytrain.evaluation.features import Mode, open_features
from raytrain.evaluation.gram import join, train_test_gram
from raytrain.evaluation.ridge import fit_ridge
from raytrain.identity import contents_of, fit_ingredients
from raytrain.reproduction.kept_fits import KeptFits, Predicted


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """The fits that share one set of Gram matrices; small enough to be sent to a process."""

    objective: str
    """or "control" """
    folders: tuple[str, ...]
    """features folders; several only for the multi-encoder"""
    seed: int
    names: tuple[str, ...]
    """feature files in each folder"""
    joins: dict[str, tuple[str, ...]]
    """representation -> the names it concatenates"""
    mode: Mode
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    train: NDArray[np.int64]
    test: NDArray[np.int64]

    def key(self) -> str:
        """Return a digest of all that decides the predictions: features, rows, labels, code, libraries."""
        settings = {
            "mode": self.mode,
            "joins": self.joins,
            "names": self.names,
            "num_folders": len(self.folders),
        }
        files = {
            f"{place}/{name}": contents_of(Path(folder, f"{name}.npy"))
            for place, folder in enumerate(self.folders)
            for name in self.names
        }
        arrays = {"labels": self.labels, "groups": self.groups, "train": self.train, "test": self.test}
        return fit_ingredients(settings, arrays=arrays, files=files).key


def fit_all(
    requests: Sequence[FitRequest], kept: KeptFits | None, *, processes: int
) -> Iterator[tuple[Predicted, bool]]:
    """Yield what each request predicts, and whether that was known; `processes` fits at a time."""
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_limit_threads, initargs=(threads,)
    )
    with pool:
        yield from pool.map(_fit_or_known, requests, [kept] * len(requests))


def _limit_threads(threads: int) -> None:
    """Share the cores out: linear algebra that takes all of them in every process is four times as slow."""
    threadpoolctl.threadpool_limits(threads)


def _fit_or_known(request: FitRequest, kept: KeptFits | None) -> tuple[Predicted, bool]:
    if kept is None:
        return fit(request), False
    key = request.key()
    known = kept.load(key)
    if known is not None:
        return known, True
    found = fit(request)
    kept.store(key, found)
    return found, False


def fit(request: FitRequest) -> Predicted:
    """Return the test predictions of each representation of a request."""
    grams: dict[str, list[GramPair]] = {}
    for folder in request.folders:
        for name in request.names:
            features = open_features(Path(folder), name)
            grams.setdefault(name, []).append(
                train_test_gram(features, request.train, request.test, request.mode)
            )
    labels, groups = request.labels[request.train], request.groups[request.train]
    num_classes = int(request.labels.max()) + 1
    return {
        representation: fit_ridge(
            join([gram for name in names for gram in grams[name]]), labels, groups, num_classes=num_classes
        ).predictions
        for representation, names in request.joins.items()
    }
