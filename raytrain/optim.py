"""Adam over named parameters, with a flat state that goes into safetensors and comes back exactly."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from raytrain.config.pathway import OptimizerConfig
from raytrain.errors import ConfigError

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class NamedAdam:
    """Adam whose state goes by parameter names: `<name>.step`, `<name>.exp_avg`, `<name>.exp_avg_sq`."""

    def __init__(self, config: OptimizerConfig, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        self.config = config
        self._parameters = dict(named_parameters)
        fused = config.implementation == "fused"
        self._adam = torch.optim.Adam(
            list(self._parameters.values()),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=fused,
            foreach=None if fused else True,
        )

    @property
    def can_skip_on_device(self) -> bool:
        """Whether `step` can leave out an update by a flag on the device, without waiting for it."""
        return self.config.implementation == "fused"

    def step(self, *, skip: Tensor | None = None) -> None:
        """Update the parameters that have a gradient; nothing changes if `skip`, f32[] on device, is 1."""
        if skip is not None:
            self._adam.found_inf = skip  # type: ignore[attr-defined]  # read by the fused implementation
        self._adam.step()

    def drop_gradients(self) -> None:
        """Free all gradients."""
        self._adam.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the state by flat names; empty before the first step."""
        return {
            f"{name}.{moment}": self._adam.state[parameter][moment]
            for name, parameter in self._parameters.items()
            if self._adam.state.get(parameter)
            for moment in MOMENTS
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Replace the state by `state_tensors` of an optimiser of the same parameters.

        A parameter that never had a gradient has no state.

        Raises:
            ConfigError: a name is missing or unknown, or a shape differs.
        """
        stepped = [n for n in self._parameters if any(f"{n}.{moment}" in tensors for moment in MOMENTS)]
        complete = {f"{name}.{moment}" for name in stepped for moment in MOMENTS}
        if tensors.keys() != complete:
            name = min(tensors.keys() ^ complete)
            raise ConfigError(
                f"optimizer state {name} is {'missing' if name in complete else 'unknown'} in the "
                "checkpoint: it belongs to other settings, use a new run folder or set them back"
            )
        self._adam.state.clear()
        for name in stepped:
            parameter = self._parameters[name]
            for moment in MOMENTS[1:]:
                check_same(f"{name}.{moment}", tensors[f"{name}.{moment}"], parameter)
            steps = tensors[f"{name}.step"].to(torch.float32, copy=True)
            self._adam.state[parameter] = {
                "step": steps.to(parameter.device) if self.can_skip_on_device else steps.cpu(),
                **{m: torch.empty_like(parameter).copy_(tensors[f"{name}.{m}"]) for m in MOMENTS[1:]},
            }


def build_optimizer(
    config: OptimizerConfig, named_parameters: Iterable[tuple[str, nn.Parameter]]
) -> NamedAdam:
    """Return Adam, fused or foreach, over the parameters."""
    return NamedAdam(config, named_parameters)


def check_same(name: str, found: Tensor, expected: Tensor) -> None:
    """Raise ConfigError unless shape and dtype of a loaded tensor are those of the one it replaces."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ConfigError(
            f"{name} in the checkpoint is {_describe(found)}, the settings make it {_describe(expected)}; "
            "use a new run folder or set encoder, objective and cut back"
        )


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
