import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.forms.recording import Recording
from pipelines.sources import open_manifest
from raytrain import api
from raytrain.config import from_mapping, load_preset
from raytrain.reporting.event_movie import Movie, Pace, event_frames, event_movie, movie_of_first
from raytrain.reporting.figures.palette import BRIGHTER, DARKER, RECORDING_GAP, RECORDING_GROUND

WIDTH, HEIGHT = 8, 6


def recording(
    events: list[tuple[int, int, int, int]], *, width: int = WIDTH, height: int = HEIGHT
) -> Recording:
    """Return the recording of events (x, y, t, p)."""
    x, y, t, p = np.array(events, np.int64).reshape(-1, 4).T
    return Recording(
        x=x.astype(np.uint16),
        y=y.astype(np.uint16),
        t=t,
        p=p.astype(np.uint8),
        width=width,
        height=height,
    )


def noise(count: int, side: int, duration_us: int, seed: int = 0) -> Recording:
    random = np.random.default_rng(seed)
    places = random.integers(0, side, (2, count)).astype(np.uint16)
    return Recording(
        x=places[0],
        y=places[1],
        t=np.sort(random.integers(0, duration_us, count)),
        p=random.integers(0, 2, count).astype(np.uint8),
        width=side,
        height=side,
    )


def frames_of(movie: Movie) -> tuple[list[Image.Image], list[int]]:
    """Return the frames and how long each is shown, in milliseconds."""
    frames, delays = [], []
    with Image.open(io.BytesIO(movie.gif)) as gif:
        assert gif.format == "GIF"
        assert gif.info["loop"] == 0  # for ever
        assert gif.size == (movie.width_px, movie.height_px)
        for number in range(getattr(gif, "n_frames", 1)):
            gif.seek(number)
            frames.append(gif.convert("RGB"))
            delays.append(gif.info["duration"])
    return frames, delays


def colour(image: Image.Image, x: int, y: int) -> str:
    red, green, blue = image.getpixel((x, y))  # type: ignore[misc]
    return f"#{red:02x}{green:02x}{blue:02x}"


def test_each_event_is_in_its_frame_at_its_place_in_its_colour() -> None:
    # One event a frame, the polarities in turn, from a stamp that is not 0 on.
    events = [(number % WIDTH, number // WIDTH, 5000 + 10_000 * number, number % 2) for number in range(30)]
    last = (7, 5, 5000 + 300_000 - 1, 1)
    movie = event_movie([recording([*events, last])], ["one"])
    frames, delays = frames_of(movie)
    scale = movie.width_px // WIDTH
    assert (movie.width_px, movie.height_px) == (WIDTH * scale, HEIGHT * scale)
    assert scale == 32
    assert len(frames) == 30
    assert sum(delays) == 2400
    for number, (x, y, _, polarity) in enumerate(events):
        for row in range(HEIGHT):
            for column in range(WIDTH):
                wanted = RECORDING_GROUND
                if (column, row) == (x, y):
                    wanted = BRIGHTER if polarity else DARKER
                if (column, row) == (7, 5) and number == 29:
                    wanted = BRIGHTER
                for corner in (0, scale - 1):  # whole pixels
                    place = (column * scale + corner, row * scale + corner)
                    assert colour(frames[number], *place) == wanted, (number, column, row)
    assert movie.pace == "8.0 times slower"


def test_a_pixel_shows_its_newest_event_of_the_frame() -> None:
    pace = Pace.of(240_000 - 1)
    events = [(1, 1, 0, 0), (2, 1, 0, 1), (1, 1, 3000, 1), (2, 1, 3000, 0), (0, 0, 239_999, 1)]
    frames = event_frames([recording(events)], pace)
    assert frames[0, 1, 1] == 2
    assert frames[0, 1, 2] == 1
    assert frames[1:-1].max() == 0
    assert frames[-1, 0, 0] == 2


def test_recordings_of_any_size_stand_side_by_side_from_their_first_event_on() -> None:
    small = recording([(1, 0, 900_000, 1), (1, 0, 900_050, 1)], width=2, height=2)
    movie = event_movie([recording([(0, 0, 0, 0), (0, 0, 99_999, 0)]), small], ["large", "small"])
    frames, _ = frames_of(movie)
    scale = movie.height_px // HEIGHT
    assert movie.width_px == (2 * WIDTH + 1) * scale
    assert colour(frames[0], 0, 0) == DARKER
    assert colour(frames[0], WIDTH * scale, 0) == RECORDING_GAP
    assert colour(frames[0], (WIDTH + 2) * scale, 0) == BRIGHTER
    assert colour(frames[-1], (WIDTH + 2) * scale, 0) == RECORDING_GROUND
    assert movie.names == ["large", "small"]


@pytest.mark.parametrize(
    ("events", "num_frames"),
    [([], 1), ([(3, 2, 7, 1)], 2), ([(3, 2, 7, 1), (4, 2, 7, 0)], 2)],
    ids=["no event", "one event", "all at once"],
)
def test_recordings_without_a_duration_have_a_movie(
    events: list[tuple[int, int, int, int]], num_frames: int
) -> None:
    movie = event_movie([recording(events)])
    frames, delays = frames_of(movie)
    assert len(frames) == num_frames  # those that are equal are one
    assert sum(delays) == 2400
    if events:
        scale = movie.width_px // WIDTH
        assert colour(frames[0], 3 * scale, 2 * scale) == BRIGHTER
        with Image.open(io.BytesIO(movie.still)) as still:
            assert colour(still.convert("RGB"), 3 * scale, 2 * scale) == BRIGHTER


def test_a_sensor_that_nobody_knows_is_as_large_as_its_events() -> None:
    movie = event_movie([recording([(3, 1, 0, 1)], width=0, height=0)])
    assert movie.width_px == 2 * movie.height_px


@pytest.mark.parametrize(
    ("duration_us", "frames", "play_ms", "words"),
    [
        (299_999, 30, 2400, "8.0 times slower"),
        (23_999, 30, 2400, "100 times slower"),
        (1_999_998, 30, 2400, "1.2 times slower"),
        (1_999_999, 25, 2000, "in real time"),
        (3_000_000, 38, 3000, "in real time"),
        (3_999_999, 40, 4000, "in real time"),
        (60_000_000, 40, 4000, "the first 4 s of 60.0 s in real time"),
    ],
)
def test_the_pace(duration_us: int, frames: int, play_ms: int, words: str) -> None:
    pace = Pace.of(duration_us)
    assert pace.num_frames == frames
    assert sum(pace.delays_ms) == play_ms
    assert {delay % 10 for delay in pace.delays_ms} == {0}
    assert min(pace.delays_ms) >= 20  # browsers slow down what is faster
    assert pace.words(duration_us) == words


def test_the_file_is_bounded_by_fewer_then_larger_pixels() -> None:
    full = noise(60_000, 64, 300_000)
    free = event_movie([full], max_bytes=10_000_000)
    assert free.width_px == 256
    bounded = event_movie([full], max_bytes=60_000)
    assert len(free.gif) > 60_000 >= len(bounded.gif)
    assert bounded.width_px in (64, 32, 22, 16)
    assert len(frames_of(bounded)[0]) == 30


def test_a_large_sensor_is_thinned_out() -> None:
    movie = event_movie([noise(2000, 640, 100_000, seed) for seed in range(3)])
    assert movie.width_px <= 800
    assert len(movie.gif) <= 400_000


def test_no_recordings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one recording"):
        event_movie([])


def test_inspect_writes_a_gif_beside_the_sheet(tmp_path: Path) -> None:
    shapes = {"num_train": 8, "num_test": 8, "size_px": 16, "duration_ms": 30}
    data = from_mapping(
        {
            "data": {"source": "moving_shapes", "moving_shapes": shapes},
            "pathways": {"count": {"operator": "count"}},
        }
    ).data
    config = dataclasses.replace(load_preset("nmnist-surfaces"), data=data)
    said = api.inspect(config, sheet=tmp_path / "s.png").splitlines()[-1]
    with Image.open(tmp_path / "s.gif") as gif:
        size = gif.size
        assert getattr(gif, "n_frames", 1) > 20
    movie = movie_of_first(config, open_manifest(data))
    assert said.startswith(f"movie      {tmp_path / 's.gif'}: {', '.join(movie.names)}; {movie.pace}; ")
    assert f"{size[0]} x {size[1]} px, " in said
    assert len(movie.names) == 3
    assert (tmp_path / "s.gif").read_bytes() == movie.gif
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 8 * 120  # the samples and seven surfaces


def test_a_sheet_that_is_called_gif_is_not_overwritten(tmp_path: Path) -> None:
    config = load_preset("nmnist-surfaces")
    shapes = dataclasses.replace(
        config.data.moving_shapes, num_train=8, num_test=8, size_px=16, duration_ms=30
    )
    data = dataclasses.replace(config.data, source="moving_shapes", moving_shapes=shapes)
    api.inspect(dataclasses.replace(config, data=data), sheet=tmp_path / "s.gif")
    assert (tmp_path / "s.gif").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "s-moving.gif").read_bytes()[:3] == b"GIF"
