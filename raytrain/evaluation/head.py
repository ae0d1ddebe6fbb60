"""A supervised network's own classifier: what it says of the features that it was trained on top of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import DataError
from raytrain.evaluation.factor import Floats, Integers
from raytrain.evaluation.features import BLOCK_BYTES, Features, Mode
from raytrain.evaluation.task import Answer, Task

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
        width, expected = features.width(self.mode), self.weight.shape[1]
        if width != expected:
            raise DataError(
                f"features {features.name}: {width} a sample, but the network's classifier takes {expected}; "
                "run represent again"
            )
        found = np.empty((len(rows), len(self.bias)))
        step = max(1, BLOCK_BYTES // (4 * width))
        for start in range(0, len(rows), step):
            values = features.read(rows[start : start + step], self.mode)
            found[start : start + step] = values @ self.weight.T + self.bias
        return found


def answer_head(task: Task, features: Features, head: Head) -> Answer:
    """Return what a network's own classifier says: the highest logit, or the labels whose sigmoid is over .5.

    Nothing is chosen; `train_accuracy` (mean of the labels where there are several) is there to be compared.
    """
    scores = head.logits(features, task.test)
    seen = _decide(head.logits(features, task.train), several=task.several)
    return Answer(
        predictions=_decide(scores, several=task.several),
        scores=scores,
        columns=np.arange(len(head.bias)),
        criterion="train_accuracy",
        chosen=float(np.mean(seen == task.truth(task.train))),
    )


def describe_head(what: str) -> str:
    """Return the protocol in words; `what` says which features the classifier takes."""
    return f"the network's own classifier ({what}), trained with it on the labels"


def _decide(logits: Floats, *, several: bool) -> NDArray[np.integer]:
    return (logits > 0).astype(np.uint8) if several else logits.argmax(axis=1)
