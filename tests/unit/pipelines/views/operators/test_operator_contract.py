"""What every operator promises: shapes, range, bytes in, the same values however the batch is laid out."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch

from pipelines.views.operators import OPERATORS, Operator, build_operator
from raytrain.config.operators import DtcwtConfig, IdentityConfig, LbpConfig, OperatorConfig, RgConfig
from raytrain.errors import ConfigError

CONFIGS: dict[str, tuple[OperatorConfig, int]] = {
    "identity": (IdentityConfig(), 3),
    "lbp": (LbpConfig(), 1),
    "lbp-P4R2": (LbpConfig(num_points=4, radius_px=2), 1),
    "lbp-P12R2": (LbpConfig(num_points=12, radius_px=2), 1),
    "lbp-P24R3": (LbpConfig(num_points=24, radius_px=3), 1),
    "lbp-bilinear": (LbpConfig(interpolation="bilinear"), 1),
    "lbp-bilinear-P24R3": (LbpConfig(num_points=24, radius_px=3, interpolation="bilinear"), 1),
    "lbp-paper2023": (LbpConfig(compat="paper2023"), 1),
    "rg": (RgConfig(), 2),
    "rg-paper2023": (RgConfig(compat="paper2023"), 2),
    "dtcwt": (DtcwtConfig(), 21),
    "dtcwt-bands": (DtcwtConfig(lowpass=False, biort="near_sym_a", qshift="qshift_a"), 18),
    "dtcwt-J3": (DtcwtConfig(num_levels=3), 57),
    "dtcwt-paper2023": (DtcwtConfig(compat="paper2023"), 3),
}


@pytest.fixture(params=list(CONFIGS), scope="module")
def named(request: pytest.FixtureRequest) -> tuple[str, Operator, int]:
    config, channels = CONFIGS[request.param]
    return request.param, build_operator(config), channels


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 40), (17, 11), (1, 1), (2, 5)])
def test_shape_type_and_range(named: tuple[str, Operator, int], height: int, width: int) -> None:
    name, operator, channels = named
    extreme = (random_images(3, 3, height, width) > 127).to(torch.uint8) * 255
    for images in (random_images(3, 3, height, width), extreme, torch.zeros_like(extreme)):
        maps = operator(images)
        size = (64, 64) if name == "dtcwt-paper2023" else (height, width)
        assert operator.channels == channels
        assert maps.shape == (3, channels, *size)
        assert maps.dtype == torch.float32
        assert maps.is_contiguous()
        assert not maps.requires_grad
        low, high = operator.value_range
        assert low - 1e-5 <= float(maps.min())
        assert float(maps.max()) <= high + 1e-5


def test_an_empty_batch_stays_empty(named: tuple[str, Operator, int]) -> None:
    _, operator, channels = named
    assert operator(random_images(0, 3, 16, 16)).shape[:2] == (0, channels)


def test_same_input_same_bits_and_input_untouched(named: tuple[str, Operator, int]) -> None:
    _, operator, _ = named
    images = random_images(4, 3, 16, 24)
    before = images.clone()
    first = operator(images)
    first_copy = first.clone()
    first.zero_()  # the output belongs to the caller
    assert torch.equal(operator(images), first_copy)
    assert torch.equal(images, before)


def test_a_sample_does_not_depend_on_its_batch(named: tuple[str, Operator, int]) -> None:
    name, operator, _ = named
    images = random_images(5, 3, 16, 24)
    singles = torch.cat([operator(image[None]) for image in images])
    if name.startswith("dtcwt"):
        torch.testing.assert_close(operator(images), singles, rtol=0, atol=2e-6)
    else:
        assert torch.equal(operator(images), singles)


def test_memory_layout_does_not_matter(named: tuple[str, Operator, int]) -> None:
    name, operator, _ = named
    images = random_images(3, 3, 16, 24)
    wide = torch.zeros(3, 3, 20, 50, dtype=torch.uint8)
    wide[:, :, 2:18, 1:49:2] = images
    expected = operator(images)
    tolerance = 2e-6 if name.startswith("dtcwt") else 0
    for laid_out in (
        images.to(memory_format=torch.channels_last),
        wide[:, :, 2:18, 1:49:2],
        images.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        maps = operator(laid_out)
        assert maps.is_contiguous()
        torch.testing.assert_close(maps, expected, rtol=0, atol=tolerance)
    repeated = operator(images[:1].expand(3, -1, -1, -1))
    torch.testing.assert_close(repeated, expected[:1].expand_as(expected), rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.zeros(2, 3, 8, 8), "float32[2, 3, 8, 8]"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "int64[2, 3, 8, 8]"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "uint8[3, 8, 8]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "uint8[2, 1, 8, 8]"),
        (torch.zeros(2, 3, 0, 8, dtype=torch.uint8), "uint8[2, 3, 0, 8]"),
    ],
)
def test_wrong_input_is_refused_with_its_shape(
    named: tuple[str, Operator, int], images: torch.Tensor, told: str
) -> None:
    _, operator, _ = named
    with pytest.raises(ValueError, match=r"takes images uint8\[B, 3, H, W\]; got ") as caught:
        operator(images)
    assert told in str(caught.value)
    assert type(operator).__name__ in str(caught.value)


def test_nothing_to_learn_and_nothing_to_save(named: tuple[str, Operator, int]) -> None:
    _, operator, _ = named
    assert list(operator.parameters()) == []
    assert operator.state_dict() == {}


def test_copies_and_pickles_give_the_same(named: tuple[str, Operator, int]) -> None:
    _, operator, _ = named
    images = random_images(2, 3, 16, 16)
    expected = operator(images)
    for twin in (copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):
        assert torch.equal(twin(images), expected)


def test_autocast_does_not_reach_the_operator(named: tuple[str, Operator, int]) -> None:
    _, operator, _ = named
    images = random_images(2, 3, 16, 16)
    expected = operator(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(operator(images), expected)


def test_registry_names_are_the_settings_names() -> None:
    for config in (IdentityConfig(), LbpConfig(), RgConfig(), DtcwtConfig()):
        assert type(build_operator(config)) is OPERATORS[config.name]
    assert sorted(OPERATORS) == ["dtcwt", "identity", "lbp", "rg"]


def test_identity_is_exactly_bytes_over_255() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    expected = (images.double() / 255).float()
    assert torch.equal(build_operator(IdentityConfig())(images), expected)


def test_without_pytorch_wavelets_only_dtcwt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pytorch_wavelets", "pytorch_wavelets.dtcwt"):
        monkeypatch.setitem(sys.modules, name, None)
    for config in (IdentityConfig(), LbpConfig(), RgConfig()):
        build_operator(config)
    with pytest.raises(ConfigError, match=r"dtcwt needs pytorch_wavelets.*pip install"):
        build_operator(DtcwtConfig())


@pytest.mark.slow
def test_pytorch_wavelets_is_imported_late_and_silently() -> None:
    program = (
        "import sys, warnings\n"
        "import torch\n"
        "from pipelines.views.operators import build_operator\n"
        "from raytrain.config.operators import DtcwtConfig, LbpConfig\n"
        "build_operator(LbpConfig())\n"
        "assert 'pytorch_wavelets' not in sys.modules\n"
        "warnings.simplefilter('error')\n"
        "build_operator(DtcwtConfig())\n"
        "assert 'pytorch_wavelets' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
