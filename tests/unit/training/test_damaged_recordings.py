"""Runs on recordings of which half are damaged: quarantined; odd ones are trained on; all stays finite."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from raytrain import api
from raytrain.config import from_mapping
from raytrain.errors import ConfigError, DataError
from raytrain.evaluation.features import open_features
from tests.event_files import (
    aedat2_file,
    aedat3_file,
    aedat4_file,
    bin_file,
    dat_file,
    npy_file,
    random_recording,
    xytp,
)

SIDE = 34
PLAIN = random_recording(200, width=SIDE, height=SIDE)
EARLY, LATE = PLAIN.part(0, 60), random_recording(80, width=SIDE, height=SIDE, start_us=2**32 - 200)
OUTSIDE = random_recording(width=90, height=SIDE)


def table(**columns: Any) -> NDArray[np.float64]:
    found = xytp(PLAIN).astype(np.float64)
    for name, values in columns.items():
        found[:, "xytp".index(name)] = values
    return found


def one_of(column: str, value: float) -> bytes:
    """The plain recording with one value changed."""
    changed = table()
    changed[120, "xytp".index(column)] = value
    return npy_file(changed)


DAMAGED: dict[str, tuple[str, bytes, str]] = {
    "odd bytes": ("bin", bin_file(PLAIN)[:-2], "no whole number of events of 5 bytes"),
    "odd bytes of dat": ("dat", dat_file(PLAIN)[:-3], "no whole number of events of 8 bytes"),
    "cut header of dat": ("dat", b"% Data file\n% Vers", "header has no end"),
    "other events of dat": ("dat", b"% line\n\x0e\x08", "events of type 14"),
    "polarity of dat": ("dat", dat_file(PLAIN) + struct.pack("<II", 10**6, 7 << 28), "polarity 7"),
    "cut aedat4": ("aedat4", aedat4_file(PLAIN)[:-13], "cut off or damaged"),
    "no events in aedat4": ("aedat4", aedat4_file(PLAIN).replace(b">EVTS<", b">FRME<"), "no stream"),
    "aedat of no version": ("aedat", b"#!AER-DAT5.0\r\n", "'5.0'"),
    "no end of aedat": ("aedat", b"#!AER-DAT2.0 # no line", "header has no end"),
    "another chip": ("aedat", aedat2_file(PLAIN, chip=b"eu.DAVIS240C"), "only DVS128"),
    "cut npy": ("npy", npy_file(table())[:150], "cannot be read"),
    "no bytes of npy": ("npy", b"", "is empty"),
    "pickle": ("npy", npy_file(np.array([{}], dtype=object)), "cannot be read"),
    "three columns": ("npy", npy_file(np.zeros((5, 3))), r"shape (5, 3)"),
    "x outside": ("bin", bin_file(OUTSIDE), "outside the sensor of 34 px"),
    "y outside": ("npy", one_of("y", SIDE), "y = 34 of event 120 lies outside"),
    "x negative": ("npy", one_of("x", -1), "x = -1 of event 120"),
    "x between pixels": ("npy", one_of("x", 0.5), "no pixels' numbers"),
    "x not a number": ("npy", one_of("x", np.nan), "no pixels' numbers"),
    "time not a number": ("npy", one_of("t", np.nan), "not finite"),
    "time without end": ("npy", one_of("t", np.inf), "not finite"),
    "time too large": ("npy", one_of("t", 1e300), "too large"),
    "time runs back": ("npy", one_of("t", 0), "time runs back at 1 of 200 events"),
    "time runs back in bin": ("bin", bin_file(PLAIN)[5:] + bin_file(PLAIN)[:5], "time runs back at 1 of"),
    "polarity 2": ("npy", one_of("p", 2), "polarities other than -1, 0 and 1"),
    "text": ("bin", b"no events at al", "outside the sensor of 34 px"),
}
ODD: dict[str, tuple[str, bytes]] = {
    "p of -1 and 1": ("npy", npy_file(xytp(PLAIN))),
    "p of 0 and 1": ("npy", npy_file(xytp(PLAIN, signs=False))),
    "p of one value": ("npy", npy_file(table(p=-1))),
    "seconds": ("npy", npy_file(xytp(PLAIN, seconds=True))),
    "times below 0": ("npy", npy_file(table(t=PLAIN.t - 10**6))),
    "no events": ("npy", npy_file(np.zeros((0, 4)))),
    "no bytes of bin": ("bin", b""),
    "one event": ("bin", bin_file(PLAIN.part(0, 1))),
    "two events at once": ("npy", npy_file(table(t=5.0)[:2])),
    "all stamps equal": ("npy", npy_file(table(t=7.0))),
    "one pixel": ("npy", npy_file(table(x=0, y=SIDE - 1))),
    "over 2^32 us": ("dat", dat_file(LATE)),
    "another size in the header": ("dat", dat_file(PLAIN, sized=True)),
    "days between two events": ("npy", npy_file(table(t=np.arange(200.0) * 1e10))),
}
GOOD: dict[str, tuple[str, bytes]] = {
    f"good {number}": (ending, write(random_recording(150, width=SIDE, height=SIDE, seed=number)))
    for number, (ending, write) in enumerate(
        [("bin", bin_file), ("dat", dat_file), ("aedat", aedat3_file), ("aedat4", aedat4_file)] * 2
    )
}
VGG6 = {"name": "vgg6", "width": 0.0078125, "batch_norm": True}
COUNT = {"operator": "count", "encoder": VGG6, "cut": "surface", "objective": "supervised"}
MOVED = {"shift_px": 20, "flip": True}
OPERATORS: list[Any] = [
    {"name": "count", "scale": "log"},
    "last_timestamp",
    "time_surface",
    {"name": "hats", "cell_px": 2},
    {"name": "voxel_grid", "num_bins": 3},
    "est",
    "binary_frames",
]


def write_folder(root: Path) -> Path:
    """Write 40 recordings, 26 of them damaged, and 8 good ones; half as many of each to test on."""
    assert len(DAMAGED) + len(ODD) == 40
    files = {name: (ending, data) for name, (ending, data, _) in DAMAGED.items()} | ODD | GOOD
    for number, (name, (ending, data)) in enumerate(files.items()):
        for split in ("train", "test")[: 1 + number % 2]:
            folder = root / split / ("left", "right")[number // 2 % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.{ending}").write_bytes(data)
    return root


def values(root: Path, out: Path, pathways: dict[str, Any]) -> dict[str, Any]:
    return {
        "out": str(out),
        "report": False,
        "cache": {"enabled": False},
        "data": {
            "source": "recordings",
            "root": str(root),
            "select_fraction": 0.0,
            "quarantine_budget": 0.7,
            "events": {"sensor_width": SIDE, "sensor_height": SIDE, "sort_within_us": 0},
        },
        "training": {
            "executor": "inline",
            "epochs": 1,
            "batch_size": 8,
            "log_every": 1,
            "device": "cpu",
        },
        "probe": {"batch_size": 8, "num_bootstrap": 100},
        "pathways": pathways,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("recordings"))


def check_run(root: Path, out: Path, pathways: dict[str, Any]) -> None:
    """Train, represent and probe; everything is finite, and the damaged are quarantined with the reason."""
    run = api.train(from_mapping(values(root, out, pathways)))
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [loss for line in lines for loss in line.get("losses", {}).values()]
    assert {line["step"] for line in lines} == set(range(1, 7))
    assert len(losses) >= 6 * len(pathways)
    assert np.isfinite(losses).all()
    for name in pathways:
        features = np.asarray(open_features(run.folder / "features", name).array, np.float32)
        assert np.isfinite(features).all()
        assert features.std() > 0
    found = [json.loads(line) for line in (run.folder / "quarantine.jsonl").read_text().splitlines()]
    reasons = {Path(entry["key"]).stem: entry["reason"] for entry in found}
    assert set(reasons) == set(DAMAGED)
    for name, (_, _, reason) in DAMAGED.items():
        assert reason in reasons[name], name
    assert run.summary["status"] == "done"


@pytest.mark.slow
def test_operators_train_and_represent_what_is_left(folder: Path, tmp_path: Path) -> None:
    pathways: dict[str, Any] = {}
    for number, operator in enumerate(OPERATORS):
        name = operator if isinstance(operator, str) else operator["name"]
        pathways[name] = {"operator": operator, "encoder": VGG6, "augmentation": MOVED if number % 2 else {}}
        if name in ("voxel_grid", "binary_frames"):
            objective = {"name": "hinge_cpc", "num_steps": 1, "skip": 0}
            pathways[name] |= {"cut": "bins", "objective": objective}
        elif name == "count":
            objective = {"name": "clapp", "num_steps": 1, "skip": 0}
            pathways[name] |= {"cut": {"size_px": 16, "stride_px": 8}, "objective": objective}
        else:
            pathways[name] |= {"cut": "surface", "objective": "supervised"}
    check_run(folder, tmp_path / "run", pathways)


@pytest.mark.slow
def test_stems_train_and_represent_what_is_left(folder: Path, tmp_path: Path) -> None:
    common = {"operator": "events", "cut": "surface", "objective": "supervised", "augmentation": MOVED}
    pathways = {
        "lstm": {**common, "stem": {"name": "matrix_lstm", "hidden": 2}, "encoder": VGG6},
        "bins": {
            **common,
            "stem": {"name": "matrix_lstm", "hidden": 2, "bins": 3, "squeeze": True, "field_px": 3},
            "encoder": VGG6,
        },
        "spikes": {**common, "stem": {"name": "est", "bins": 2, "units": 4}, "encoder": VGG6},
        "phased": {
            **common,
            "stem": {
                "name": "phased_lstm",
                "channels": 4,
                "embedding": 4,
                "open_share": 0.5,
                "max_events": 20,
            },
            "encoder": "none",
        },
    }
    check_run(folder, tmp_path / "run", pathways)


def test_over_the_budget_the_run_ends_with_a_line(folder: Path, tmp_path: Path) -> None:
    given = values(folder, tmp_path / "run", {"count": COUNT})
    given["data"]["quarantine_budget"] = 0.1
    with pytest.raises(DataError, match="quarantine"):
        api.train(from_mapping(given))


def test_a_sensor_of_unknown_size_is_asked_for(tmp_path: Path) -> None:
    for number in range(4):
        for split in ("train", "test"):
            file = tmp_path / "data" / split / f"class{number % 2}" / f"{number}.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bin_file(replace(EARLY, width=0, height=0)))
    given = values(tmp_path / "data", tmp_path / "run", {"count": COUNT})
    given["data"]["events"] = {}
    with pytest.raises(ConfigError, match=r"size is not known .* set data\.events\.sensor_width"):
        api.train(from_mapping(given))
