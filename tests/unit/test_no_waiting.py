"""A step copies nothing to or from the device in a way that waits for it: counted by a hook on the calls."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pipelines.forms.randomness import hash_keys
from pipelines.stream.batch import Batch
from pipelines.views.operators import build_operator
from pipelines.views.standardise import Standardiser
from raytrain.config import from_mapping
from raytrain.pathway import Pathway

READS = {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "nonzero"}
MAKERS = {"tensor", "as_tensor", "new_tensor"}


class Waits(TorchFunctionMode):
    """Notes every call that would wait for a GPU: values read back, host values sent, copies that block."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        given = (*args[1:], *kwargs.values())
        moves = name == "to" and any(isinstance(value, torch.device) for value in given)
        if (
            name in READS
            or (name in MAKERS and kwargs.get("device") is not None)
            or (moves and not kwargs.get("non_blocking"))
        ):
            self.found.append(name)
        return function(*args, **kwargs)


def batch(size: int = 6, canvas: int = 40) -> Batch:
    rng = np.random.default_rng(0)
    keys = [str(number) for number in range(size)]
    return Batch(
        epoch=0,
        step=0,
        keys=keys,
        key_hashes=hash_keys(keys),
        positions=np.arange(size),
        valid=np.ones(size, np.bool_),
        groups=np.arange(size),
        labels=torch.arange(size) % 2,
        factors=torch.zeros(size, 0),
        pixels=torch.from_numpy(rng.integers(0, 256, (size, 3, canvas, canvas), np.uint8)),
    )


def pathway(objective: dict[str, Any], operator: str) -> Pathway:
    encoder = {"name": "vgg6", "width": 0.0078125, "batch_norm": True}
    values = {"encoder": encoder, "operator": operator, "objective": objective}
    values["augmentation"] = {"crop_px": 32, "flip": True}
    config = from_mapping({"data": {"source": "shapes"}, "pathways": {"one": values}})
    channels = build_operator(config.pathways["one"].operator).channels
    return Pathway(
        "one",
        config.pathways["one"],
        seed=0,
        canvas_px=40,
        num_classes=2,
        device=torch.device("cpu"),
        training=config.training,
        standardiser=Standardiser(mean=[0.0] * channels, deviation=[1.0] * channels),
    )


@pytest.mark.parametrize("operator", ["identity", "lbp", "rg", "dtcwt"])
@pytest.mark.parametrize(
    "objective",
    [
        {"name": "clapp", "num_steps": 1},
        {"name": "clapp", "num_steps": 1, "feedback": True, "synchronous": True, "symmetric": False},
        {"name": "hinge_cpc", "num_steps": 1},
        {"name": "infonce", "num_steps": 1},
        {"name": "supervised"},
    ],
    ids=lambda value: "-".join(map(str, value.values())),
)
def test_a_step_waits_for_no_copy(objective: dict[str, Any], operator: str) -> None:
    trained, given = pathway(objective, operator), batch()
    trained.step(given)  # what is found once
    trained._defers_check = True  # as on a GPU
    with Waits() as waits:
        trained.step(given)
    assert waits.found == []


def test_the_hook_sees_what_waits() -> None:
    values = torch.ones(3)
    with Waits() as waits:
        values.to(torch.device("cpu"))
        values.to(device=torch.device("cpu"), non_blocking=True)
        values.to(torch.float64)
        torch.tensor([1.0], device=torch.device("cpu"))
        assert values.sum().item() == 3
        assert isinstance(values, Tensor)
        bool(values[0])
    assert waits.found == ["to", "tensor", "item", "__bool__"]
