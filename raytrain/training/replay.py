"""One training step again: from the nearest earlier checkpoint, bit by bit, and looked at from inside."""

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.forms.chunk import Chunk
from pipelines.modalities import modality_of
from pipelines.order.plan import BatchPlan, Cursor
from pipelines.stream.batch import Batch, BatchReader
from pipelines.stream.stage import OperatorStage, StageSettings, staged_name
from pipelines.views.views import Operated
from raytrain.checkpoint import load_checkpoint
from raytrain.config.stems import LearntEstConfig, NoStemConfig
from raytrain.cpu import prepare_cpu
from raytrain.device import device_here
from raytrain.errors import ConfigError, DivergedError
from raytrain.health import Health, HealthMeter
from raytrain.pathway import Pathway
from raytrain.training.blame import blame
from raytrain.training.observe import StepObserver, TensorFigures
from raytrain.training.paths import METRICS
from raytrain.training.plan import RunSetup
from raytrain.training.run_folder import check_pathway, check_seed

SAY_EVERY_S = 15.0

Say = Callable[[str], Any]
Logged = dict[int, dict[str, Any]]
"""lines of metrics.jsonl by step"""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A step as it was trained, on one rank's share of the batch."""

    pathway: str
    step: int
    """as metrics.jsonl counts: 1 is the first"""
    cursor: Cursor
    """its place: epoch, and batch of it from 0"""
    steps_per_epoch: int
    """of its epoch"""
    rank: int
    num_ranks: int
    keys: list[str]
    """of the samples that were trained on"""
    left_out: list[str]
    """keys of those that could not be decoded"""
    sequence_hash: str
    """which sample stands at which position"""
    logged_hash: str | None
    logged_before: bool
    """by an earlier version, whose hash of a batch knew no order"""
    losses: dict[str, float]
    """by layer, mean over the ranks; of this rank alone where the step diverged"""
    logged_losses: dict[str, float] | None
    health: Health
    figures: list[TensorFigures]
    diverged: str
    """what training says of it; empty: the step went through"""
    first_bad: TensorFigures | None
    blamed: list[int]
    """places among `keys`"""
    verdict: str
    num_agreed: int
    """logged steps on the way that came out bitwise the same"""
    first_other: int | None
    """the first logged step on the way that did not"""
    images: NDArray[np.uint8]
    """u8[B, 3, H, W], on the canvas; of recordings how many events, brighter ones red, darker ones blue"""
    augmented: NDArray[np.uint8]
    """u8[B, 3, h, w], augmented"""
    maps: NDArray[np.float32] | None
    """f32[B, C, h, w], what the operator or stem makes of them; None where a stem makes vectors"""
    num_polarities: int
    """of the maps of recordings, darker first; 0: maps of images or clips"""


def check_step(setup: RunSetup, name: str, step: int) -> None:
    """Raise ConfigError for a pathway or a step that the run does not have."""
    check_pathway(setup, name)
    plan, last = setup.plan(name), setup.num_steps(name)
    if 1 <= step <= last:
        return
    counts = {plan.num_steps(epoch) for epoch in range(setup.config.epochs(name))}
    told = f"{min(counts)} to {max(counts)} an epoch"
    if len(counts) == 1:
        an_epoch = counts.pop()
        told = f"{an_epoch} an epoch (batch b of epoch e, both from 0, is step e x {an_epoch} + b + 1)"
    raise ConfigError(f"--step is {step}; pathway {name} has steps 1 to {last}, {told}")


def replay_step(setup: RunSetup, name: str, step: int, *, rank: int = 0, say: Say = print) -> Replay:
    """Replay one rank of a pathway up to a step and look at that step; nothing of the run is written.

    A step on the way that diverges is looked at instead. All ranks of a pathway must call it together.

    Raises:
        ConfigError: an unknown pathway or step.
    """
    check_step(setup, name, step)
    say = say if rank == 0 else _silent
    prepare_cpu(threads=setup.config.training.threads_per_worker)
    device = device_here(setup.device)
    pathway = _uncompiled(setup).pathway(name, device)
    plan, logged = setup.plan(name, rank), read_logged(setup.folder, name, rank)
    done = _restore_before(setup, pathway, step, say)
    _announce(setup, name, done, step, logged, say)
    take = _chunks(setup, name)
    reader = BatchReader(plan, take, setup.config.pathways[name])
    agreed, other, said = 0, None, time.monotonic()
    for number in range(done + 1, step + 1):
        batch = reader.read(plan.cursor_at(number - 1)).to(device)
        if number == step:
            break
        try:
            losses = pathway.step(batch, rank=rank).losses.tolist()
            pathway.check()
        except DivergedError:
            say(f"step {number} diverges before step {step} is reached: it is looked at instead")
            break
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            say(f"step {number} of {step}")
        if "losses" in logged.get(number, {}):
            same = losses == list(logged[number]["losses"].values())
            agreed, other = agreed + same, other or (None if same else number)
    found = _look(setup, pathway, plan, batch, number, logged)
    return dataclasses.replace(found, num_agreed=agreed, first_other=other)


def read_logged(folder: Path, name: str, rank: int) -> Logged:
    """Return a pathway's logged lines of one rank by step; a line that a kill cut off is left out."""
    found: Logged = {}
    path = folder / METRICS
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line.get("pathway") == name and line.get("rank", 0) == rank:
            found[line["step"]] = line
    return found


def _uncompiled(setup: RunSetup) -> RunSetup:
    """Return the setup without compilation, which hides what happens within a layer."""
    training = dataclasses.replace(setup.config.training, compile=False)
    return dataclasses.replace(setup, config=dataclasses.replace(setup.config, training=training))


def _restore_before(setup: RunSetup, pathway: Pathway, step: int, say: Say) -> int:
    """Load the newest whole checkpoint from before a step; return the steps done, 0: initial weights."""
    for folder in sorted(setup.checkpoints(pathway.name).glob("step-*"), reverse=True):
        if int(folder.name.removeprefix("step-")) >= step:
            continue
        checkpoint = load_checkpoint(folder)
        if checkpoint is None:
            say(f"{folder} is damaged and passed over")
            continue
        check_seed(setup, checkpoint)
        pathway.load_state_tensors(checkpoint.tensors)
        return checkpoint.step
    return 0


def _announce(setup: RunSetup, name: str, done: int, step: int, logged: Logged, say: Say) -> None:
    start = f"from the checkpoint of step {done}" if done else "from the initial weights"
    rates = [line["samples_per_s"] for line in logged.values() if line.get("samples_per_s")]
    plan = setup.plan(name)
    shares = [len(plan.positions(plan.cursor_at(number))) for number in range(done, step)]
    seconds = sum(shares) * plan.num_workers / float(np.median(rates)) if rates else None
    estimate = f"about {max(1, round(seconds))} s at the run's pace" if seconds else "the run logged no pace"
    say(f"{name}: replaying {step - done} step(s), {done + 1} to {step}, {start}; {estimate}")
    if setup.config.training.compile:
        say("training.compile is left out: the figures may differ from the log in the last digits")


def _chunks(setup: RunSetup, name: str) -> Callable[[int], Chunk]:
    """Return what makes a pathway's chunks as training did; the cache is neither read nor written."""
    config = setup.config.pathways[name]
    source = dataclasses.replace(setup.source(config.stream), cache_folder="")
    if config.placement != "stream":
        return source.chunk
    staged = {staged_name(config): config}
    device = device_here(setup.device).type
    stage = OperatorStage(
        StageSettings(staged, setup.config.data.canvas_px, setup.config.seed, device=device)
    )
    return lambda number: stage.operate(source.chunk(number))


def _look(
    setup: RunSetup, pathway: Pathway, plan: BatchPlan, batch: Batch, step: int, logged: Logged
) -> Replay:
    """Take the step under observation; where something is not finite, once more to find the samples."""
    before = {key: value.detach().clone() for key, value in pathway.state_tensors().items()}
    observer, meter = StepObserver(pathway), HealthMeter()
    trained = batch.without_invalid()
    pictures = _note_inputs(setup, pathway, trained, observer)
    pathway.optimizer.drop_gradients()  # of a step that diverged
    losses, diverged = _observed_step(pathway, batch, plan.rank, observer, meter)
    if not diverged:
        _note_updates(observer, before, pathway.state_tensors())
    bad, blamed, verdict = observer.first_bad, list[int](), ""
    if bad is not None:
        call = None
        if plan.num_workers == 1:  # ranks would have to search together
            keeping = StepObserver(pathway, keep=_kept_layer(pathway, bad))
            _take_back(pathway, before)
            _observed_step(pathway, batch, plan.rank, keeping, None)
            _take_back(pathway, before)
            call = keeping.call
        blamed, verdict = blame(bad, num_samples=len(trained), pathway=pathway, call=call)
    if observer.stem_maps is not None and observer.stem_maps.shape[-2:].numel() > 1:
        pictures["maps"] = observer.stem_maps.float().cpu().numpy()
    own = {f"layer{layer + 1}": loss for layer, loss in sorted(observer.losses.items())}
    line = logged.get(step, {})
    return Replay(
        pathway=pathway.name,
        step=step,
        cursor=plan.cursor_at(step - 1),
        steps_per_epoch=plan.num_steps(batch.epoch),
        rank=plan.rank,
        num_ranks=plan.num_workers,
        keys=trained.keys,
        left_out=[key for key, valid in zip(batch.keys, batch.valid, strict=True) if not valid],
        sequence_hash=batch.sequence_hash,
        logged_hash=line.get("sequence_hash"),
        logged_before="batch_hash" in line,
        losses=losses or own,
        logged_losses=line.get("losses"),
        health=meter.read(torch.zeros(1, device=pathway.device))[1],
        figures=observer.figures,
        diverged=diverged,
        first_bad=bad,
        blamed=blamed,
        verdict=verdict,
        num_agreed=0,
        first_other=None,
        **pictures,
    )


def _observed_step(
    pathway: Pathway, batch: Batch, rank: int, observer: StepObserver, meter: HealthMeter | None
) -> tuple[dict[str, float], str]:
    """Return (losses by layer, "") or ({}, what training says when it diverges)."""
    try:
        with observer.attached():
            result = pathway.step(batch, rank=rank, watch=meter)
        pathway.check()
    except DivergedError as error:
        return {}, str(error).partition("; stopped")[0]
    return dict(zip(pathway.loss_names, result.losses.tolist(), strict=True)), ""


def _take_back(pathway: Pathway, before: dict[str, Tensor]) -> None:
    pathway.optimizer.drop_gradients()
    pathway.load_state_tensors(before)


def _kept_layer(pathway: Pathway, bad: TensorFigures) -> int:
    layers = pathway.objective.layers
    return bad.layer if pathway.objective.local and bad.layer is not None else layers[-1]


@torch.no_grad()
def _note_inputs(setup: RunSetup, pathway: Pathway, batch: Batch, observer: StepObserver) -> dict[str, Any]:
    """Note what the step reads; return `images`, `augmented`, `maps` and `num_polarities` of a `Replay`."""
    config = setup.config.pathways[pathway.name]
    canvas_px = setup.config.data.canvas_px
    operated = Operated(config.augmentation, config.operator, canvas_px=canvas_px).to(pathway.device)
    draws = operated.draw(batch.key_hashes, seed=setup.config.seed, epoch=batch.epoch)
    pixels = batch.pixels
    kind, augmented = modality_of(config), operated.augmented(pixels, draws)
    for seen, note in ((pixels, ""), (augmented, ", augmented")):
        what, values = kind.watched(seen)
        observer.note(f"{what}{note}", values, kind="input")
    pictures = {"images": kind.pictures(pixels), "augmented": kind.pictures(augmented), "maps": None}
    if not isinstance(config.stem, NoStemConfig):  # the stem's maps are noted within the step
        return pictures | {"num_polarities": 2 if isinstance(config.stem, LearntEstConfig) else 1}
    maps = operated(pixels, draws)
    observer.note("operator maps", maps, kind="input", places="images")
    polarities = getattr(operated.operator, "num_polarities", 0)
    return pictures | {"maps": maps.cpu().numpy(), "num_polarities": polarities}


def _note_updates(observer: StepObserver, before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    """Note what the step changed in each weight, and weights that it made not finite."""
    for name, former in before.items():
        if name.startswith("optimizer.") or not former.is_floating_point():
            continue
        observer.note(f"update of {name}", after[name] - former, kind="update")


def _silent(_: str) -> None:
    """Say nothing."""
