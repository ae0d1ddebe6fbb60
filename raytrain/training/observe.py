"""Watch one training step from inside: figures of every tensor in the order in which it is made."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raytrain.objectives import Given, Objective
from raytrain.pathway import Pathway

Kind = Literal["input", "weight", "activation", "loss", "gradient", "update"]
Places = Literal["images", "patches", "grid", ""]
"""where a tensor's samples are: dimension 0; dimension 0 as (row, image, column); dimension 1; nowhere"""


@dataclass(frozen=True, kw_only=True)
class TensorFigures:
    """What one tensor looked like."""

    name: str
    kind: Kind
    layer: int | None
    """number of the layer, from 0"""
    shape: tuple[int, ...]
    num_bad: int
    """values that are nan or infinite"""
    rms: float
    """of the finite values, as are `least` and `greatest`; nan where there is none"""
    least: float
    greatest: float
    zeros: float
    """share of values that are exactly 0"""
    samples: tuple[int, ...] = ()
    """places in the batch whose values are not all finite, where the tensor has a place for each sample"""

    @property
    def finite(self) -> bool:
        """Whether all values are."""
        return self.num_bad == 0


@dataclass
class LayerCall:
    """What a layer's loss was computed from, to compute it again in parts."""

    inputs: Tensor
    """[N, C, h, w], the layer's own; of an end-to-end objective the first layer's"""
    grid: tuple[int, int, int]
    given: Given


@dataclass
class StepObserver:
    """Notes every tensor of the steps taken while it is attached; changes no value of them.

    Example:
        observer = StepObserver(pathway)
        with observer.attached():
            pathway.step(batch)
    """

    pathway: Pathway
    keep: int | None = None
    """number of a layer whose `LayerCall` is kept"""
    figures: list[TensorFigures] = field(default_factory=list)
    losses: dict[int, float] = field(default_factory=dict)
    """this rank's loss by layer"""
    call: LayerCall | None = None
    stem_maps: Tensor | None = None
    """f[B, C, h, w] of the last step, where the encoder has a stem"""
    _kept_inputs: Tensor | None = None
    _grid: tuple[int, int, int] = (0, 0, 0)
    """rows, images, columns of the patches"""

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Watch the pathway's steps inside."""
        pathway, handles = self.pathway, []
        first_kept = 0 if not pathway.objective.local else self.keep
        if pathway.encoder.stem is not None:
            handles.append(pathway.encoder.stem.register_forward_pre_hook(self._before_stem))
            handles.append(pathway.encoder.stem.register_forward_hook(self._after_stem))
        for index, layer in enumerate(pathway.encoder.layers):
            handles.append(layer.register_forward_pre_hook(self._before_layer(index, index == first_kept)))
            for name, part in layer.named_children():
                handles.append(part.register_forward_hook(self._after(f"layer{index + 1}.{name}", index)))
            handles.append(layer.register_forward_hook(self._after_layer(index)))
        for name, parameter in pathway.encoder.named_parameters():
            handles.append(self._on_gradient(f"encoder.{name}", parameter))
        for name, parameter in pathway.objective.named_parameters():
            handles.append(self._on_gradient(f"objective.{name}", parameter))
        objective = pathway.objective
        # attributes of the instances, which hide the methods until they are deleted
        vars(objective)["layer_loss"] = self._watched_loss(objective)
        vars(pathway)["cut_views"] = self._watched_cut(pathway.cut_views)
        try:
            yield
        finally:
            del vars(objective)["layer_loss"], vars(pathway)["cut_views"]
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def note(
        self, name: str, values: Tensor, *, kind: Kind, layer: int | None = None, places: Places = ""
    ) -> TensorFigures:
        """Note a tensor."""
        values = values.detach()
        wide = values if values.is_floating_point() else values.float()
        finite = wide.isfinite()
        num_bad = int(values.numel() - finite.sum())
        good = wide if num_bad == 0 else wide[finite]
        rms = least = greatest = math.nan
        if good.numel():
            rms = float(torch.linalg.vector_norm(good, dtype=torch.float64)) / math.sqrt(good.numel())
            least, greatest = (float(value) for value in good.aminmax())
        found = TensorFigures(
            name=name,
            kind=kind,
            layer=layer,
            shape=tuple(values.shape),
            num_bad=num_bad,
            rms=rms,
            least=least,
            greatest=greatest,
            zeros=float((values == 0).float().mean()) if values.numel() else 0.0,
            samples=self._samples(~finite, places) if num_bad and places else (),
        )
        self.figures.append(found)
        return found

    @property
    def first_bad(self) -> TensorFigures | None:
        """The first tensor that was not finite."""
        return next((figures for figures in self.figures if not figures.finite), None)

    def _samples(self, bad: Tensor, places: Places) -> tuple[int, ...]:
        if places == "patches":
            bad = bad.reshape(*self._grid, -1).transpose(0, 1)
        elif places == "grid":
            bad = bad.transpose(0, 1)
        return tuple(bad.reshape(len(bad), -1).any(1).nonzero().flatten().tolist())

    def _before_stem(self, stem: nn.Module, arguments: Any) -> None:
        for name, parameter in stem.named_parameters():
            self.note(f"stem.{name}", parameter, kind="weight")

    def _after_stem(self, stem: nn.Module, arguments: Any, maps: Tensor) -> None:
        self.note("stem maps", maps, kind="activation", places="images")
        self.stem_maps = maps.detach()

    def _before_layer(self, index: int, keeps: bool) -> Callable[..., None]:
        def hook(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            for name, parameter in layer.named_parameters():
                self.note(f"layer{index + 1}.{name}", parameter, kind="weight", layer=index)
            if keeps and self.keep is not None:
                self._kept_inputs = arguments[0].detach()

        return hook

    def _after(self, name: str, index: int) -> Callable[..., None]:
        def hook(part: nn.Module, arguments: Any, output: Tensor) -> None:
            self.note(name, output, kind="activation", layer=index, places="patches")

        return hook

    def _after_layer(self, index: int) -> Callable[..., None]:
        name = f"layer{index + 1} output"

        def hook(layer: nn.Module, arguments: Any, outputs: tuple[Tensor, Tensor]) -> None:
            representation_map = outputs[0]
            self.note(name, representation_map, kind="activation", layer=index, places="patches")
            if representation_map.requires_grad:
                representation_map.register_hook(self._note_gradient(name, index))  # type: ignore[no-untyped-call]

        return hook

    def _note_gradient(self, name: str, index: int) -> Callable[[Tensor], None]:
        return lambda gradient: void(
            self.note(f"gradient of {name}", gradient, kind="gradient", layer=index, places="patches")
        )

    def _on_gradient(self, name: str, parameter: nn.Parameter) -> Any:
        def hook(trained: Tensor) -> None:
            assert trained.grad is not None
            self.note(f"gradient of {name}", trained.grad, kind="gradient", layer=layer_of(name))

        return parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    def _watched_cut(self, plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def cut_views(*arguments: Any) -> Tensor:
            patches = plain(*arguments)
            rows, images, columns = patches.shape[:3]
            self._grid = (rows, images, columns)
            self.note("patches", patches, kind="input", places="grid")
            return patches

        return cut_views

    def _watched_loss(self, objective: Objective) -> Callable[..., Tensor]:
        plain = objective.layer_loss

        def layer_loss(layer: int, representation: Tensor, given: Given) -> Tensor:
            name = f"layer{layer + 1}"
            self.note(f"{name} representation", representation, kind="activation", layer=layer, places="grid")
            own = {id(parameter) for parameter in objective.layer_parameters(layer)}
            for inner, parameter in objective.named_parameters():
                if id(parameter) in own:
                    self.note(f"objective.{inner}", parameter, kind="weight", layer=layer)
            loss = plain(layer, representation, given)
            self.losses[layer] = float(loss.detach())
            self.note(f"loss of {name}", loss, kind="loss", layer=layer)
            if layer == self.keep and self._kept_inputs is not None:
                self.call = LayerCall(self._kept_inputs, self._grid, given)
            return loss

        return layer_loss


def layer_of(parameter: str) -> int | None:
    """Return the layer's number that a parameter's name names first, e.g. encoder.layers.3.conv.bias."""
    numbers = (int(word) for word in parameter.split(".") if word.isdigit())
    return None if of_stem(parameter) else next(numbers, None)


def of_stem(name: str) -> bool:
    """Return whether a tensor is the stem's by its name, e.g. encoder.stem.lstm.bias_hh_l0 or stem maps."""
    return "stem" in name.replace(".", " ").split()


def void(_: object) -> None:
    """Drop a value: a hook that returns something would replace the gradient by it."""
