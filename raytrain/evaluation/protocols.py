"""The probes by name: how a question is answered, and how that is said in words."""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.typing import ArrayLike

from raytrain.evaluation.classifier import answer_classifier, describe_classifier
from raytrain.evaluation.knn import answer_knn, describe_knn
from raytrain.evaluation.logistic import answer_logistic, describe_logistic
from raytrain.evaluation.ridge import STRENGTHS, fit_ridge
from raytrain.evaluation.task import Answer, Question, Task, Words


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One probe."""

    answer: Callable[[Question], Answer]
    describe: Callable[[Task], Words]
    """what it does, in words"""


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
    "ridge": Protocol(answer=answer_ridge, describe=describe_ridge),
    "logistic": Protocol(answer=answer_logistic, describe=describe_logistic),
    "knn": Protocol(answer=answer_knn, describe=describe_knn),
    "classifier": Protocol(answer=answer_classifier, describe=describe_classifier),
}
