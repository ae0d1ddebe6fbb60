"""The bench of loaders: the same files and decoding for all; how fast they are is not tested here."""

import dataclasses
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from raytrain import api
from raytrain.bench import loaders, peers
from raytrain.bench.loaders import OURS, TORCH, rows_of
from raytrain.bench.peers import PEERS, Files, read_all
from raytrain.errors import ClusterError, ConfigError, DataError


@pytest.fixture
def files(tmp_path: Path) -> Files:
    loaders.write_images(tmp_path / "data", 7)
    config = loaders._config(tmp_path, str(tmp_path / "data"))
    found = loaders._files(config, tmp_path / "packed")
    (tmp_path / "packed").mkdir()
    return dataclasses.replace(found, batch_size=3, epochs=2, canvas_px=32)


def seen(batches: Iterator[Any]) -> dict[int, np.ndarray]:
    """Return the first image of each label of one epoch, on the canvas."""
    return {
        int(label): image.numpy()
        for images, labels in batches
        for image, label in zip(images, labels, strict=True)
    }


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch's loader read here: processes are not what is tested."""
    real = torch.utils.data.DataLoader

    def here(dataset: Any, **settings: Any) -> Any:
        assert settings.pop("num_workers") == peers.WORKERS
        settings.pop("persistent_workers")
        return real(dataset, **settings)

    monkeypatch.setattr(torch.utils.data, "DataLoader", here)


def test_generated_images_are_like_photographs(files: Files) -> None:
    assert len(files.paths) == len(files.labels) == 7
    assert files.labels == sorted(files.labels)
    for path in files.paths:
        with Image.open(path) as image:
            assert image.size == loaders.SIZE_PX
        assert 50_000 < Path(path).stat().st_size < 200_000


@pytest.mark.usefixtures("in_this_process")
def test_torch_reads_every_file_by_our_decoder(files: Files) -> None:
    found = seen(iter(PEERS[TORCH].open(files)))
    assert sorted(found) == files.labels
    for path, label in zip(files.paths, files.labels, strict=True):
        np.testing.assert_array_equal(found[label], files.decode(Path(path).read_bytes()).numpy())
    count, seconds = read_all(PEERS[TORCH], files)
    assert count == 2 * 7
    assert seconds >= 0


class FakeSet:
    """webdataset's chain of calls on tar files."""

    def __init__(self, shards: list[str], shardshuffle: int) -> None:
        assert shardshuffle == len(shards)
        self._shards, self._function = shards, dict

    def shuffle(self, size: int) -> "FakeSet":
        return self

    def map(self, function: Any) -> "FakeSet":
        self._function = function
        return self

    def __iter__(self) -> Iterator[Any]:
        for shard in self._shards:
            with tarfile.open(shard) as tar:
                names = tar.getnames()
                for pair in zip(names[::2], names[1::2], strict=True):
                    assert pair[0].replace("jpg", "cls") == pair[1]
                    read = [tar.extractfile(name) or io.BytesIO() for name in pair]
                    yield self._function({"jpg": read[0].read(), "cls": read[1].read()})


def loader(dataset: Any, *, batch_size: int, num_workers: int, persistent_workers: bool) -> Iterator[Any]:
    samples = list(dataset) if hasattr(dataset, "__iter__") else [dataset[i] for i in range(len(dataset))]
    for start in range(0, len(samples), batch_size):
        images, labels = zip(*samples[start : start + batch_size], strict=True)
        yield torch.stack(images), torch.tensor(labels)


class FakeStore:
    """A data set in one JSON file, as both streaming and litdata keep theirs in a folder."""

    def __init__(self, folder: str = "", **settings: Any) -> None:
        place = Path(settings.get("local", folder)) / "kept.json"
        self._kept = json.loads(place.read_text())
        assert settings["shuffle"] is True

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = self._kept[index]
        return {"image": bytes.fromhex(image), "label": label}


def keep(folder: str, samples: list[dict[str, Any]]) -> None:
    kept = [(sample["image"].hex(), sample["label"]) for sample in samples]
    (Path(folder) / "kept.json").write_text(json.dumps(kept))


class FakeWriter:
    def __init__(self, *, out: str, columns: dict[str, str]) -> None:
        assert columns == {"image": "bytes", "label": "int"}
        self._out, self._samples = out, list[dict[str, Any]]()

    def __enter__(self) -> "FakeWriter":
        return self

    def __exit__(self, *error: object) -> None:
        keep(self._out, self._samples)

    def write(self, sample: dict[str, Any]) -> None:
        self._samples.append(sample)


def optimize(*, fn: Any, inputs: list[Any], output_dir: str, chunk_bytes: str, num_workers: int) -> None:
    keep(output_dir, [fn(one) for one in inputs])


FAKES = {
    "webdataset": SimpleNamespace(WebDataset=FakeSet, WebLoader=loader),
    "mosaicml-streaming": SimpleNamespace(MDSWriter=FakeWriter, StreamingDataset=FakeStore),
    "litdata": SimpleNamespace(optimize=optimize, StreamingDataset=FakeStore, StreamingDataLoader=loader),
}


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", list(FAKES))
def test_the_others_get_the_same_files(monkeypatch: pytest.MonkeyPatch, files: Files, name: str) -> None:
    monkeypatch.setitem(sys.modules, PEERS[name].package, FAKES[name])
    monkeypatch.setattr(peers, "SHARD_SAMPLES", 4)
    PEERS[name].pack(files)
    found = seen(iter(PEERS[name].open(files)))
    assert sorted(found) == files.labels
    for path, label in zip(files.paths, files.labels, strict=True):
        np.testing.assert_array_equal(found[label], files.decode(Path(path).read_bytes()).numpy())


@pytest.mark.slow
def test_a_reader_is_a_process_that_says_what_it_took(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    monkeypatch.setattr(loaders, "EPOCHS", files.epochs)
    measured = loaders._Peer.packed(TORCH, files)
    assert measured(1) > 0
    wrong = dataclasses.replace(measured, num_samples=8)
    with pytest.raises(ClusterError, match=r"bench loaders: torch DataLoader gave 14 samples, not 2 x 8"):
        wrong(1)
    measured.settings.write_text("{}")
    with pytest.raises(ClusterError, match=r"bench loaders: torch DataLoader failed: .*missing"):
        measured(1)


def test_rows_hold_ours_against_torch() -> None:
    rounds = [
        {(TORCH, 1): 100.0, (TORCH, 4): 25.0, (OURS, 1): 80.0, (OURS, 4): 76.0},
        {(TORCH, 1): 110.0, (TORCH, 4): 20.0, (OURS, 1): 88.0, (OURS, 4): 66.0},
        {(TORCH, 1): 90.0, (TORCH, 4): 30.0, (OURS, 1): 45.0, (OURS, 4): 45.0},
    ]
    rows = rows_of(rounds)
    assert [row["name"] for row in rows[:4]] == [
        "torch DataLoader, 1 reader",
        "torch DataLoader, 4 readers",
        "raytrain through ray, 1 reader",
        "raytrain through ray, 4 readers",
    ]
    assert rows[0] == {
        "name": "torch DataLoader, 1 reader",
        "value": 100.0,
        "unit": "samples/cpu-s, 90 to 110",
    }
    ratios = [(row["name"][-9:], row["against"], row["ratio"], row["bound"]) for row in rows[4:]]
    assert ratios == [
        (" 1 reader", "torch DataLoader, 1 reader", pytest.approx(0.8), None),
        ("4 readers", "torch DataLoader, 4 readers", pytest.approx(3.04), ">= 1"),
        ("4 readers", "torch DataLoader, 1 reader", pytest.approx(0.6), None),
        ("4 readers", "raytrain through ray, 1 reader", pytest.approx(0.95), ">= 0.9"),
    ]


def test_what_is_not_installed_is_said_in_one_row() -> None:
    row = loaders._absent(["webdataset", "litdata"])
    assert row["name"] == "not installed: webdataset, litdata"
    assert row["unit"] == "(pip install 'raytrain[peers]')"


def test_another_cluster_and_other_data_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(ConfigError, match=r"counts the processes that it starts itself; unset RAY_ADDRESS"):
        api.bench("loaders")
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(ConfigError, match=r"^bench operators reads no data of yours; leave --root away$"):
        api.bench("operators", root=str(tmp_path))
    values = {"data": {"source": "shapes", "shapes": {"num_train": 4, "num_test": 4}}}
    config = loaders.from_mapping({"preset": "x", "out": "x", "pathways": {"identity": {}}, **values})
    with pytest.raises(DataError, match=r"bench loaders needs image files in folders of classes"):
        loaders._files(config, tmp_path)
