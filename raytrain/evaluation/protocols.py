"""The probes by name, and a network's own classifier: how a question is answered, and how that is said."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.errors import DataError
from raytrain.evaluation.classifier import answer_classifier, describe_classifier
from raytrain.evaluation.factor import Floats, Integers
from raytrain.evaluation.features import BLOCK_BYTES, Features, Mode
from raytrain.evaluation.knn import answer_knn, describe_knn
from raytrain.evaluation.logistic import answer_logistic, describe_logistic
from raytrain.evaluation.ridge import STRENGTHS, fit_ridge
from raytrain.evaluation.room import FEWER_TESTED, check_room
from raytrain.evaluation.task import Answer, Question, Task, Words


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One probe."""

    answer: Callable[[Question], Answer]
    describe: Callable[[Task], Words]
    """what it does, in words"""
    purpose: str
    """what it is for and when to choose it, in one line"""


def answer_ridge(question: Question, *, strengths: ArrayLike = STRENGTHS) -> Answer:
    """Return what the ridge classifier says of a representation."""
    task = question.task
    result = fit_ridge(
        question.shared.resolvent(question.features, question.mode),
        task.truth(task.train),
        task.groups[task.train],
        num_classes=task.num_classes,
        strengths=strengths,
    )
    return Answer(
        predictions=result.predictions,
        scores=result.scores,
        columns=result.columns,
        criterion="logo_accuracy",
        chosen=result.logo_accuracy,
        settings={"strength": result.strength, "strength_edge": result.edge},
        unit=result.scale,
    )


def describe_ridge(task: Task) -> Words:
    """Return the protocol in words."""
    kind = "one ridge regression a label" if task.several else "ridge classifier"
    return Words(what=f"{kind} with intercept", how="strength by leave-one-group-out accuracy on these")


PROTOCOLS: dict[str, Protocol] = {
    "ridge": Protocol(
        answer=answer_ridge,
        describe=describe_ridge,
        purpose="Linear, solved exactly, strength by leave-one-group-out; the default, fast and without luck",
    ),
    "logistic": Protocol(
        answer=answer_logistic,
        describe=describe_logistic,
        purpose="Linear with a softmax; for figures that compare with papers' linear probes",
    ),
    "knn": Protocol(
        answer=answer_knn,
        describe=describe_knn,
        purpose="Nearest neighbours, nothing is fitted; how well the space itself is ordered",
    ),
    "classifier": Protocol(
        answer=answer_classifier,
        describe=describe_classifier,
        purpose="Two linear layers with dropout, trained by Adam; the probe of the decomposed-encoder paper",
    ),
}


HEAD = "head"
"""name of the protocol; it is no setting: where there is a head it is measured"""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear classifier that was trained with its network, all weights together.

    Shapes: `weight` f32[K, D], `bias` f32[K]; row k is class (or label) k, D the features' width in `mode`.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    mode: Mode

    def logits(self, features: Features, rows: Integers) -> Floats:
        """Return f64[n, K], taken in float32 of the features as they are kept.

        Raises:
            DataError: features of another width.
        """
        found = [logits for _, logits in self.blocks(features, rows)]
        return np.concatenate([np.zeros((0, len(self.bias))), *found])

    def blocks(self, features: Features, rows: Integers) -> Iterator[tuple[Integers, Floats]]:
        """Yield some of the rows with their logits at a time; see `logits`."""
        width, expected = features.width(self.mode), self.weight.shape[1]
        if width != expected:
            raise DataError(
                f"features {features.name}: {width} a sample, but the network's classifier takes {expected}; "
                "run represent again"
            )
        step = max(1, BLOCK_BYTES // (4 * width + 24 * len(self.bias)))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            found = features.read(part, self.mode) @ self.weight.T + self.bias
            yield part, np.asarray(found, dtype=np.float64)


def answer_head(task: Task, features: Features, head: Head) -> Answer:
    """Return what a network's own classifier says: the highest logit, or the labels whose sigmoid is over .5.

    Nothing is chosen; `train_accuracy` (mean of the labels where there are several) is there to be compared.
    """
    check_room(
        f"classifier of {features.name}: {len(task.test)} test samples",
        {f"scores of {len(head.bias)} classes": 24.0 * len(task.test) * len(head.bias)},
        advice=FEWER_TESTED,
    )
    scores = head.logits(features, task.test)
    right = sum(
        np.count_nonzero(_decide(found, several=task.several) == task.truth(rows))
        for rows, found in head.blocks(features, task.train)
    )
    return Answer(
        predictions=_decide(scores, several=task.several),
        scores=scores,
        columns=np.arange(len(head.bias)),
        criterion="train_accuracy",
        chosen=right / task.truth(task.train).size,
    )


def describe_head(what: str) -> str:
    """Return the protocol in words; `what` says which features the classifier takes."""
    return f"the network's own classifier ({what}), trained with it on the labels"


def _decide(logits: Floats, *, several: bool) -> NDArray[np.integer]:
    return (logits > 0).astype(np.uint8) if several else logits.argmax(axis=1)
