from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from raytrain.config import ClassifierProbeConfig
from raytrain.errors import ConfigError
from raytrain.evaluation import knn as module
from raytrain.evaluation import neighbours, room
from raytrain.evaluation.gram import Representations
from raytrain.evaluation.knn import TEMPERATURE, answer_knn, num_neighbours
from raytrain.evaluation.task import Question, Task

NUM_CLASSES = 3
GROUPS = np.repeat(np.arange(40), 3)
LABELS = GROUPS % NUM_CLASSES
TRAIN, TEST = np.flatnonzero(GROUPS < 30), np.flatnonzero(GROUPS >= 30)


@dataclass(frozen=True)
class Rows:
    """Features in memory."""

    name: str
    values: np.ndarray

    def width(self, mode: str) -> int:
        return int(self.values.shape[1])

    def read(self, rows: Any, mode: str, *, columns: slice = slice(None)) -> np.ndarray:
        return self.values[np.asarray(rows), columns].astype(np.float32)


def planted(name: str, *, signal: float = 1.0, width: int = 12) -> Rows:
    random = np.random.default_rng([*name.encode()])
    values = signal * random.standard_normal((NUM_CLASSES, width))[LABELS]
    values += random.standard_normal((40, width))[GROUPS] + 0.1 * random.standard_normal((120, width))
    return Rows(name, values.astype(np.float32))


def task(**changes: Any) -> Task:
    settings: dict[str, Any] = {
        "labels": LABELS,
        "label_sets": None,
        "groups": GROUPS,
        "train": TRAIN,
        "select": np.zeros(0, int),
        "test": TEST,
        "split": "test",
        "seed": 0,
        "classifier": ClassifierProbeConfig(),
    }
    return Task(**(settings | changes))


def question(*features: Rows, **changes: Any) -> Question:
    asked = task(**changes)
    shared = Representations(asked.train, asked.test, num_classes=NUM_CLASSES)
    return Question(task=asked, features=features, mode="flat", shared=shared)


def plain_shares(
    features: list[Rows], query: int, train: np.ndarray, hot: np.ndarray, num: int
) -> np.ndarray:
    cosines = []
    for row in train:
        each = [
            float(f.values[query] @ f.values[row])
            / float(np.linalg.norm(f.values[query]) * np.linalg.norm(f.values[row]))
            for f in features
        ]
        cosines.append(np.mean(each))
    nearest = np.argsort(cosines)[::-1][:num]
    weights = np.exp(np.array(cosines)[nearest] / TEMPERATURE)
    return np.asarray((weights[:, None] * hot[nearest]).sum(axis=0) / weights.sum())


@pytest.mark.parametrize("block_bytes", [1, 3000, 1 << 29])
@pytest.mark.parametrize("names", [["a"], ["a", "bb"]])
def test_votes_equal_brute_force(monkeypatch: pytest.MonkeyPatch, block_bytes: int, names: list[str]) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(neighbours, "QUERY_BYTES", block_bytes)
    features = [planted(name, width=4 * len(name) + 8) for name in names]
    answer = answer_knn(question(*features))
    hot = np.eye(NUM_CLASSES)[LABELS[TRAIN]]
    expected = np.stack([plain_shares(features, row, TRAIN, hot, 20) for row in TEST])
    np.testing.assert_allclose(np.where(np.isfinite(answer.scores), answer.scores, 0), expected, atol=1e-5)
    np.testing.assert_array_equal(answer.predictions, expected.argmax(axis=1))
    assert answer.settings == {"neighbours": 20}


def test_the_accuracy_on_training_rows_leaves_their_group_out() -> None:
    """Without that the near copies of a group answer for one another, and noise looks perfect."""
    noise = planted("noise", signal=0.0, width=30)
    answer = answer_knn(question(noise))
    expected = []
    for row in TRAIN:
        others = TRAIN[GROUPS[TRAIN] != GROUPS[row]]
        shares = plain_shares([noise], row, others, np.eye(NUM_CLASSES)[LABELS[others]], 20)
        expected.append(shares.argmax() == LABELS[row])
    assert answer.criterion == "logo_accuracy"
    assert answer.chosen == pytest.approx(np.mean(expected))
    assert answer.chosen < 0.6


def test_only_some_training_rows_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKED_ROWS", 7)
    answer = answer_knn(question(planted("a", signal=5.0)))
    assert answer.chosen * 7 == pytest.approx(round(answer.chosen * 7))
    assert answer.chosen > 0.8


def test_fewer_neighbours_for_fewer_samples() -> None:
    assert num_neighbours(task()) == 20
    assert num_neighbours(task(train=TRAIN[:12])) == 4
    assert num_neighbours(task(train=TRAIN[:3])) == 3  # one class, three samples
    sets = np.zeros((120, 2), np.uint8)
    sets[TRAIN[:10], 0] = 1
    assert num_neighbours(task(label_sets=sets)) == 5
    assert num_neighbours(task(label_sets=np.zeros((120, 2), np.uint8))) == 1


def test_several_labels_need_half_of_the_votes() -> None:
    features = planted("a", signal=0.6)
    sets = np.stack([LABELS == 0, LABELS != 1], axis=1).astype(np.uint8)
    answer = answer_knn(question(features, label_sets=sets, labels=np.zeros(120, int)))
    expected = np.stack([plain_shares([features], row, TRAIN, sets[TRAIN], 20) for row in TEST])
    np.testing.assert_allclose(answer.scores, expected, atol=1e-5)
    assert ((expected > 0.4) & (expected < 0.5)).any()
    np.testing.assert_array_equal(answer.predictions, expected > 0.5)
    assert answer.predictions.dtype == np.uint8


def test_a_class_without_a_vote_is_not_among_the_best() -> None:
    answer = answer_knn(question(planted("a", signal=30.0)))
    assert (np.isfinite(answer.scores).sum(axis=1) == 1).all()
    assert (answer.predictions == LABELS[TEST]).all()


def test_rows_of_zeros_are_no_accident() -> None:
    features = Rows("dead", np.zeros((120, 5), np.float32))
    answer = answer_knn(question(features))
    assert np.isfinite(answer.chosen)


def test_the_training_rows_are_read_once_for_all_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Counted(Rows):
        def read(self, rows: Any, mode: str, *, columns: slice = slice(None)) -> np.ndarray:
            read.append(len(rows))
            return super().read(rows, mode, columns=columns)

    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 4000)
    features = Counted("a", planted("a").values)
    answer_knn(question(features))
    # the test rows and, without their groups, all training rows: each once, and the training rows beside them
    assert sum(read) == len(TEST) + len(TRAIN) + 2 * len(TRAIN)
    assert max(read[1:-1]) <= len(TRAIN)


def test_scores_of_too_many_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "GIB", 1000)
    monkeypatch.setattr(room, "MAX_GIB", 2.0)
    text = (
        r"^nearest neighbours of 30 test samples: needs 2\.16 GiB \(scores of 3 classes 2\.16\), more than "
        r"the 2 GiB that a probe may hold; test on fewer samples$"
    )
    with pytest.raises(ConfigError, match=text):
        answer_knn(question(planted("a")))
