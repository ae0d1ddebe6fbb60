"""Which samples of a batch make a tensor not finite: each left out, and each alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from raytrain.pathway import Pathway
from raytrain.training.observe import LayerCall, TensorFigures, of_stem

Finite = Callable[[Tensor], bool]
"""told which samples count, bool[B]: whether everything is finite then"""


def blame(
    figures: TensorFigures, *, num_samples: int, pathway: Pathway, call: LayerCall | None
) -> tuple[list[int], str]:
    """Return (places in the batch, what is said of them) for the first tensor that is not finite.

    `call`: the layer's `LayerCall`, None where it was not kept: then only what the tensor itself shows, as of
    tensors of a stem, which comes before the first layer.
    """
    if figures.kind == "weight":
        return [], "it was so before this step: no sample's doing"
    if figures.kind == "update":
        return [], "loss and gradients were finite: the optimiser's step made it so"
    shown = list(figures.samples)
    if 0 < len(shown) < num_samples:
        return shown, f"made so by {len(shown)} of {num_samples} samples"
    if call is None or figures.kind == "input" or of_stem(figures.name):
        return shown, f"in all {num_samples} samples" if shown else "its samples are not looked for"
    check = _activation_check if figures.kind == "activation" else _loss_check
    return _search(check(pathway, figures, call), num_samples)


def _search(finite: Finite, num_samples: int) -> tuple[list[int], str]:
    one = torch.eye(num_samples, dtype=torch.bool)
    spared = [place for place in range(num_samples) if finite(~one[place])]
    if spared:
        text = "without it all is finite" if len(spared) == 1 else "without any one of them all is finite"
        return spared, text
    alone = [place for place in range(num_samples) if not finite(one[place])]
    if len(alone) == num_samples:
        return [], "each sample alone makes it so: the weights or the learning rate, not the data"
    if alone:
        return alone, "each of them alone makes it so"
    return [], "only the samples together make it so, none alone"


def _activation_check(pathway: Pathway, figures: TensorFigures, call: LayerCall) -> Finite:
    """Whether the layer's outputs are finite for the samples that count, the others left out."""
    rows, images, columns = call.grid
    inputs = call.inputs.reshape(rows, images, columns, *call.inputs.shape[1:])
    local, layer = pathway.objective.local, figures.layer or 0

    @torch.no_grad()
    def finite(counts: Tensor) -> bool:
        chosen = inputs[:, counts.to(inputs.device)].flatten(0, 2)
        with _autocast(pathway):
            for index in [layer] if local else range(layer + 1):
                representation_map, chosen = pathway.encoder.layers[index](chosen)
        return bool(representation_map.isfinite().all())

    return finite


def _loss_check(pathway: Pathway, figures: TensorFigures, call: LayerCall) -> Finite:
    """Whether loss and gradients are finite where the samples that do not count represent nothing (0)."""
    local, objective = pathway.objective.local, pathway.objective
    layer = figures.layer if local and figures.layer is not None else objective.layers[-1]
    trained = list(pathway.encoder.layers[layer].parameters() if local else pathway.encoder.parameters())
    trained += objective.layer_parameters(layer)

    def finite(counts: Tensor) -> bool:
        counted = counts.to(call.inputs.device)[None, :, None, None]
        with torch.enable_grad(), _autocast(pathway):
            if local:
                maps = pathway.encoder.layers[layer](call.inputs)[0]
            else:
                maps = pathway.encoder(call.inputs)
            representation = torch.where(counted, pathway.encoder.representation(maps, call.grid), 0)
            loss = objective.layer_loss(layer, representation, call.given)
        if not bool(loss.isfinite()):
            return False
        if figures.kind == "loss":
            return True
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
        return all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)

    return finite


def _autocast(pathway: Pathway) -> torch.autocast:
    enabled = pathway.training.precision == "bf16"
    return torch.autocast(pathway.device.type, torch.bfloat16, enabled=enabled)
