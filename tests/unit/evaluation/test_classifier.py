import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from raytrain.config import ClassifierProbeConfig
from raytrain.errors import ConfigError, DataError
from raytrain.evaluation import room
from raytrain.evaluation.classifier import answer_classifier, describe_classifier, selection
from raytrain.evaluation.gram import Representations
from raytrain.evaluation.task import Question, Task
from tests.unit.evaluation.test_knn import GROUPS, LABELS, TEST, TRAIN, Rows, planted

SETTINGS = ClassifierProbeConfig(hidden=16, learning_rate=1e-2, epochs=8, batch_size=16)
SELECT = np.flatnonzero((GROUPS >= 20) & (GROUPS < 30))


def question(*features: Rows, **changes: Any) -> Question:
    settings: dict[str, Any] = {
        "labels": LABELS,
        "label_sets": None,
        "groups": GROUPS,
        "train": TRAIN[:60],
        "select": SELECT,
        "test": TEST,
        "split": "test",
        "seed": 0,
        "classifier": SETTINGS,
    }
    task = Task(**(settings | changes))
    return Question(
        task=task,
        features=features,
        mode="flat",
        shared=Representations(task.train, task.test, num_classes=task.num_classes),
    )


def test_planted_classes_are_learnt() -> None:
    answer = answer_classifier(question(planted("a", signal=3.0)))
    assert np.mean(answer.predictions == LABELS[TEST]) > 0.9
    assert answer.criterion == "select_accuracy"
    assert answer.chosen > 0.9
    assert answer.settings["select_n"] == len(SELECT)


def test_scores_equal_a_plain_training_loop() -> None:
    """The same network by torch's own layers, with the weights, batches and masks that were drawn."""
    from pipelines.forms.randomness import generator, hash_words
    from raytrain.evaluation.classifier import _initial

    features = planted("a")
    settings = dataclasses.replace(SETTINGS, epochs=1, weight_decay=0.1)
    answer = answer_classifier(question(features, classifier=settings))
    train = features.values[TRAIN[:60]].astype(np.float64)
    mean, root = train.mean(axis=0), 1 / np.sqrt(train.var(axis=0).mean())
    rows, test = (torch.tensor((features.values[r] - mean) * root).float() for r in (TRAIN[:60], TEST))
    first, second = torch.nn.Linear(12, 16), torch.nn.Linear(16, 3)
    weights = [first.weight, first.bias, second.weight, second.bias]
    with torch.no_grad():
        for weight, drawn in zip(weights, _initial(12, 16, 3, 0), strict=True):
            weight.copy_(drawn)
    optimizer = torch.optim.Adam(weights, lr=1e-2, weight_decay=0.1)
    masks = torch.Generator().manual_seed(hash_words(0, "classifier dropout"))
    order = torch.from_numpy(generator(0, "classifier batches").permutation(60))
    for batch in order.split(16):
        hidden = first(rows[batch])
        mask = torch.rand(hidden.shape, generator=masks) < 0.5
        logits = second(torch.where(mask, 2 * hidden, 0.0))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS[TRAIN[:60]])[batch]).backward()
        optimizer.step()
    expected = second(first(test)).detach().numpy()
    np.testing.assert_allclose(answer.scores, expected, atol=1e-4)


def test_dropout_is_on_in_every_epoch() -> None:
    features = planted("a")
    once, often = (dataclasses.replace(SETTINGS, epochs=epochs, dropout=0.0) for epochs in (1, 6))
    without = [answer_classifier(question(features, classifier=s)).scores for s in (once, often)]
    dropped = [
        answer_classifier(question(features, classifier=dataclasses.replace(s, dropout=0.9))).scores
        for s in (once, often)
    ]
    for plain, noisy in zip(without, dropped, strict=True):
        assert np.abs(plain - noisy).max() > 0.1


def test_the_first_best_epoch_on_the_selection_rows_is_kept() -> None:
    features = planted("a", signal=1.5)
    accuracies, scores = [], []
    for epochs in range(1, 9):
        # what the last of n epochs says: select on rows that only the last can get right is not possible, so
        # ask for each length and keep the best by hand
        answer = answer_classifier(
            question(features, classifier=dataclasses.replace(SETTINGS, epochs=epochs))
        )
        accuracies.append(answer.chosen)
        scores.append((answer.settings["best_epoch"], answer.scores))
    assert accuracies == sorted(accuracies)  # a longer training never does worse on the selection rows
    best = next(i for i, value in enumerate(accuracies) if value == accuracies[-1])
    assert scores[-1][0] == best + 1
    np.testing.assert_array_equal(scores[-1][1], scores[best][1])


def test_the_test_rows_choose_nothing() -> None:
    features = planted("a")
    plain = answer_classifier(question(features))
    labels = LABELS.copy()
    labels[TEST] = (labels[TEST] + 1) % 3
    np.testing.assert_array_equal(answer_classifier(question(features, labels=labels)).scores, plain.scores)


def test_the_seed_says_all(monkeypatch: pytest.MonkeyPatch) -> None:
    features = planted("a")
    first, again = (answer_classifier(question(features)).scores for _ in range(2))
    other = answer_classifier(question(features, seed=1)).scores
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_pathways_are_joined_at_equal_variance() -> None:
    features = planted("a", signal=2.0)
    loud = Rows("loud", 1000 * features.values + 7000)
    single = answer_classifier(question(features)).scores
    np.testing.assert_allclose(answer_classifier(question(loud)).scores, single, atol=1e-2)
    noise = Rows("noise", 1e4 * planted("noise", signal=0.0).values)
    joined = answer_classifier(question(features, noise))
    assert np.mean(joined.predictions == LABELS[TEST]) > 0.7


def test_several_labels() -> None:
    sets = np.stack([LABELS == 0, LABELS != 1], axis=1).astype(np.uint8)
    answer = answer_classifier(
        question(planted("a", signal=3.0), label_sets=sets, labels=np.zeros(len(LABELS), int))
    )
    np.testing.assert_array_equal(answer.predictions, answer.scores > 0)
    assert np.mean(answer.predictions == sets[TEST]) > 0.9


def test_without_a_select_split_training_groups_are_held_back_and_it_says_so() -> None:
    asked = question(planted("a"), train=TRAIN, select=np.zeros(0, np.int64)).task
    train, select = selection(asked)
    assert np.unique(GROUPS[select]).size == 3  # a tenth of 30
    assert not set(GROUPS[train]) & set(GROUPS[select])
    assert sorted([*train, *select]) == sorted(TRAIN.tolist())
    words = describe_classifier(asked)
    assert (
        "the best of 8 epochs on 3 of these groups (9 samples), held back because there is no select"
        in words.how
    )
    assert words.what == "classifier Linear(16), dropout 0.5, Linear"
    assert "on split select (30 samples)" in describe_classifier(question(planted("a")).task).how


def test_one_group_cannot_be_held_back() -> None:
    asked = question(planted("a"), train=TRAIN[:3], select=np.zeros(0, np.int64))
    with pytest.raises(DataError, match="all training samples are of one group, so none can be held back"):
        answer_classifier(asked)


def test_features_and_scores_that_would_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "GIB", 1000)
    monkeypatch.setattr(room, "MAX_GIB", 10.0)
    features = planted("a")
    monkeypatch.setattr(Rows, "read", None)
    text = (
        r"^classifier of a: 120 samples x 12 features: needs 15\.8 GiB \(features, twice 11\.5, scores of 60 "
        r"samples x 3 classes 4\.32\), more than the 10 GiB that a probe may hold; set probe\.features = "
        r"'pooled' or lower encoder\.width$"
    )
    with pytest.raises(ConfigError, match=text):
        answer_classifier(question(features))
