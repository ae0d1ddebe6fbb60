"""One pathway: images in, losses and an update out. Torch, not ray."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from pipelines.forms.randomness import generator
from pipelines.modalities import modality_of
from pipelines.stream.batch import Batch
from pipelines.stream.stage import operated_name
from pipelines.views.events import Events
from pipelines.views.standardise import Standardiser
from pipelines.views.views import Views
from raytrain.collectives import world_size
from raytrain.config.pathway import PathwayConfig
from raytrain.config.run import TrainingConfig
from raytrain.config.stems import NoStemConfig
from raytrain.encoders import build_encoder
from raytrain.errors import ConfigError
from raytrain.finite import FiniteGuard
from raytrain.fits import check_rows, check_shift, check_size
from raytrain.gradients import Gradients, StepInputs, Watch
from raytrain.objectives import Given, build_objective
from raytrain.optim import build_optimizer, check_same
from raytrain.stems import Stem, build_stem


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one step gives back, without having waited for the device."""

    losses: Tensor
    """f[num_losses] on the device, mean over the ranks, in the order of `Pathway.loss_names`"""
    stop: Tensor | bool
    """whether any rank asked to stop; the same on all ranks"""


class Pathway:
    """Augmentation, operator, cut, encoder, objective and optimiser of one pathway on one device.

    Initial weights depend on (seed, name) alone, negatives on (seed, name, epoch, step, rank), augmentation
    on (seed, epoch, sample): the same steps give the same weights in any process.

    Example:
        pathway = Pathway("lbp", config, seed=0, canvas_px=64, num_classes=43, device=torch.device("cpu"),
                          training=training, standardiser=standardiser)
        losses = pathway.step(batch).losses
    """

    def __init__(
        self,
        name: str,
        config: PathwayConfig,
        *,
        seed: int,
        canvas_px: int,
        num_classes: int,
        device: torch.device,
        training: TrainingConfig,
        standardiser: Standardiser,
        sensor: tuple[int, int] = (0, 0),
    ) -> None:
        self.name, self.config, self.seed, self.device, self.training = name, config, seed, device, training
        self.standardiser = standardiser.to(device)
        self._views = Views(config, canvas_px=canvas_px, standardiser=self.standardiser).to(device)
        check_shift(name, config, sensor)
        words = (seed, name)
        stem: Stem | None = None
        if not isinstance(config.stem, NoStemConfig):
            stem = build_stem(config.stem, seed_words=words).to(device)
        with torch.no_grad():
            self.empty = modality_of(config).empty(config, canvas_px=canvas_px, sensor=sensor).to(device)
            """one sample that shows nothing"""
            empty = self._cut(self._views(self.empty, None), stem)
        self._no_views = empty[:, :0].clone()
        encoder = build_encoder(config.encoder, in_channels=empty.shape[3], seed_words=words)
        encoder.stem = stem
        check_size(name, config, encoder, size_px=min(empty.shape[-2:]))
        check_rows(name, config, len(empty))
        self.num_cells = encoder.num_cells(empty)
        objective = build_objective(
            config.objective,
            channels=encoder.channels,
            num_cells=self.num_cells,
            num_rows=encoder.rows(empty),
            num_classes=num_classes,
            seed_words=words,
        )
        self._layout = encoder.memory_format if training.channels_last else torch.contiguous_format
        self.encoder = encoder.to(device, memory_format=self._layout)  # type: ignore[call-overload]
        self.objective = objective.to(device)
        if training.compile:
            for layer in self.encoder.layers:
                layer.compile(dynamic=False)
        parts = (("encoder", self.encoder), ("objective", self.objective))
        self._parameters = {
            f"{part}.{inner}": value for part, module in parts for inner, value in module.named_parameters()
        }
        self.optimizer = build_optimizer(config.optimizer, self._parameters.items())
        self.loss_names: tuple[str, ...] = tuple(f"layer{index + 1}" for index in objective.layers)
        self._gradients = Gradients(self.encoder, self.objective, autocast=self._autocast)
        self._guard = FiniteGuard(name, losses=self.loss_names, parameters=tuple(self._parameters))
        self._defers_check = device.type == "cuda" and self.optimizer.can_skip_on_device

    @property
    def parameters_count(self) -> int:
        """Number of trained values in encoder and objective."""
        return sum(parameter.numel() for parameter in self._parameters.values())

    def views(self, batch: Batch, *, train: bool) -> Tensor | Events:
        """Return what the encoder sees, f32[R, B, Q, ...]: rows, images and columns of its samples.

        Patches [C, p, p] or frames [C, h, w] in rows, or volumes [C, T, h, w] in one; events where it has a
        stem. Augmented by the batch's own draws when `train`, else cropped in the centre.
        """
        if train and operated_name(self.config) in batch.operated:
            operated = batch.operated[operated_name(self.config)]
            return self._views.of_maps(operated.to(self.device, non_blocking=True))
        draws = None
        if train:
            draws = self._views.operated.draw(batch.key_hashes, seed=self.seed, epoch=batch.epoch)
        seen: Tensor | Events = self._views(batch.pixels.to(self.device, non_blocking=True), draws)
        return seen

    def views_of(self, pixels: Tensor | Events) -> Tensor | Events:
        """Return what the encoder sees of u8[B, 3, H, W], clips u8[B, T, 3, H, W] (centred) or events."""
        seen: Tensor | Events = self._views(pixels.to(self.device), None)
        return seen

    def step(
        self, batch: Batch, *, rank: int = 0, stop: bool = False, watch: Watch | None = None
    ) -> StepResult:
        """Train on one batch (this rank's share of it): all layers' gradients, a finite check, one update.

        A sample that is not valid teaches nothing: it is as if it had not been in the batch, and a batch
        without any changes nothing. Losses and statistics are those of the samples of all ranks, which may
        hold different numbers of them.

        `watch` is shown every layer on the way, and changes nothing: the weights are bitwise the same.

        Raises:
            DivergedError: a loss or gradient is not finite; raised before the update. On CUDA the update is
            left out at once, and the error comes with the next `check`.
        """
        num_read, batch = len(batch), batch.without_invalid().to(self.device)
        self.encoder.train()
        maps, grid = self._step_input(batch)
        rng = generator("negatives", self.seed, self.name, batch.epoch, batch.step, rank)
        given = Given(
            targets=batch.targets,
            motion=batch.motion,
            positions=batch.positions,
            groups=batch.groups,
            factors=batch.factors,
        )
        draws = self.objective.draw(rng, given, num_rows=grid[0], num_columns=grid[2])
        given = replace(given, draws=draws)
        step = StepInputs(maps=maps, grid=grid, given=given, stop=stop, watch=watch)
        del maps
        # compiled for the whole batch: another number of samples is not worth a minute of compiling
        with nullcontext() if len(batch) == num_read else self._uncompiled():
            scalars = self._gradients.make(step)
        losses = scalars[: len(self.loss_names)]
        self._update(losses, batch)
        return StepResult(losses=losses, stop=scalars[-1] > 0 if world_size() > 1 else stop)

    def check(self) -> None:
        """Wait for the device and raise what `step` may have found since the last call.

        Raises:
            DivergedError: names pathway, epoch, step, and the loss or gradient that was not finite.
        """
        self._guard.check()

    @torch.no_grad()
    def represent(self, pixels: Tensor | Events, *, dtype: torch.dtype = torch.float16) -> Tensor:
        """Return the last layer's representation of what `views_of` takes: [B, num_cells, channels]."""
        return self.represent_views(self.views_of(pixels), dtype=dtype)

    @torch.no_grad()
    def representation_of(self, pixels: Tensor | Events) -> Tensor:
        """Return the last layer's representation of what `views_of` takes, [R, B, Q, C]."""
        return self._represent(self.views_of(pixels))

    @torch.no_grad()
    def represent_views(self, views: Tensor | Events, *, dtype: torch.dtype = torch.float16) -> Tensor:
        """Return the last layer's representation of `views_of` some samples: [B, num_cells, channels]."""
        return _cells(self._represent(views)).to(dtype)

    @torch.no_grad()
    def represent_layers(
        self, views: Tensor | Events, *, dtype: torch.dtype = torch.float16
    ) -> tuple[Tensor, Tensor]:
        """Return `represent_views`, and all layers averaged over the cells, [B, 1, channels], of one pass.

        Bottom layer first; `layer_slices` says which channels are whose.
        """
        means: list[Tensor] = []

        def keep(representation: Tensor) -> None:
            means.append(representation.mean((0, 2)))

        last = _cells(self._represent(views, keep))
        return last.to(dtype), torch.cat(means, dim=1)[:, None].to(dtype)

    @property
    def layer_slices(self) -> list[dict[str, Any]]:
        """Where each layer's channels lie in `represent_layers`: layer, start, stop."""
        stops = np.cumsum(self.encoder.channels).tolist()
        return [
            {"layer": f"layer{index + 1}", "start": stop - channels, "stop": stop}
            for index, (stop, channels) in enumerate(zip(stops, self.encoder.channels, strict=True))
        ]

    def _represent(self, views: Tensor | Events, watch: Callable[[Tensor], None] | None = None) -> Tensor:
        """Return the last layer's representation [R, B, Q, C]; `watch` is shown that of every layer."""
        self.encoder.eval()

        def show(_: int, representation_map: Tensor) -> None:
            if watch is not None:
                watch(self.encoder.representation(representation_map, grid))

        maps, grid = self._encoder_input(views)  # a stem is computed in fp32, as in training
        with self._autocast(), self._uncompiled():
            representation_map = self.encoder(maps, show)
        representation: Tensor = self.encoder.representation(representation_map, grid)
        return representation

    @property
    def has_statistics(self) -> bool:
        """Whether the encoder has batch norm, whose statistics a control must be given."""
        return bool(self._norms())

    def statistics(self) -> dict[str, Tensor]:
        """Return the running statistics of batch norm by name."""
        return {name: value.cpu() for name, value in self.encoder.named_buffers()}

    @torch.no_grad()
    def load_statistics(self, statistics: dict[str, Tensor]) -> None:
        """Restore `statistics`."""
        for name, value in self.encoder.named_buffers():
            value.copy_(statistics[name])

    def reset_statistics(self) -> None:
        """Forget the running statistics of batch norm, before `accumulate_statistics`."""
        for norm in self._norms():
            norm.reset_running_stats()

    @torch.no_grad()
    def accumulate_statistics(self, pixels: Tensor | Events) -> None:
        """Add what `views_of` takes to the running statistics of batch norm, every batch with equal weight.

        Does nothing without batch norm.
        """
        norms = self._norms()
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        self.encoder.train()
        for norm in norms:
            norm.momentum = None
        maps, _ = self._encoder_input(self.views_of(pixels))
        with self._autocast(), self._uncompiled():
            self.encoder(maps)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def state_tensors(self) -> dict[str, Tensor]:
        """Return all that training continues from, by flat names: encoder.*, objective.*, optimizer.*."""
        optimizer = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state_tensors().items()}
        return {**self._weights(), **optimizer}

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore `state_tensors` exactly.

        Raises:
            ConfigError: a tensor is missing, unknown, or of another shape or dtype.
        """
        weights = self._weights()
        found = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")}
        if found.keys() != weights.keys():
            name = min(found.keys() ^ weights.keys())
            raise ConfigError(
                f"pathways.{self.name}: {name} is {'missing in' if name in weights else 'unknown, but in'} "
                "the checkpoint; use a new run folder or set encoder and objective back"
            )
        for name, tensor in found.items():
            check_same(f"pathways.{self.name}: {name}", tensor, weights[name])
        self.optimizer.load_state_tensors(
            {name[len("optimizer.") :]: tensor for name, tensor in tensors.items() if name not in found}
        )
        for name, tensor in found.items():
            weights[name].copy_(tensor)

    def weights_sha256(self) -> str:
        """Return a digest of the names, types, shapes and bytes of encoder and objective."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._weights().items()):
            values = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {values.dtype} {list(values.shape)};".encode())
            digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def cut_views(self, views: Tensor | Events) -> Tensor:
        """Return `views` as f32[R, B, Q, ...]: with a stem its maps of the events, cut."""
        return self._cut(views, self.encoder.stem)

    def _cut(self, views: Tensor | Events, stem: nn.Module | None) -> Tensor:
        if isinstance(views, Tensor):
            return views
        assert stem is not None, "refused by the settings"
        cut: Tensor = self._views.cut(stem(views))
        return cut

    def _encoder_input(self, views: Tensor | Events) -> tuple[Tensor, torch.Size]:
        """Return what the first layer reads, f32[N, C, ...], and the grid (R, B, Q), N = R * B * Q."""
        return self._flat(self.cut_views(views))

    def _step_input(self, batch: Batch) -> tuple[Tensor, torch.Size]:
        """Return `_encoder_input` of a batch as it is trained on; of none N = 0."""
        return (
            self._encoder_input(self.views(batch, train=True)) if len(batch) else self._flat(self._no_views)
        )

    def _flat(self, cut: Tensor) -> tuple[Tensor, torch.Size]:
        return cut.flatten(0, 2).contiguous(memory_format=self._layout), cut.shape[:3]

    def _autocast(self) -> torch.autocast:
        enabled = self.training.precision == "bf16"
        # nothing to cache: each weight is cast once a step, and its copy should live no longer than its layer
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)

    def _uncompiled(self) -> AbstractContextManager[Any]:
        """Keep compilation to the training step: all layers share one cache of a few compiled variants."""
        return torch.compiler.set_stance("force_eager") if self.training.compile else nullcontext()

    def _update(self, losses: Tensor, batch: Batch) -> None:
        gradients = [parameter.grad for parameter in self._parameters.values()]
        diverged = self._guard.watch(losses, gradients, epoch=batch.epoch, step=batch.step)
        if not self._defers_check:
            self._guard.check()
        self.optimizer.step(skip=diverged if self._defers_check else None)
        self.optimizer.drop_gradients()

    def _weights(self) -> dict[str, Tensor]:
        parts = (("encoder", self.encoder), ("objective", self.objective))
        return {
            f"{part}.{name}": value for part, module in parts for name, value in module.state_dict().items()
        }

    def _norms(self) -> list[BatchNorm]:
        return [module for module in self.encoder.modules() if isinstance(module, BatchNorm)]


def _cells(representation: Tensor) -> Tensor:
    """Return [R, B, Q, C] as [B, R * Q, C], row by row."""
    return representation.transpose(0, 1).flatten(1, 2)
