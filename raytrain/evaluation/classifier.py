"""The trained probe of the decomposed-encoder paper: Linear, dropout, Linear, by Adam on mini-batches.

Source: Jaziri et al., "Representation Learning in a Decomposed Encoder Design" (arXiv 2401.08603): 512 hidden
units without a nonlinearity, dropout .5, Adam 5e-5 with weight decay 1e-5, 30 epochs. Here dropout is on in
all epochs, and the epoch is picked on samples that are not for testing.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.randomness import generator, hash_words
from raytrain.errors import DataError
from raytrain.evaluation.factor import Floats, Integers
from raytrain.evaluation.labels import Taught, taught
from raytrain.evaluation.room import check_room
from raytrain.evaluation.task import Answer, Question, Task, Words

if TYPE_CHECKING:
    import torch


def answer_classifier(question: Question) -> Answer:
    """Train the classifier; keep the first of the epochs that are best on the rows to select on.

    Features are centred on the training rows and scaled, one number a pathway, to a mean variance of one, so
    that one learning rate fits all. Threads are those that torch was given.

    Raises:
        DataError: too few groups to select on.
    """
    task = question.task
    train, select = selection(task)
    lesson = taught(task.truth(train), num_rows=len(train), num_classes=task.num_classes, name="classifier")
    _check_room(question, num_trained=len(train), num_scored=len(select) + len(task.test))
    inputs = _inputs(question, (train, select, task.test))
    best, accuracy, scores = _train(task, lesson, inputs, truth=task.truth(select))
    return Answer(
        predictions=lesson.decide(scores),
        scores=scores,
        columns=lesson.columns,
        criterion="select_accuracy",
        chosen=accuracy,
        settings={"best_epoch": best, "select_n": len(select)},
    )


def describe_classifier(task: Task) -> Words:
    """Return the protocol in words."""
    settings, (train, select) = task.classifier, selection(task)
    if len(task.select):
        where = f"split select ({len(select)} samples)"
    else:
        where = (
            f"{task.num_groups(select)} of these groups ({len(select)} samples), held back because there is "
            "no select split"
        )
    return Words(
        what=f"classifier Linear({settings.hidden}), dropout {settings.dropout:g}, Linear",
        how=f"Adam {settings.learning_rate:g} with weight decay {settings.weight_decay:g}, batches of "
        f"{min(settings.batch_size, len(train))}, the best of {settings.epochs} epochs on {where}",
    )


def selection(task: Task) -> tuple[Integers, Integers]:
    """Return the rows to train on and those to pick the epoch on: the select split, or some training groups.

    Raises:
        DataError: fewer than two training groups, so that none can be held back.
    """
    if len(task.select):
        return task.train, task.select
    names = np.unique(task.groups[task.train])
    if names.size < 2:
        raise DataError(
            "classifier: all training samples are of one group, so none can be held back to pick the epoch"
        )
    count = min(names.size - 1, max(1, math.ceil(task.classifier.select_fraction * names.size)))
    chosen = generator(task.seed, "classifier selection").permutation(names)[:count]
    held_back = np.isin(task.groups[task.train], chosen)
    return task.train[~held_back], task.train[held_back]


def _check_room(question: Question, *, num_trained: int, num_scored: int) -> None:
    """Raise ConfigError where the features, with a copy that is being scaled, or the scores are too many."""
    width, columns = sum(one.width(question.mode) for one in question.features), question.task.num_classes
    names, num_rows = "+".join(one.name for one in question.features), num_trained + num_scored
    check_room(
        f"classifier of {names}: {num_rows} samples x {width} features",
        {
            "features, twice": 8.0 * num_rows * width,
            f"scores of {num_scored} samples x {columns} classes": 24.0 * num_scored * columns,
        },
    )


def _inputs(question: Question, parts: tuple[Integers, ...]) -> list[NDArray[np.float32]]:
    """Return the concatenated features of each part, f32[n, D]; the first part says how to centre."""
    pieces: list[list[NDArray[np.float32]]] = [[] for _ in parts]
    for one in question.features:
        values = [one.read(rows, question.mode) for rows in parts]
        mean = values[0].mean(axis=0, dtype=np.float64)
        variance = float(np.mean(values[0].var(axis=0, dtype=np.float64)))
        root = 1 / math.sqrt(variance) if variance > 0 else 0.0
        for piece, value in zip(pieces, values, strict=True):
            piece.append(((value - mean.astype(np.float32)) * np.float32(root)).astype(np.float32))
    return [np.concatenate(piece, axis=1) for piece in pieces]


def _train(
    task: Task, lesson: Taught, inputs: list[NDArray[np.float32]], *, truth: NDArray[np.integer]
) -> tuple[int, float, Floats]:
    """Return the best epoch, its accuracy on the selection rows, and its test scores f64[m, K]."""
    import torch
    from torch.nn import functional

    settings = task.classifier
    train, select, test = (torch.from_numpy(values) for values in inputs)
    codes = torch.from_numpy(lesson.codes)
    sets = None if lesson.sets is None else torch.from_numpy(lesson.sets)
    weights = _initial(train.shape[1], settings.hidden, len(lesson.columns), task.seed)
    optimizer = torch.optim.Adam(
        weights, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    random = generator(task.seed, "classifier batches")
    masks = torch.Generator().manual_seed(hash_words(task.seed, "classifier dropout"))
    best, best_accuracy, best_scores = 0, -1.0, np.zeros((0, 0))
    kept = 1 - settings.dropout
    for epoch in range(1, settings.epochs + 1):
        order = torch.from_numpy(random.permutation(len(train)))
        for rows in torch.split(order, settings.batch_size):
            hidden = functional.linear(train[rows], weights[0], weights[1])
            mask = torch.rand(hidden.shape, generator=masks) < kept
            logits = functional.linear(hidden * mask / kept, weights[2], weights[3])
            if sets is not None:
                loss = functional.binary_cross_entropy_with_logits(logits, sets[rows].float())
            else:
                loss = functional.cross_entropy(logits, codes[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        accuracy = float(np.mean(lesson.decide(_scores(weights, select)) == truth))
        if accuracy > best_accuracy:
            best, best_accuracy, best_scores = epoch, accuracy, _scores(weights, test)
    return best, best_accuracy, best_scores


def _scores(weights: list["torch.Tensor"], rows: "torch.Tensor") -> Floats:
    """Return the logits without dropout."""
    import torch
    from torch.nn import functional

    with torch.no_grad():
        hidden = functional.linear(rows, weights[0], weights[1])
        logits = functional.linear(hidden, weights[2], weights[3])
    return np.asarray(logits.numpy(), dtype=np.float64)


def _initial(width: int, hidden: int, num_columns: int, seed: int) -> list["torch.Tensor"]:
    """Return the weights and biases of both layers, uniform within 1 / sqrt(inputs) as torch draws them.

    The same for trained features and their control.
    """
    import torch

    drawn = torch.Generator().manual_seed(hash_words(seed, "classifier weights"))
    tensors = []
    for inputs, outputs in ((width, hidden), (hidden, num_columns)):
        for shape in ((outputs, inputs), (outputs,)):
            values = (2 * torch.rand(shape, generator=drawn) - 1) / math.sqrt(inputs)
            tensors.append(values.requires_grad_())
    return tensors
