"""Other loaders over the same files, with our decoding: each reader a process, as its users would run it.

`python -m raytrain.bench.peers NAME SETTINGS` reads the samples some times, and prints the seconds of all
cores that its process and its workers took for that.
"""

import io
import json
import os
import sys
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.decode.image import decode_image
from raytrain.bench.processes import CpuMeter

MAX_PIXELS = 10**8
WORKERS = 1
"""of each reader's loader"""
SHARD_SAMPLES = 128


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is read: encoded images with a number each."""

    paths: Sequence[str]
    labels: Sequence[int]
    canvas_px: int
    batch_size: int
    epochs: int
    packed: str
    """folder for what a peer makes of the files"""

    def decode(self, data: bytes) -> torch.Tensor:
        """Return an image on the canvas, u8[3, canvas, canvas]."""
        return torch.from_numpy(
            np.ascontiguousarray(
                decode_image(data, canvas_px=self.canvas_px, fit="squash", max_pixels=MAX_PIXELS)
            )
        )


Batches = Iterable[Any]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One loader: `pack` makes its form of the files, not measured; `open` yields one epoch when iterated."""

    package: str
    """that has to be installed"""
    pack: Callable[[Files], None]
    open: Callable[[Files], Batches]

    @property
    def is_installed(self) -> bool:
        """Return whether the package is there."""
        return find_spec(self.package) is not None


class _FileDataset(torch.utils.data.Dataset[Any]):
    def __init__(self, files: Files) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        files = self._files
        return files.decode(Path(files.paths[index]).read_bytes()), files.labels[index]


def _pack_nothing(files: Files) -> None:
    """The files are read as they are."""


def _open_torch(files: Files) -> Batches:
    return torch.utils.data.DataLoader(
        _FileDataset(files),
        batch_size=files.batch_size,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )


def _pack_webdataset(files: Files) -> None:
    for start in range(0, len(files.paths), SHARD_SAMPLES):
        with tarfile.open(Path(files.packed) / f"{start // SHARD_SAMPLES:05d}.tar", "w") as tar:
            for index in range(start, min(start + SHARD_SAMPLES, len(files.paths))):
                label = str(files.labels[index]).encode()
                for ending, data in (("jpg", Path(files.paths[index]).read_bytes()), ("cls", label)):
                    entry = tarfile.TarInfo(f"{index:08d}.{ending}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))


def _open_webdataset(files: Files) -> Batches:
    import webdataset

    shards = sorted(map(str, Path(files.packed).glob("*.tar")))
    dataset = webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(SHARD_SAMPLES)
    decoded = dataset.map(lambda sample: (files.decode(sample["jpg"]), int(sample["cls"])))
    loader: Batches = webdataset.WebLoader(
        decoded, batch_size=files.batch_size, num_workers=WORKERS, persistent_workers=True
    )
    return loader


def _pack_streaming(files: Files) -> None:
    from streaming import MDSWriter

    with MDSWriter(out=files.packed, columns={"image": "bytes", "label": "int"}) as writer:
        for path, label in zip(files.paths, files.labels, strict=True):
            writer.write({"image": Path(path).read_bytes(), "label": label})


def _open_streaming(files: Files) -> Batches:
    from streaming import StreamingDataset

    class Decoded(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            sample = super().__getitem__(index)
            return files.decode(sample["image"]), sample["label"]

    return torch.utils.data.DataLoader(
        Decoded(local=files.packed, shuffle=True, batch_size=files.batch_size),
        batch_size=files.batch_size,
        num_workers=WORKERS,
        persistent_workers=True,
    )


def _read_pair(pair: tuple[str, int]) -> dict[str, Any]:
    return {"image": Path(pair[0]).read_bytes(), "label": pair[1]}


def _pack_litdata(files: Files) -> None:
    import litdata

    pairs = list(zip(files.paths, files.labels, strict=True))
    litdata.optimize(fn=_read_pair, inputs=pairs, output_dir=files.packed, chunk_bytes="64MB", num_workers=1)


def _open_litdata(files: Files) -> Batches:
    import litdata

    class Decoded(litdata.StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, index: Any) -> tuple[torch.Tensor, int]:
            sample = super().__getitem__(index)
            return files.decode(sample["image"]), sample["label"]

    loader: Batches = litdata.StreamingDataLoader(
        Decoded(files.packed, shuffle=True),
        batch_size=files.batch_size,
        num_workers=WORKERS,
        persistent_workers=True,
    )
    return loader


PEERS = {
    "torch DataLoader": Peer(package="torch", pack=_pack_nothing, open=_open_torch),
    "webdataset": Peer(package="webdataset", pack=_pack_webdataset, open=_open_webdataset),
    "mosaicml-streaming": Peer(package="streaming", pack=_pack_streaming, open=_open_streaming),
    "litdata": Peer(package="litdata", pack=_pack_litdata, open=_open_litdata),
}


def read_all(peer: Peer, files: Files) -> tuple[int, float]:
    """Read an epoch, then `epochs`; return the samples of those, and the seconds of all cores they took."""
    torch.set_num_threads(1)
    batches = peer.open(files)
    _read_epoch(batches)
    with CpuMeter(os.getpid()) as meter:
        began = meter.seconds()
        count = sum(_read_epoch(batches) for _ in range(files.epochs))
        return count, meter.seconds() - began


def _read_epoch(batches: Batches) -> int:
    return sum(len(images) for images, _ in batches)


def main(name: str, settings: str) -> None:
    """Read, and print the samples and the seconds."""
    files, peer = Files(**json.loads(Path(settings).read_text(encoding="utf-8"))), PEERS[name]
    sys.stdout.write(json.dumps(read_all(peer, files)) + "\n")


def write_settings(files: Files, path: Path) -> None:
    """Write the files' list where a reader's process finds it."""
    path.write_text(json.dumps(asdict(files)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
