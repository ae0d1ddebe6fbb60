import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raytrain.reporting import contact_sheet as module
from raytrain.reporting.contact_sheet import contact_sheet


def maps(channels: int, num_samples: int = 2, size: int = 8) -> np.ndarray:
    generator = np.random.default_rng(channels)
    return generator.random((num_samples, channels, size, size)).astype(np.float32)


def titles(channels: int) -> list[str]:
    return [column.note for column in module._columns_of("x", maps(channels))]


def test_writes_a_png_that_grows_with_rows_and_columns(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), np.uint8)
    sizes = []
    for count, columns in ((1, {}), (3, {}), (3, {"lbp": maps(1, 3), "dtcwt": maps(21, 3)})):
        path = tmp_path / "deep" / f"{len(sizes)}.png"
        contact_sheet(images[:count], columns, str(path), row_titles=[f"row {row}" for row in range(count)])
        with Image.open(io.BytesIO(path.read_bytes())) as sheet:
            assert sheet.format == "PNG"
            sizes.append(sheet.size)
    assert sizes[1][1] > sizes[0][1]
    assert sizes[2][0] > sizes[1][0]


def test_every_number_of_channels_has_its_columns() -> None:
    assert titles(1) == ["1 channel"]
    assert titles(2) == ["2 channels: r, g, 1-r-g"]
    assert titles(3) == ["3 channels"]
    assert titles(5) == ["5 channels: root mean square"]
    assert titles(18) == ["level 1, 18 channels"]
    assert titles(21) == ["low-pass, 3 channels", "level 1, 18 channels"]
    assert titles(39) == ["low-pass, 3 channels", "level 1, 18 channels", "level 2, 18 channels"]
    for channels in (1, 2, 3, 5, 18, 21, 39):
        for column in module._columns_of("x", maps(channels)):
            assert column.pictures.shape == (2, 8, 8, 3)
            assert column.pictures.min() >= 0
            assert column.pictures.max() <= 1


def test_chromaticity_is_shown_as_its_colour() -> None:
    rg = np.full((1, 2, 4, 4), 1 / 3, np.float32)
    rg[0, :, :2] = np.array([0.8, 0.1])[:, None, None]
    (column,) = module._columns_of("rg", rg)
    assert column.pictures[0, 0, 0].argmax() == 0
    assert np.ptp(column.pictures[0, 3, 3]) < 1e-5


def test_orientations_have_colours_of_their_own() -> None:
    bands = np.zeros((1, 3, 6, 6, 4), np.float32)
    for orientation in range(6):
        bands[0, :, orientation, orientation] = 1
    coloured = module._colour_by_orientation(bands)
    colours = coloured[0, :, :, 0].T
    distances = np.abs(colours[:, None] - colours[None]).sum(2) + np.eye(6)
    assert distances.min() > 0.25


def test_codes_are_shown_by_their_rank() -> None:
    codes = np.array([0, 1, 3, 255], np.float32).reshape(1, 1, 2, 2)
    (column,) = module._columns_of("lbp", codes)
    assert np.allclose(column.pictures[0, :, :, 0].ravel(), [0, 1 / 3, 2 / 3, 1])


def test_wrong_shapes_are_named(tmp_path: Path) -> None:
    images = np.zeros((2, 3, 8, 8), np.uint8)
    with pytest.raises(ValueError, match=r"column 'lbp' has shape \(3, 1, 8, 8\); expected \(2, C, H, W\)"):
        contact_sheet(images, {"lbp": maps(1, 3)}, str(tmp_path / "x.png"))
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet(images[:0], {}, str(tmp_path / "x.png"))
