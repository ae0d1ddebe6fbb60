"""What each operator makes of some samples."""

import base64

from pipelines.modalities import modality_of
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.reporting.event_movie import movie_of_first
from raytrain.reporting.operator_sheet import operator_sheet
from raytrain.reporting.report.blocks import Block, Image, Missing, Moving, Section
from raytrain.reporting.run_data import RunData
from raytrain.training.paths import FIGURES

TITLE = "What the encoders see"
NUM_SAMPLES = 6


def operators(run: RunData) -> Section:
    """Return the contact sheet, which is also written to the run's figures."""
    if run.manifest is None:
        return Section(name="operators", title=TITLE, blocks=[Missing(f"Not shown: {run.manifest_problem}.")])
    blocks: list[Block] = [_moving(run, run.manifest)] if modality_of(run.config).has_movie else []
    path = run.folder / FIGURES / "operators.png"
    path.parent.mkdir(exist_ok=True)
    operator_sheet(run.config, run.manifest, path, num_samples=NUM_SAMPLES)
    png = path.read_bytes()
    names = list(dict.fromkeys(pathway.operator.name for pathway in run.config.pathways.values()))
    picture = Image(
        source=_data("png", png),
        alt=f"The first training samples, and what the operators {', '.join(names)} make of them",
        caption=modality_of(run.config).caption,
        width_px=int.from_bytes(png[16:20], "big"),
    )
    return Section(name="operators", title=TITLE, blocks=[*blocks, picture])


def _moving(run: RunData, manifest: Manifest) -> Moving:
    """Return some recordings as a GIF, which is also written to the run's figures."""
    movie = movie_of_first(run.config, manifest)
    Storage(str(run.folder / FIGURES)).write_atomic("recordings.gif", movie.gif)
    said = ", ".join(movie.names)
    return Moving(
        source=_data("gif", movie.gif),
        still=_data("png", movie.still),
        alt=f"Moving picture of the training recordings {said}",
        caption=f"Brighter events orange, darker ones blue, {movie.pace}; from left to right {said}.",
        width_px=movie.width_px,
        height_px=movie.height_px,
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
