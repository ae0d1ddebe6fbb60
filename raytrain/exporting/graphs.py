"""A pathway as one graph: torch.export (.pt2) and ONNX, reloaded and compared with what it came from."""

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raytrain.errors import ConfigError
from raytrain.exported import ExportedPathway

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-3
"""largest difference, as a share of the largest value, at which a graph still passes for the same"""
TRACED_IMAGES = 4  # any number above 1: a batch of one would be traced as a constant

Run = Callable[[Tensor], Tensor]
Writer = Callable[[nn.Module, Tensor, Path], Run]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A graph file, and how far it is from the pathway it was made of."""

    file: str
    takes: str
    """images: u8[B, 3, canvas, canvas]; maps: the operator's output f32[B, C, h, w]"""
    largest_difference: float
    largest_value: float
    why_maps: str = ""
    """why the operator is not in the graph"""

    @property
    def line(self) -> str:
        """What is said of it in one line."""
        whole = "operator and encoder" if self.takes == "images" else "the encoder alone, from the operator's"
        whole += "" if self.takes == "images" else f" maps, for the operator does not go in ({self.why_maps})"
        return (
            f"{self.file}: {whole}; reloaded, largest difference {self.largest_difference:.2g} "
            f"in values up to {self.largest_value:.3g}"
        )


class _FromMaps(nn.Module):
    """The pathway without its operator."""

    def __init__(self, pathway: ExportedPathway) -> None:
        super().__init__()
        self.pathway = pathway

    def forward(self, maps: Tensor) -> Tensor:
        return self.pathway.from_maps(maps)


class _UnfaithfulError(Exception):
    """A graph that computes something else."""


def check_onnx_packages() -> None:
    """Raise ConfigError where a package that --onnx needs is missing."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"--onnx needs {', '.join(missing)}; pip install 'raytrain[onnx]'")


def write_graph(
    kind: str, name: str, pathway: ExportedPathway, images: Tensor, folder: Path, *, batch_size: int
) -> Graph:
    """Write `<name>.pt2` or `<name>.onnx`, the operator inside where it goes, else the encoder alone.

    `images` u8[N, 3, canvas, canvas] are what the reloaded graph is compared on, in batches of `batch_size`
    and a last one of another size.

    Raises:
        ConfigError: not even the encoder goes into a graph.
    """
    writer: Writer = {"pt2": _write_pt2, "onnx": _write_onnx}[kind]
    path = folder / f"{name}.{kind}"
    attempt = partial(_attempt, writer, path=path, batch_size=batch_size)
    with _quiet(), torch.no_grad():
        want = torch.cat([pathway(part) for part in torch.split(images, batch_size)])
        scale = float(want.abs().max())
        try:
            difference = attempt(pathway, images, want)
            return Graph(file=path.name, takes="images", largest_difference=difference, largest_value=scale)
        except Exception as error:  # the exporters raise nearly everything on what they do not know
            why = _reason(error)
        maps = torch.cat([pathway.maps(part) for part in torch.split(images, batch_size)])
        try:
            difference = attempt(_FromMaps(pathway).eval(), maps, want)
        except Exception as error:
            raise ConfigError(
                f"pathway {name} cannot be written as {kind}: {_reason(error)}; leave "
                f"--{'onnx' if kind == 'onnx' else 'torch-export'} out, or choose others by --pathways"
            ) from error
    return Graph(
        file=path.name, takes="maps", largest_difference=difference, largest_value=scale, why_maps=why
    )


def _attempt(
    writer: Writer, module: nn.Module, inputs: Tensor, want: Tensor, *, path: Path, batch_size: int
) -> float:
    example = inputs[torch.arange(TRACED_IMAGES) % len(inputs)]
    run = writer(module, example, path)
    found = torch.cat([run(part) for part in torch.split(inputs, batch_size)])
    difference = float((found - want).abs().max())
    if not difference <= TOLERANCE * max(float(want.abs().max()), 1e-6):
        raise _UnfaithfulError(f"its graph differs by {difference:.2g}")
    return difference


def _write_pt2(module: nn.Module, example: Tensor, path: Path) -> Run:
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    reloaded = torch.export.load(path).module()
    return lambda inputs: reloaded(inputs)


def _write_onnx(module: nn.Module, example: Tensor, path: Path) -> Run:
    import onnxruntime

    torch.onnx.export(
        module,
        (example,),
        str(path),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
        input_names=["images" if isinstance(module, ExportedPathway) else "maps"],
        output_names=["cells"],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' remarks about themselves off the screen."""
    logger: Any = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """Return the innermost cause of an error, shortened to part of a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines or [type(error).__name__])[0].encode("ascii", "replace").decode()
    return text if len(text) <= 120 else text[:117] + "..."
