"""The verb `export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from raytrain.cli.parse import parse


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write a run's trained encoders for other programs; reloaded and compared with the run."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """its run folder"""
    out: str = ""
    """folder to write; empty: RUN/export"""
    pathways: str = ""
    """names with commas between them; empty: all"""
    onnx: bool = False
    """also <pathway>.onnx; needs raytrain[onnx]"""
    torch_export: bool = False
    """also <pathway>.pt2, a graph of torch.export"""
    data_root: Annotated[str, tyro.conf.arg(name="data.root")] = ""
    """where the run's data lie now, if they moved: the export is compared on real images"""


def export(arguments: list[str]) -> int:
    """Run the verb `export`."""
    known = {"out", "pathways", "onnx", "no_onnx", "torch_export", "no_torch_export", "data.root"}
    command = parse("export", ExportCommand, arguments, None, known=known)
    from raytrain import api

    report = api.export(
        command.run,
        out=Path(command.out) if command.out else None,
        pathways=[name.strip() for name in command.pathways.split(",") if name.strip()],
        onnx=command.onnx,
        torch_export=command.torch_export,
        data_root=command.data_root,
    )
    print(f"export: {report.folder}")
    return 0
