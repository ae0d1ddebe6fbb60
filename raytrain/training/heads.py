"""The classifiers that supervised pathways were trained with, from their checkpoints."""

from collections.abc import Mapping

import torch
from torch import Tensor

from raytrain.checkpoint import load_checkpoint
from raytrain.config.objectives import SupervisedConfig
from raytrain.evaluation.features import control_name
from raytrain.evaluation.head import Head
from raytrain.training.plan import RunSetup
from raytrain.training.recorder import write_note


def trained_heads(setup: RunSetup, steps: Mapping[str, int]) -> dict[str, Head]:
    """Return each supervised pathway's classifier and that of its initial weights, by name of the features.

    `steps`: which step each pathway's features are of. One whose checkpoint of that step is gone (it was
    trained on since) has none, and log.txt says so: newer weights would not fit the features.
    """
    found: dict[str, Head] = {}
    for name in setup.config.probed:
        objective = setup.config.pathways[name].objective
        if not isinstance(objective, SupervisedConfig):
            continue
        checkpoint = load_checkpoint(setup.checkpoints(name) / f"step-{steps[name]:08d}")
        if checkpoint is None:
            text = (
                f"{name}: its own classifier is not measured: its features are of step {steps[name]}, of "
                f"which no checkpoint is left; `raytrain represent {setup.folder}` makes newer features"
            )
            write_note(setup.folder, text)
            continue
        initial = setup.pathway(name, torch.device("cpu")).state_tensors()
        found[name] = _head(checkpoint.tensors, objective)
        found[control_name(name)] = _head(initial, objective)
    return found


def _head(tensors: Mapping[str, Tensor], objective: SupervisedConfig) -> Head:
    weight, bias = (
        tensors[f"objective.classifier.{part}"].detach().float().numpy() for part in ("weight", "bias")
    )
    return Head(weight=weight, bias=bias, mode="pooled" if objective.pool == "mean" else "flat")
