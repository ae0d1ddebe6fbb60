"""A nearest-neighbour classifier: the k nearest training rows vote by their cosine.

Source: Wu, Xiong, Yu, Lin 2018, "Unsupervised feature learning via non-parametric instance discrimination",
section 3.4; there k = 200 of ImageNet's 1.3 million, here fewer.
"""

import numpy as np

from raytrain.evaluation.factor import Floats, Integers
from raytrain.evaluation.labels import Taught, group_members, taught
from raytrain.evaluation.neighbours import find_nearest
from raytrain.evaluation.room import FEWER_TESTED, check_room
from raytrain.evaluation.task import Answer, Question, Task, Words

NEIGHBOURS = 20
TEMPERATURE = 0.07
CHECKED_ROWS = 2_000
"""training rows that are classified without their group; the others only vote"""


def answer_knn(question: Question) -> Answer:
    """Classify the test rows by their nearest training rows, of equally near ones by the earlier.

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
    check_room(
        f"nearest neighbours of {len(task.test)} test samples",
        {f"scores of {len(lesson.columns)} classes": 24.0 * len(task.test) * len(lesson.columns)},
        advice=FEWER_TESTED,
    )
    scores = _votes(question, lesson, task.test, num=num)
    checked = np.unique(np.linspace(0, len(task.train) - 1, CHECKED_ROWS).astype(np.int64))
    held_out = _votes(question, lesson, task.train[checked], num=num, groups=(members[checked], members))
    return Answer(
        predictions=lesson.decide(scores, boundary=0.5),
        scores=scores if lesson.several else np.where(scores > 0, scores, -np.inf),
        columns=lesson.columns,
        criterion="logo_accuracy",
        chosen=lesson.right(held_out, checked, boundary=0.5) / lesson.decisions(len(checked)),
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
    question: Question,
    lesson: Taught,
    queries: Integers,
    *,
    num: int,
    groups: tuple[Integers, Integers] | None = None,
) -> Floats:
    """Return each column's share of the votes, f64[q, K]; rows of a query's own group are left out."""
    found = find_nearest(
        question.features,
        question.mode,
        queries=queries,
        candidates=question.task.train,
        num=num,
        groups=groups,
        device=question.task.device,
    )
    # relative to the nearest: the same shares, and no overflow
    weights = np.exp((found.cosines - found.cosines[:, :1]) / TEMPERATURE)
    shares = weights / weights.sum(axis=1, keepdims=True)
    votes = np.zeros((len(queries), len(lesson.columns)))
    everyone = np.arange(len(queries))
    for share, near in zip(shares.T, found.places.T, strict=True):
        if lesson.sets is not None:
            votes += share[:, None] * lesson.sets[near]
        else:
            votes[everyone, lesson.codes[near]] += share
    return votes
