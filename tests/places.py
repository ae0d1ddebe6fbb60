"""Folders of every kind as people have them, made of a few small files."""

from pathlib import Path

import av
import numpy as np
from PIL import Image


def save_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def images(root: Path, num: int = 12) -> None:
    """Class folders of images that have nothing in common."""
    for number in range(num):
        save_image(root / "ab"[number % 2] / f"{number // 2:04d}.png", number)


def frames(root: Path, num_clips: int = 4, num_frames: int = 6) -> None:
    """A folder a clip: a window that moves by a pixel over a picture of its own."""
    for clip in range(num_clips):
        scene = np.random.default_rng(clip).integers(0, 256, (12, 20, 3), dtype=np.uint8)
        wide = np.asarray(Image.fromarray(scene).resize((80, 48)))
        for frame in range(num_frames):
            path = root / f"clip{clip}" / f"frame_{frame:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(wide[:, frame : frame + 64]).save(path)


def clips(root: Path, num: int = 6) -> None:
    """Class folders of videos."""
    for number in range(num):
        path = root / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (64, 120, 3), dtype=np.uint8)
        with av.open(str(path), "w") as file:
            stream = file.add_stream("mpeg4", rate=24)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for frame in range(30):
                window = np.ascontiguousarray(pixels[:, frame : frame + 64])
                for packet in stream.encode(av.VideoFrame.from_ndarray(window, format="rgb24")):
                    file.mux(packet)
            for packet in stream.encode():
                file.mux(packet)


def recordings(root: Path, num: int = 10, *, width: int = 40, height: int = 30) -> None:
    """Class folders of arrays of events, which say no sensor's size."""
    for number in range(num):
        rng = np.random.default_rng(number)
        x, y = rng.integers(0, width, 400), rng.integers(0, height, 400)
        x[0], y[0] = width - 1, height - 1
        t = np.sort(rng.integers(0, 100_000, 400))
        path = root / "ab"[number % 2] / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.stack([t, x, y, rng.integers(0, 2, 400)], axis=1))


def listed(root: Path, text: str, name: str = "list.csv", num: int = 12) -> None:
    """A folder of images without classes, and a list of them; `{n}` of a line is the image's number."""
    for number in range(num):
        save_image(root / "images" / f"{number}.png", number)
    head, _, line = text.partition("\n")
    lines = [line.format(n=n, even=n % 2, pair=n // 2, half=n // (num // 2)) for n in range(num)]
    (root / name).write_text("\n".join([head, *lines]) + "\n")
