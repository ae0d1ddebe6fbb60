"""Images: u8[3, canvas, canvas] each."""

import io
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.decode.image import fit_canvas
from pipelines.decode.read_image import decode_payload, image_size, read_sample
from pipelines.forms.chunk import Chunk
from pipelines.forms.clips import ClipPlanner
from pipelines.generated import is_generated, make_sample
from pipelines.modalities.base import DecodedSample, Examined, Joined, Modality, gather
from pipelines.modalities.parts import Part
from pipelines.storage.manifest import Manifest
from pipelines.storage.payload import checksum, read_payload
from pipelines.storage.places import Storage, count_opened
from pipelines.storage.rows import Row
from raytrain.config.data import DataConfig
from raytrain.config.pathway import PathwayConfig
from raytrain.config.run import RunConfig

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.modalities.base import Pixels
    from pipelines.views.events import Room


class ImageModality(Modality):
    """Images. A column of a chunk: `images` u8[L, 3, H, W]."""

    name = "image"
    purpose = "Single images of any size (png, jpg, tif, ...); taken by cut patches"
    can_cache = True
    can_export = True
    sections = ("shortcut",)
    wanted = "cut patches"
    unit = "patch"
    axes: ClassVar = {"patches": ("patches", "rows, images, columns, channels, px, px")}
    size_setting = "data.canvas_px or crop_px"
    caption = "The first training samples; brightness is stretched alike over a column."

    def read(
        self, row: Row, storage: Storage, data: DataConfig, *, planner: ClipPlanner | None, epoch: int
    ) -> DecodedSample:
        """Return a row's image on the canvas."""
        return DecodedSample({"images": read_sample(row, storage, data)})

    def blank(
        self, data: DataConfig, *, sensor: tuple[int, int], planner: ClipPlanner | None, epoch: int
    ) -> DecodedSample:
        """Return a black image."""
        return DecodedSample({"images": np.zeros((3, data.canvas_px, data.canvas_px), np.uint8)})

    def examine(self, row: Row, storage: Storage, data: DataConfig) -> Examined:
        """Decode an image; a generated one is kept as PNG."""
        if is_generated(row.uri):
            return _examine_generated(row.uri, data)
        payload = read_payload(row, storage)
        width, height = image_size(payload, row, data)
        image = decode_payload(payload, row, data)
        return Examined(payload=payload, checksum=checksum(payload), width=width, height=height, image=image)

    def sample_bytes(self, config: RunConfig, names: Collection[str], manifest: Manifest) -> int:
        """Return the bytes of an image on the canvas."""
        return 3 * config.data.canvas_px**2

    def join(self, parts: Sequence[Part], request: str, room: "Room") -> Joined:
        """Return the images, u8[B, 3, H, W]."""
        return Joined(pixels=gather("images", [part.chunk.images for part in parts], parts, room))

    def pieces(self, chunk: Chunk, pathway: PathwayConfig, *, size: int) -> Iterator["Pixels"]:
        """Yield u8[n, 3, H, W]."""
        import torch

        for start in range(0, len(chunk), size):
            yield torch.from_numpy(chunk.images[start : start + size].copy())

    def empty(self, pathway: PathwayConfig, *, canvas_px: int, sensor: tuple[int, int]) -> "Pixels":
        """Return a black image, u8[1, 3, canvas, canvas]."""
        import torch

        return torch.zeros(1, 3, canvas_px, canvas_px, dtype=torch.uint8)

    def floor(self, pixels: "Pixels") -> "Tensor":
        """Return the pixels from 0 to 1."""
        return _images(pixels) / 255

    def pictures(self, pixels: "Pixels") -> NDArray[np.uint8]:
        """Return the images."""
        shown: NDArray[np.uint8] = _images(pixels).cpu().numpy()
        return shown

    def operated(self, config: RunConfig, pixels: "Pixels") -> dict[str, NDArray[np.float32]]:
        """Return each operator's maps of the whole canvas."""
        from pipelines.views.operators import build_operator

        operators = {pathway.operator.name: pathway.operator for pathway in config.pathways.values()}
        return {name: build_operator(operator)(pixels).numpy() for name, operator in operators.items()}

    def watched(self, pixels: "Pixels") -> tuple[str, "Tensor"]:
        """Return the bytes."""
        return "images", _images(pixels)

    def words(self, pixels: "Pixels") -> str:
        """Return e.g. `uint8 [32, 3, 64, 64]`."""
        return f"uint8 {list(_images(pixels).shape)}"


def _images(pixels: "Pixels") -> "Tensor":
    from torch import Tensor

    assert isinstance(pixels, Tensor)
    return pixels


def _examine_generated(uri: str, data: DataConfig) -> Examined:
    count_opened()
    image = make_sample(uri)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, "PNG")
    payload = file.getvalue()
    return Examined(
        payload=payload,
        checksum=checksum(payload),
        width=image.shape[2],
        height=image.shape[1],
        image=fit_canvas(image, canvas_px=data.canvas_px, fit=data.fit),
    )
