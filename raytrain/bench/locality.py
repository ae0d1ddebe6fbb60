"""What locality is worth: the memory of a training step against depth, clapp beside hinge_cpc end to end.

A local objective goes backward layer by layer and holds one layer's activity; back-propagation holds that of
all layers. The stack is made of equal layers, so that depth is the only change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.views.standardise import Standardiser
from raytrain.bench.clapp import CANVAS_PX, SEED, random_batch
from raytrain.bench.memory import peak_bytes
from raytrain.config import ClappConfig, HingeCpcConfig, IdentityConfig, PathwayConfig, TrainingConfig
from raytrain.encoders import ENCODERS, Encoder, Layer
from raytrain.errors import StorageError
from raytrain.pathway import Pathway

DEPTHS = (6, 12, 24)
OBJECTIVES: dict[str, ClappConfig | HingeCpcConfig] = {"clapp": ClappConfig(), "hinge_cpc": HingeCpcConfig()}
FLAT, RISE = 1.1, 2.5
"""bounds of the memory of the deepest stack by that of the shallowest: clapp below, hinge_cpc above"""
_COLOURS = {"clapp": "#1f6f8b", "hinge_cpc": "#c4572e"}


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Equal layers: 3 x 3 convolution and ReLU, no pool."""

    depth: int
    channels: int
    name: str = "bench_stack"


def run(
    *,
    device: str = "cpu",
    repeats: int = 1,
    depths: Sequence[int] = DEPTHS,
    channels: int = 32,
    batch_size: int = 16,
    out: str = "",
) -> list[dict[str, Any]]:
    """Return a row for each objective and depth: MiB that a step needs above weights and optimiser state.

    Gradients, kept until the one update, are in it. `against` is the same objective at the first depth,
    `bound` what `ratio` must keep to at the last. On the CPU the bytes of all tensors alive are counted, on
    CUDA the allocator is asked; neither varies, so `repeats` changes nothing. `out`: a folder for the plot,
    locality.png and locality.svg.
    """
    curves = {
        name: [_step_mib(name, depth, channels, batch_size, torch.device(device)) for depth in depths]
        for name in OBJECTIVES
    }
    if out:
        draw(curves, depths, Path(out))
    return [row for name, values in curves.items() for row in _rows(name, depths, values)]


def _rows(name: str, depths: Sequence[int], values: list[float]) -> list[dict[str, Any]]:
    rows = [
        {
            "name": f"memory of a step, {name}, {depth} layers",
            "value": value,
            "unit": "MiB",
            "against": round(values[0], 1) if position else None,
            "ratio": value / values[0] if position else None,
            "bound": None,
        }
        for position, (depth, value) in enumerate(zip(depths, values, strict=True))
    ]
    rows[-1]["bound"] = f"<= {FLAT}" if name == "clapp" else f">= {RISE}"
    return rows


def _step_mib(name: str, depth: int, channels: int, batch_size: int, device: torch.device) -> float:
    """Return the peak of the second step: the first one makes the optimiser's state."""
    pathway = _pathway(name, StackConfig(depth=depth, channels=channels), device)
    first, second = (random_batch(batch_size, step=step).to(device) for step in range(2))
    pathway.step(first)
    if device.type != "cuda":
        return peak_bytes(lambda: pathway.step(second)) / 2**20
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    pathway.step(second)
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _pathway(name: str, stack: StackConfig, device: torch.device) -> Pathway:
    encoder: Any = stack  # of the bench alone: known to the registry only while the pathway is built
    ENCODERS[stack.name] = _build_stack
    try:
        return Pathway(
            name,
            PathwayConfig(operator=IdentityConfig(), objective=OBJECTIVES[name], encoder=encoder),
            seed=SEED,
            canvas_px=CANVAS_PX,
            num_classes=0,
            device=device,
            training=TrainingConfig(),
            standardiser=Standardiser(mean=[0.5] * 3, deviation=[0.25] * 3),
        )
    finally:
        del ENCODERS[stack.name]


def _build_stack(config: StackConfig, *, in_channels: int) -> Encoder:
    widths = (in_channels, *[config.channels] * config.depth)
    return Encoder([Layer(a, b, pool=False) for a, b in pairwise(widths)], channels=widths[1:])


def draw(curves: dict[str, list[float]], depths: Sequence[int], folder: Path) -> None:
    """Write locality.png and locality.svg: memory in MiB against the number of layers, a line an objective.

    Raises:
        StorageError: the folder cannot be written.
    """
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, values in curves.items():
        axes.plot(depths, values, marker="o", color=_COLOURS[name], linewidth=2)
        label = f"{name}: {values[-1] / values[0]:.2f} x"
        axes.annotate(
            label,
            (depths[-1], values[-1]),
            (0, 9),
            textcoords="offset points",
            ha="right",
            color=_COLOURS[name],
        )
    axes.set_xticks(list(depths))
    axes.set_xlabel("layers")
    axes.set_ylabel("MiB above weights and optimiser state")
    axes.set_title("Memory of a training step", loc="left")
    axes.set_ylim(0, 1.15 * max(max(values) for values in curves.values()))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in ("png", "svg"):
            figure.savefig(folder / f"locality.{suffix}", dpi=150)
    except OSError as error:
        raise StorageError(
            f"{folder}: the plot cannot be written: {error.strerror}; name another --out"
        ) from None
