"""`raytrain inspect DIR` ends with a command that works; a preset of another kind says which presets fit."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from raytrain.cli import main
from raytrain.config import load_preset, preset_names, presets_taking
from raytrain.config.flags import as_flags, differing, named_in, value_of, with_values
from tests import places

pytestmark = pytest.mark.usefixtures("own_folder")


def inspected(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["inspect", *words]) == 0
    return capsys.readouterr().out


def flat_images(root: Path) -> None:
    for number in range(12):
        places.save_image(root / f"{number}.png", number)


def csv_list(root: Path) -> None:
    places.listed(root, "file,diagnosis\nimages/{n}.png,{even}x", name="a list.csv")


def nmnist(root: Path) -> None:
    import os

    data = os.environ.get("RAYTRAIN_TEST_DATA")
    if not data:
        pytest.skip("RAYTRAIN_TEST_DATA is unset")
    root.symlink_to(Path(data) / "nmnist")


COMMANDS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "images": (places.images, "some images", "gtsrb-small --data.source auto --training.batch-size 10"),
    "flat": (
        flat_images,
        "flat",
        "gtsrb-small --data.source auto --training.batch-size 12 --probe.enabled False",
    ),
    "list": (
        csv_list,
        "it's a list",
        "gtsrb-small --data.source csv --data.csv.path-column file --data.csv.label-column diagnosis "
        "--training.batch-size 10",
    ),
    "clips": (places.clips, "clips", "clips-small --data.source auto --training.batch-size 4"),
    "frames": (
        places.frames,
        "-frames",
        "clips-small --data.source frames --training.batch-size 4 --probe.enabled False",
    ),
    "events": (
        places.recordings,
        "$events",
        "nmnist-surfaces --data.source auto --data.events.sensor-width 40 --data.events.sensor-height 30 "
        "--training.batch-size 8",
    ),
    "nmnist": (nmnist, "nmnist", "nmnist-surfaces"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_last_line_is_a_command_that_works(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, folder, expected = COMMANDS[name]
    root = tmp_path / folder
    make(root)
    said = inspected(capsys, str(root))
    assert said.startswith(f"data       {root}\nsamples ")
    program, verb, preset, *flags = shlex.split(said.splitlines()[-1])
    assert (program, verb, flags[:2]) == ("raytrain", "train", ["--data.root", str(root)])
    assert " ".join([preset, *flags[2:]]) == expected
    assert said.splitlines()[-2] == "to train:"
    assert main([verb, preset, *flags, "--dry-run", "--training.executor=inline"]) == 0
    assert re.search(r"data: \d+ samples to train on", capsys.readouterr().out)


def test_what_was_said_stays_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places.images(tmp_path / "data")
    # Also where it is the default of the settings, but not of the preset.
    said = inspected(capsys, "data", "--data.select-fraction=0.1", "--data.canvas-px", "80", "--sheet=s.png")
    assert Path("s.png").exists()
    flags = "--data.source auto --data.canvas-px 80 --data.select-fraction 0.1 --training.batch-size 8"
    assert said.splitlines()[-1] == f"raytrain train gtsrb-small --data.root data {flags}"
    by_flag = inspected(capsys, "--data.root=data", "--data.source", "flat")
    flags = "--data.source flat --training.batch-size 12 --probe.enabled False"
    assert by_flag.splitlines()[-1] == f"raytrain train gtsrb-small --data.root data {flags}"


def test_other_presets_for_the_kind_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places.images(tmp_path / "data")
    others = [
        name for name in preset_names() if load_preset(name).modality == "image" and name != "gtsrb-small"
    ]
    assert f"presets    for images, also: {', '.join(others)}; see `raytrain" in inspected(capsys, "data")


def test_what_no_preset_takes_is_shown_and_the_reason_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places.recordings(tmp_path / "events", 3)
    (tmp_path / "flat").mkdir()
    for path in (tmp_path / "events").rglob("*.npy"):
        path.rename(tmp_path / "flat" / path.name)
    said = inspected(capsys, "flat")
    assert said.startswith("data       flat\nsamples    3 of 0 classes")
    assert "objective supervised needs labels of at least 2 classes" in said.splitlines()[-1]
    assert said.splitlines()[-1].startswith("no preset takes these data as they are: ")


def test_generated_data_need_no_place(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--data.source=shapes", "--data.shapes.num-train=16", "--data.shapes.num-test=8"]
    assert "samples    24 of 8 classes" in inspected(capsys, *sizes)


def wrong(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == code
    said = capsys.readouterr()
    assert re.fullmatch(r"raytrain: [^\n]+\n", said.err)
    return said.err


@pytest.mark.parametrize("verb", ["train", "inspect"])
@pytest.mark.parametrize("preset", preset_names())
def test_a_preset_of_another_kind_says_which_fit(
    preset: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    modality = load_preset(preset).modality
    make, kind = (places.images, "image") if modality != "image" else (places.recordings, "events")
    make(tmp_path / "own data")
    said = wrong(capsys, 2, verb, preset, "--data.root", "own data")
    names = {"image": "images", "clip": "clips", "events": "recordings of events"}
    assert (
        f"holds {names[kind]}, but preset {preset} takes {names[modality]}; presets for {names[kind]}: "
        in said
    )
    assert ", ".join(presets_taking(kind)) in said
    assert "`raytrain inspect 'own data'` gives the whole command" in said


def test_a_kind_that_auto_finds_is_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places.frames(tmp_path / "frames")
    flags = ("--data.root=frames", "--data.source=frames")
    for verb in ("train", "inspect"):
        said = wrong(capsys, 2, verb, "gtsrb-small", *flags)
        assert (
            "the data are of kind clip, but pathways.identity.cut patches takes image; presets for cl" in said
        )
        assert "clips-small, ucf101-decomposed, ucf101-movnet" in said


@pytest.mark.parametrize("preset", ["gtsrb-small", "shapes-demo", "codebrim-paper"])
def test_another_layout_of_the_kind_says_how_it_is_read(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places.images(tmp_path / "data")
    code = 2 if load_preset(preset).data.is_generated else 3
    said = wrong(capsys, code, "train", preset, "--data.root=data")
    assert "the images there are read by --data.source auto" in said


@pytest.mark.parametrize(
    ("preset", "reads"),
    [
        ("shapes-demo", "no images (.png"),
        ("table-small", "no images (.png"),
        ("events-demo", "no recordings (.bin"),
        ("clips-small", "no videos and folders of frames (.avi"),
        ("gtsrb-ci", "not GTSRB's layout; expected Final_Training"),
    ],
)
def test_where_no_sample_is_the_preset_says_what_it_reads(
    preset: str, reads: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "letter.txt").write_text("x")
    said = wrong(capsys, 3, "train", preset, "--data.root=data")
    assert reads in said
    assert said.endswith("; found 1 file: 1 .txt\n")
    assert (f"which preset {preset} takes" in said) is (preset != "gtsrb-ci")


def test_a_word_that_is_neither_preset_nor_place_says_both(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("train", "inspect"):
        said = wrong(capsys, 2, verb, "gtsrb-smal")
        assert (
            "unknown preset 'gtsrb-smal', and no file or folder of that name; did you mean 'gtsrb-sma" in said
        )
    Path("data").mkdir()
    said = wrong(capsys, 2, "train", "data")
    assert "data is a place, and no preset; `raytrain inspect data` says which preset reads it" in said
    assert "data and --data.root are two places" in wrong(capsys, 2, "inspect", "data", "--data.root=data")


def test_an_unknown_flag_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    said = wrong(capsys, 2, "inspect", "--out", "X")
    assert said == "raytrain: unknown setting --out; `raytrain inspect --help` shows all\n"
    assert wrong(capsys, 2, "inspect", "shapes-demo", "again") == "raytrain: Unrecognized options: again\n"
    assert "unknown setting --shards" in wrong(capsys, 2, "train", "shapes-demo", "--shards=uint8")


def test_settings_become_flags_and_flags_settings() -> None:
    base = load_preset("shapes-demo")
    values = {"data.source": "auto", "data.csv.label_column": "", "data.root": "-it's", "seed": 3}
    changed = with_values(base, values)
    assert differing(changed, base) == values
    assert differing(base, base) == {}
    flags = as_flags(values)
    assert shlex.split(flags) == [
        *("--data.source", "auto", "--data.csv.label-column=", "--data.root=-it's", "--seed", "3"),
    ]
    assert value_of(["--x", "--data.root", "a b"], "data.root") == "a b"
    assert value_of(["--data.root=a=b"], "data.root") == "a=b"
    assert value_of(["--data.roots", "c"], "data.root") == ""
    assert named_in(["--data.root=x"], "data.root")
    assert not named_in(["data.root"], "data.root")
