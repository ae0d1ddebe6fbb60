"""A nearest-neighbour classifier: the k nearest training rows vote by their cosine.

Source: Wu, Xiong, Yu, Lin 2018, "Unsupervised feature learning via non-parametric instance discrimination",
section 3.4; there k = 200 of ImageNet's 1.3 million, here fewer.
"""

from collections.abc import Sequence

import numpy as np

from raytrain.evaluation.factor import Floats, Integers
from raytrain.evaluation.features import Features, Mode
from raytrain.evaluation.labels import Taught, group_members, taught
from raytrain.evaluation.task import Answer, Question, Task, Words

NEIGHBOURS = 20
TEMPERATURE = 0.07
BLOCK_BYTES = 256 << 20
CHECKED_ROWS = 2_000
"""training rows that are classified without their group; the others only vote"""


def answer_knn(question: Question) -> Answer:
    """Classify the test rows by their nearest training rows; exact, in blocks.

    The cosine of several pathways is the mean of theirs. Neighbour i votes exp(cosine / .07) for its class;
    with several labels a label is predicted where it has more than half of the votes. Nothing is chosen; the
    figure by which pathways may be compared is that of training rows without their own group.
    """
    task = question.task
    lesson = taught(
        task.truth(task.train), num_rows=len(task.train), num_classes=task.num_classes, name="knn"
    )
    members = group_members(task.groups[task.train], num_rows=len(task.train), name="knn")
    num = num_neighbours(task)
    scores = _votes(question.features, question.mode, task.train, task.test, lesson, num=num)
    checked = np.unique(np.linspace(0, len(task.train) - 1, CHECKED_ROWS).astype(np.int64))
    held_out = _votes(
        question.features,
        question.mode,
        task.train,
        task.train[checked],
        lesson,
        num=num,
        groups=(members, members[checked]),
    )
    seen = Taught(hot=lesson.hot[checked], columns=lesson.columns, several=lesson.several)
    return Answer(
        predictions=lesson.decide(scores, boundary=0.5),
        scores=scores if lesson.several else np.where(scores > 0, scores, -np.inf),
        columns=lesson.columns,
        criterion="logo_accuracy",
        chosen=seen.right(held_out, boundary=0.5),
        settings={"neighbours": num},
    )


def num_neighbours(task: Task) -> int:
    """Return k: 20, or the mean number of training samples a class where that is smaller."""
    if task.label_sets is None:
        mean = len(task.train) / np.unique(task.labels[task.train]).size
    else:
        mean = float(task.label_sets[task.train].sum(axis=0).mean())
    return max(1, min(NEIGHBOURS, round(mean)))


def describe_knn(task: Task) -> Words:
    """Return the protocol in words."""
    return Words(
        what=f"nearest neighbours by cosine (k = {num_neighbours(task)}, votes exp(cosine / {TEMPERATURE}))",
        how="nothing chosen",
        joined="their cosines averaged",
    )


def _votes(
    features: Sequence[Features],
    mode: Mode,
    train: Integers,
    queries: Integers,
    lesson: Taught,
    *,
    num: int,
    groups: tuple[Integers, Integers] | None = None,
) -> Floats:
    """Return each column's share of the votes, f64[q, K]; rows of a query's own group are left out."""
    step = max(1, BLOCK_BYTES // (8 * len(train)))
    votes = []
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        cosines = np.zeros((len(part), len(train)))
        for one in features:
            cosines += _cosines(one, mode, part, train) / len(features)
        if groups is not None:
            own = groups[1][start : start + step, None] == groups[0]
            cosines[own] = -np.inf
        near = np.argpartition(-cosines, num - 1, axis=1)[:, :num]
        nearest = np.take_along_axis(cosines, near, axis=1)
        # relative to the nearest: the same shares, and no overflow
        weights = np.exp((nearest - nearest.max(axis=1, keepdims=True)) / TEMPERATURE)
        shares = weights / weights.sum(axis=1, keepdims=True)
        votes.append(np.einsum("qk,qkc->qc", shares, lesson.hot[near]))
    return np.concatenate(votes) if votes else np.zeros((0, len(lesson.columns)))


def _cosines(features: Features, mode: Mode, queries: Integers, train: Integers) -> Floats:
    """Return the cosines [q, n], from blocks of columns; 0 for rows of zeros."""
    products = np.zeros((len(queries), len(train)))
    squares = [np.zeros(len(queries)), np.zeros(len(train))]
    width = features.width(mode)
    step = max(1, BLOCK_BYTES // (8 * (len(queries) + len(train))))
    for start in range(0, width, step):
        columns = slice(start, min(width, start + step))
        blocks = [features.read(rows, mode, columns=columns).astype(np.float64) for rows in (queries, train)]
        products += blocks[0] @ blocks[1].T
        for place, block in enumerate(blocks):
            squares[place] += np.einsum("nd,nd->n", block, block)
    lengths = [np.sqrt(np.maximum(values, np.finfo(np.float64).tiny)) for values in squares]
    return np.asarray(products / lengths[0][:, None] / lengths[1], dtype=np.float64)
