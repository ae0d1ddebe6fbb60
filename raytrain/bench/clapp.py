"""A CLAPP training step beside the plain form of the same mathematics: time, peak memory, operations.

The plain form sums all layers' losses, goes backward once through all of them and takes one Adam step: what
one writes first. Both start from the same weights, see the same patches and draw the same negatives.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipelines.forms.randomness import generator, hash_keys
from pipelines.stream.batch import Batch
from pipelines.views.cuts import Patches
from pipelines.views.operators import build_operator
from pipelines.views.standardise import Standardiser
from raytrain.bench.processes import peak_mib
from raytrain.config import ClappConfig, LbpConfig, PatchesConfig, PathwayConfig, TrainingConfig, Vgg6Config
from raytrain.encoders import Encoder, Layer, build_encoder
from raytrain.objectives import Objective, build_objective
from raytrain.objectives.scores import Pairs, draw_numbers, draw_signs
from raytrain.pathway import Pathway

Precision = Literal["fp32", "bf16"]
Step = Callable[[Batch], Tensor]
CANVAS_PX, SEED, NAME = 64, 0, "lbp"
TARGETS = {("time", "fp32"): 0.97, ("memory", "fp32"): 0.88, ("time", "bf16"): 0.5, ("memory", "bf16"): 0.7}
"""share of the plain fp32 form that a step may take: full width, batch 32, one thread of a CPU with bf16"""
MAX_OPERATIONS = 1000
H200_IMAGES_PER_S = 12_767
"""61.9 GFLOP an image at 790 TFLOP/s, vgg6 at full width with one input channel"""


def run(
    *,
    device: str = "cpu",
    repeats: int = 5,
    batch_size: int = 32,
    width: float = 1.0,
    precisions: Sequence[Precision] = ("fp32", "bf16"),
    channels_last: bool = True,
    compile_layers: bool = False,
) -> list[dict[str, Any]]:
    """Measure one step and return rows `name, value, unit, against, ratio, bound`.

    `against` is the plain form in fp32 (rows `vs plain bf16`: under the same autocast); `ratio` is value by
    against. `bound`: what the ratio should stay below, or for a count the value; for images/s the limit of
    the arithmetic, with `ratio` the share of it. `channels_last` is the setting training.channels_last of our
    step; the plain form never has it. On the CPU one thread is used and CPU time is reported, the median of
    `repeats` interleaved steps after one that does not count; a full-width step takes about 30 s.
    """
    settings = {"width": width, "channels_last": channels_last, "compile": compile_layers, "device": device}
    if device == "cuda":
        return [_images_per_s(settings, precision, batch_size, repeats) for precision in precisions]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [
            *_memory_rows(settings, precisions, batch_size),
            *_time_rows(settings, precisions, batch_size, repeats),
            *_operation_rows(precisions),
        ]
    finally:
        torch.set_num_threads(threads)


def random_batch(batch_size: int, *, step: int) -> Batch:
    """Return a batch of smooth random images."""
    rng = generator("bench", step)
    coarse = torch.from_numpy(rng.random((batch_size, 3, 8, 8), dtype=np.float32))
    images = F.interpolate(coarse, CANVAS_PX, mode="bilinear").mul(255).to(torch.uint8)
    keys = [f"{step}/{index}" for index in range(batch_size)]
    return Batch(
        epoch=0,
        step=step,
        keys=keys,
        key_hashes=hash_keys(keys),
        positions=np.arange(batch_size),
        valid=np.ones(batch_size, dtype=np.bool_),
        groups=np.zeros(batch_size, dtype=np.int64),
        labels=torch.full((batch_size,), -1),
        factors=torch.zeros(batch_size, 0),
        pixels=images,
    )


def pathway_step(settings: dict[str, Any], precision: Precision) -> Step:
    """Return the step under test."""
    pathway = Pathway(
        NAME,
        PathwayConfig(operator=LbpConfig(), encoder=Vgg6Config(width=settings["width"])),
        seed=SEED,
        canvas_px=CANVAS_PX,
        num_classes=0,
        device=torch.device(settings["device"]),
        training=TrainingConfig(
            precision=precision, channels_last=settings["channels_last"], compile=settings["compile"]
        ),
        standardiser=Standardiser(mean=[0.3], deviation=[0.25]),
    )
    return lambda batch: pathway.step(batch).losses


def plain_step(settings: dict[str, Any], precision: Precision) -> Step:
    """Return the plain form of the same step, on the CPU."""
    config, words = ClappConfig(), (SEED, NAME)
    encoder = build_encoder(Vgg6Config(width=settings["width"]), in_channels=1, seed_words=words)
    objective = build_objective(
        config, channels=encoder.channels, num_cells=49, num_classes=0, seed_words=words
    )
    adam = torch.optim.Adam([*encoder.parameters(), *objective.parameters()], lr=2e-4)
    operator, cut = build_operator(LbpConfig()), Patches(PatchesConfig())
    standardise = Standardiser(mean=[0.3], deviation=[0.25])

    def step(batch: Batch) -> Tensor:
        patches = cut(standardise(operator(batch.pixels)))
        signs, images = _plain_draws(config, patches.shape, batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            losses = _plain_losses(encoder, objective, patches, signs, images)
        adam.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        adam.step()
        return losses.detach()

    return step


def _plain_draws(config: ClappConfig, shape: torch.Size, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the pathway's own draws: signs [6, 2, B] and, for each step, the negative image [6, 2, K, B]."""
    pairs = Pairs(
        num_rows=shape[0],
        num_images=shape[1],
        num_columns=shape[2],
        num_steps=config.num_steps,
        skip=config.skip,
    )
    rng = generator("negatives", SEED, NAME, batch.epoch, batch.step, 0)
    coins, numbers = draw_signs(rng, pairs, config, (6, 2)), draw_numbers(rng, pairs, config, (6, 2))
    assert coins is not None
    firsts = np.cumsum([0, *pairs.step_sizes[:-1]])[:, None] + np.arange(shape[1]) * shape[2]
    return torch.from_numpy(coins), torch.from_numpy(numbers[..., 0, firsts])


def _plain_losses(
    encoder: Encoder, objective: Objective, patches: Tensor, signs: Tensor, images: Tensor
) -> Tensor:
    maps, losses = patches.flatten(0, 2), []
    for index, layer in enumerate(encoder.layers):
        assert isinstance(layer, Layer)
        maps = F.relu(F.conv2d(maps.detach(), layer.conv.weight, layer.conv.bias, padding=1))
        maps = F.max_pool2d(maps, 2) if layer.pool else maps
        cells = maps.mean((2, 3)).view(*patches.shape[:3], -1)
        weight, mirror_weight = objective.layer_parameters(index)
        first, second = zip(signs[index], images[index], strict=True)
        losses.append(
            _plain_loss(cells.detach(), cells, weight, *first)
            + _plain_loss(cells, cells.detach(), mirror_weight, *second)
        )
    return torch.stack(losses)


def _plain_loss(
    contexts: Tensor, targets: Tensor, weights: Tensor, signs: Tensor, negatives: Tensor
) -> Tensor:
    """The hinge loss as one reads it: cells [R, B, Q, C], weights [K, C, C], signs [B], negatives [K, B]."""
    terms = []
    for k, matrix in enumerate(weights):
        context = contexts[: -k - 2]
        mapped = F.linear(targets[k + 2 :], matrix)
        positive = F.relu(1 - (context * mapped).sum(-1)).float().mean((0, 2))
        negative = F.relu(1 + (context * mapped[:, negatives[k]]).sum(-1)).float().mean((0, 2))
        for term, chosen in ((positive, signs > 0), (negative, signs < 0)):
            if chosen.any():
                terms.append(term[chosen].mean())
    return torch.stack(terms).sum() / len(weights)


def _kinds(precisions: Sequence[Precision]) -> list[tuple[str, Precision]]:
    """Return the forms to measure; the plain one in fp32 is always among them."""
    plain: list[Precision] = ["fp32", *(p for p in precisions if p != "fp32")]
    return [("plain", p) for p in plain] + [("raytrain", p) for p in precisions]


def _build(kind: tuple[str, Precision], settings: dict[str, Any]) -> Step:
    return (plain_step if kind[0] == "plain" else pathway_step)(settings, kind[1])


def _time_rows(
    settings: dict[str, Any], precisions: Sequence[Precision], batch_size: int, repeats: int
) -> list[dict[str, Any]]:
    steps = {kind: _build(kind, settings) for kind in _kinds(precisions)}
    seconds: dict[tuple[str, Precision], list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        batch = random_batch(batch_size, step=repeat)
        for name, step in steps.items():
            start = time.process_time()
            step(batch)
            seconds[name] += [time.process_time() - start] if repeat else []
    medians: dict[tuple[str, Precision], float] = {
        name: statistics.median(values) for name, values in seconds.items()
    }
    return _compare("CPU time a step", "s", medians, precisions, "time")


def _memory_rows(
    settings: dict[str, Any], precisions: Sequence[Precision], batch_size: int
) -> list[dict[str, Any]]:
    peaks = {kind: _peak_in_a_process(settings, kind, batch_size) for kind in _kinds(precisions)}
    return _compare("peak memory of a step", "MiB", peaks, precisions, "memory")


def _compare(
    name: str,
    unit: str,
    values: Mapping[tuple[str, Precision], float],
    precisions: Sequence[Precision],
    what: str,
) -> list[dict[str, Any]]:
    rows = []
    for p in precisions:
        ours, plain, same = values["raytrain", p], values["plain", "fp32"], values["plain", p]
        rows.append(_row(f"{name}, {p}", ours, unit, plain, TARGETS[what, p]))
        if p != "fp32":
            rows.append(_row(f"{name}, {p} vs plain {p}", ours, unit, same, None))
    return rows


def _row(name: str, value: float, unit: str, against: float | None, bound: float | None) -> dict[str, Any]:
    ratio = value / against if against else None
    return {"name": name, "value": value, "unit": unit, "against": against, "ratio": ratio, "bound": bound}


def _peak_in_a_process(settings: dict[str, Any], kind: tuple[str, Precision], batch_size: int) -> float:
    """Return the growth of the resident set in MiB over two steps in a process of their own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_peak, args=(sender, settings, kind, batch_size))
    process.start()
    sender.close()
    try:
        peak: float = receiver.recv()
    except EOFError:
        raise RuntimeError(f"the process that measured {' '.join(kind)} ended without a result") from None
    finally:
        process.join()
    return peak


def _send_peak(
    sender: Connection, settings: dict[str, Any], kind: tuple[str, Precision], batch_size: int
) -> None:
    torch.set_num_threads(1)
    batches = [random_batch(batch_size, step=step) for step in range(2)]
    before = peak_mib()
    step = _build(kind, settings)
    for batch in batches:
        step(batch)
    sender.send(peak_mib() - before)


class _CountOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        returns = function._schema.returns
        view = bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        self.count += not view
        return function(*args, **(kwargs or {}))


def _operation_rows(precisions: Sequence[Precision]) -> list[dict[str, Any]]:
    """Count dispatched operations that are no views; they depend on neither width nor batch size."""
    rows = []
    small = {"width": 1 / 32, "channels_last": False, "compile": False, "device": "cpu"}
    for precision in precisions:
        counts = []
        for step in (pathway_step(small, precision), plain_step(small, precision)):
            step(random_batch(4, step=0))
            with _CountOperations() as counted:
                step(random_batch(4, step=1))
            counts.append(float(counted.count))
        rows.append(
            _row(f"operations a step, {precision}", counts[0], "operations", counts[1], MAX_OPERATIONS)
        )
    return rows


def _images_per_s(
    settings: dict[str, Any], precision: Precision, batch_size: int, repeats: int, steps: int = 10
) -> dict[str, Any]:
    step = pathway_step(settings, precision)
    batches = [random_batch(batch_size, step=index).to(torch.device("cuda")) for index in range(steps)]
    rates = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for batch in batches:
            step(batch)
        torch.cuda.synchronize()
        rates.append(batch_size * steps / (time.perf_counter() - start))
    bound = H200_IMAGES_PER_S if settings["width"] == 1.0 else None
    name = f"images trained, {precision}, batch {batch_size}"
    rate = statistics.median(rates[1:])
    return {**_row(name, rate, "images/s", None, bound), "ratio": rate / bound if bound else None}
