"""Health of a pathway's layers without labels: figures of a logged step, and warnings in words.

Figures of a layer, of one batch: `score` mean |score|; `active_positive`, `active_negative` share of the
hinge terms of each kind that are not 0; `dead` share of the units that are 0 on the whole batch; `rms` root
mean square of the representation; `rank` its effective rank. A figure that an objective does not define, or
that the batch does not (no positive term was drawn), is absent.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Figures = dict[str, float]
Health = dict[str, Figures]

RANK_ROWS = 256
GRACE_LINES = 3
"""logged lines of a process that are looked at, but not judged"""
SCORE_FLOOR = 1e-3
SCORE_GROWTH = 1.05
"""a score that grows by this factor a line is not stuck: it is leaving 0"""
DEAD_SHARE = 0.9
RANK_FLOOR = 1.5
"""a net without batch norm that does learn passes through 1.8"""
RANK_CHANNELS = 16
ACTIVE_SHARE = 0.01
"""below it a kind of hinge terms counts as inactive, above 1 - it as wholly active"""
RMS_CEILING = 1e3


class HealthMeter:
    """Measures the layers of one step without waiting for the device; `read` waits, once.

    It only looks: no gradient, no random draw, nothing is written to. With several ranks it sees its own
    rank's share of the batch. An observed step costs one more forward pass of the scores and, a layer, the
    Gram matrix of at most RANK_ROWS locations; the eigenvalues are taken on the CPU. That is 5 % of a CPU
    step of gtsrb-small (vgg6 at 1/16 width), half a percent of training with log_every = 10.

    Example:
        meter = HealthMeter()
        losses = pathway.step(batch, watch=meter).losses
        values, health = meter.read(losses)
    """

    def __init__(self) -> None:
        self._layers: list[tuple[int, tuple[str, ...], Tensor, Tensor]] = []

    @torch.no_grad()
    def __call__(self, layer: int, representation: Tensor, scores: dict[str, Tensor]) -> None:
        """Measure one layer: `representation` f[R, B, Q, C], `scores` what its objective says of them."""
        units = representation.detach().flatten(0, 2)
        with torch.autocast(units.device.type, enabled=False):
            figures = {
                **scores,
                "dead": (units == 0).all(0).double().mean(),
                "rms": torch.linalg.vector_norm(units, dtype=torch.float64) / math.sqrt(units.numel()),
            }
            values = torch.stack([value.double() for value in figures.values()])
            self._layers.append((layer, tuple(figures), values, _gram(units)))

    def read(self, losses: Tensor) -> tuple[list[float], Health]:
        """Return the losses, and the figures by layer (`layer1` ...), in one copy from the device."""
        parts = [losses.double()]
        for _, _, values, gram in self._layers:
            parts += [values, gram.flatten()]
        pieces = iter(torch.split(torch.cat(parts).cpu(), [part.numel() for part in parts]))
        losses_here = next(pieces).tolist()
        health: Health = {}
        for layer, names, _, gram in self._layers:
            figures = dict(zip(names, next(pieces).tolist(), strict=True))
            figures["rank"] = _effective_rank(next(pieces).view_as(gram))
            health[f"layer{layer + 1}"] = {
                name: float(f"{value:.5g}") for name, value in figures.items() if math.isfinite(value)
            }
        return losses_here, health


def effective_rank(rows: Tensor) -> float:
    """Return exp of the entropy of the normalised singular values of f[N, C], not centred; 0 of zeros.

    Between 1 (all rows along one direction) and min(N, C). Of more than RANK_ROWS rows that many are taken,
    spread over all of them, so it is at most RANK_ROWS.

    Source: Roy, Vetterli 2007, "The effective rank: a measure of effective dimensionality".
    """
    return _effective_rank(_gram(rows).cpu())


def _gram(rows: Tensor) -> Tensor:
    """Return the smaller Gram matrix of some rows in float64: its eigenvalues are squared singular values."""
    num_rows = len(rows)
    if num_rows > RANK_ROWS:
        rows = rows.index_select(0, _spread(num_rows, rows.device))
    chosen = rows.double()
    return chosen @ chosen.T if len(chosen) < chosen.shape[1] else chosen.T @ chosen


def _spread(num_rows: int, device: torch.device) -> Tensor:
    """Return RANK_ROWS different rows at golden-ratio strides: they favour no image and no column."""
    stride = round(num_rows * 0.618)
    while math.gcd(stride, num_rows) > 1:
        stride += 1
    return torch.arange(RANK_ROWS, device=device) * stride % num_rows


def _effective_rank(gram: Tensor) -> float:
    if not gram.isfinite().all():
        return math.nan
    squares = torch.linalg.eigvalsh(gram)
    rounding = squares[-1] * torch.finfo(gram.dtype).eps * len(gram)
    values = squares[squares > rounding].sqrt()
    shares = values / values.sum()
    return float(torch.exp(-(shares * shares.log()).sum())) if len(values) else 0.0


@dataclass(frozen=True)
class _Layer:
    """What a rule looks at."""

    figures: Figures
    before: Figures
    """of the logged line before"""
    channels: int

    def get(self, name: str, otherwise: float) -> float:
        """Return a figure, or what spares the layer where it is absent."""
        return self.figures.get(name, otherwise)


@dataclass(frozen=True)
class _Rule:
    kind: str
    holds: Callable[[_Layer], bool]
    says: Callable[[_Layer], str]
    advice: str


def _near_zero(layer: _Layer) -> bool:
    """Whether the scores are stuck at 0 and every hinge term at 1: loss 2, or 4 with two sets of weights.

    Read off the terms, not the loss: that is another number with feedback, or where one sign was drawn only.
    """
    score = layer.get("score", 1.0)
    active = min(layer.get("active_positive", 1.0), layer.get("active_negative", 1.0)) > 1 - ACTIVE_SHARE
    stuck = score <= SCORE_GROWTH * layer.before.get("score", score)
    return score < SCORE_FLOOR and active and stuck


def _saturated(layer: _Layer) -> bool:
    return max(layer.get("active_positive", 1.0), layer.get("active_negative", 1.0)) < ACTIVE_SHARE


RULES = (
    _Rule(
        "near zero",
        _near_zero,
        lambda layer: (
            f"collapsed: representation near zero (mean |score| {layer.figures['score']:.2g}, not growing; "
            f"rms {layer.figures['rms']:.2g}; the loss is that of scores of 0)"
        ),
        "lower optimizer.learning_rate; optimizer.weight_decay pushes there, set it to 0; or set "
        "encoder.batch_norm = true",
    ),
    _Rule(
        "dead",
        lambda layer: layer.get("dead", 0.0) > DEAD_SHARE,
        lambda layer: f"dead: {layer.figures['dead']:.0%} of the units are 0 on the whole batch",
        "lower optimizer.learning_rate and optimizer.weight_decay, or set encoder.batch_norm = true",
    ),
    _Rule(
        "one direction",
        lambda layer: layer.channels >= RANK_CHANNELS and 0 < layer.get("rank", RANK_FLOOR) < RANK_FLOOR,
        lambda layer: (
            f"collapsed to one direction: effective rank {layer.figures['rank']:.2f} of {layer.channels} "
            "channels"
        ),
        "lower optimizer.learning_rate, or set encoder.batch_norm = true",
    ),
    _Rule(
        "large",
        lambda layer: layer.get("rms", 0.0) > RMS_CEILING,
        lambda layer: f"growing without bound: rms {layer.figures['rms']:.2g}",
        "lower optimizer.learning_rate, or set encoder.batch_norm = true",
    ),
    _Rule(
        "saturated",
        _saturated,
        lambda layer: (
            f"saturated: no gradient left (active hinge terms: {layer.figures['active_positive']:.1%} of the "
            f"positive, {layer.figures['active_negative']:.1%} of the negative)"
        ),
        "lower optimizer.learning_rate, or stop earlier; with negatives this easy look for a shortcut "
        "(`raytrain inspect --shortcut`)",
    ),
)
"""in this order; a layer gets the first that holds"""


class HealthJudge:
    """Says each thing once a layer: when a rule holds on two logged lines in a row, after GRACE_LINES.

    Two lines, because a batch may be odd and a layer that starts near zero may be leaving it.
    """

    def __init__(self) -> None:
        self._lines = 0
        self._before: Health = {}
        self._held: dict[str, str] = {}
        self._said: set[tuple[str, str]] = set()

    def take(self, line: dict[str, Any], *, channels: tuple[int, ...]) -> list[dict[str, str]]:
        """Take a pathway's logged line; return the new warnings: `layer`, `kind` of the rule, `text`.

        `channels`: of each layer's representation.
        """
        self._lines += 1
        warnings = []
        for name, figures in line["health"].items():
            width = channels[int(name.removeprefix("layer")) - 1]
            layer = _Layer(figures, self._before.get(name, {}), width)
            rule = next((rule for rule in RULES if rule.holds(layer)), None)
            held = self._held.get(name)
            self._held[name] = rule.kind if rule else ""
            new = rule is not None and rule.kind == held and (name, rule.kind) not in self._said
            if rule is not None and new and self._lines > GRACE_LINES:
                self._said.add((name, rule.kind))
                text = f"{line['pathway']} {name}: {rule.says(layer)}; {rule.advice}"
                warnings.append({"layer": name, "kind": rule.kind, "text": text})
        self._before = line["health"]
        return warnings


def summarise(lines: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return summary.json's `health` (each pathway's last figures) and `warnings` of the logged lines."""
    last: dict[str, dict[str, Any]] = {}
    warnings: dict[tuple[str, str, str], str] = {}
    for line in lines:
        if "health" in line:
            last[line["pathway"]] = line
        for warning in line.get("warnings", []):
            warnings.setdefault((line["pathway"], warning["layer"], warning["kind"]), warning["text"])
    health = [
        {"pathway": name, "layer": layer, "step": line["step"], **figures}
        for name, line in last.items()
        for layer, figures in line["health"].items()
    ]
    return {"health": health, "warnings": list(warnings.values())}
