import errno
import io
import json
import re
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raytrain.cli import VERBS, main
from raytrain.config import from_mapping, load_toml, to_toml
from tests.conftest import small_values

SMALL = [
    "--data.shapes.num-train=26",
    "--data.shapes.num-test=16",
    "--data.canvas-px=64",
    "--training.batch-size=8",
    "--executor=inline",
    "--report=False",
]
DEMO = ["train", "shapes-demo", *SMALL]


pytestmark = pytest.mark.usefixtures("own_folder")


def images(folder: str, num_classes: int, num_images: int) -> None:
    for index in range(num_images):
        path = Path(folder) / f"class{index % num_classes}"
        path.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{index}.png")


def settings(name: str, text: str | bytes) -> Callable[[], None]:
    return lambda: void(Path(name).write_bytes(text if isinstance(text, bytes) else text.encode()))


def void(_: object) -> None:
    pass


def run_folder(name: str) -> None:
    """A run folder whose run has taken steps."""
    folder = Path(name)
    folder.mkdir()
    (folder / "config.toml").write_text(to_toml(from_mapping(small_values(out=name))))
    (folder / "metrics.jsonl").write_text('{"pathway": "lbp", "step": 3, "rank": 0}\n')


def wider(name: str) -> None:
    """A settings file that differs from `run_folder`'s in a width."""
    values = small_values(out="run")
    lbp = values["pathways"]["lbp"]
    values["pathways"] |= {"lbp": {**lbp, "encoder": {**lbp["encoder"], "width": 0.015625}}}
    Path(name).write_text(to_toml(from_mapping(values)))


def other_things(name: str) -> None:
    Path(name).mkdir()
    (Path(name) / "letter.txt").write_text("x")


def leaving(name: str) -> None:
    """An archive with a member that would lie outside."""
    with tarfile.open(name, "w") as archive:
        for member in ("a/1.png", "../evil.png"):
            archive.addfile(tarfile.TarInfo(member), io.BytesIO())


def nothing() -> None:
    pass


@dataclass
class Wrong:
    """A wrong call: arguments, exit code, a piece of its one line, and what lies in the folder before."""

    arguments: list[str]
    code: int
    said: str
    before: Callable[[], object] = nothing


FOLDER = ["train", "gtsrb-ci", "--data.source=folder", "--executor=inline", "--data.root"]
TOML = ["train", "--config", "my.toml"]
WRONG = {
    "unknown verb": Wrong(["trian"], 2, "unknown verb 'trian'; did you mean 'train'?"),
    "unknown verb, nothing near": Wrong(["zzz"], 2, "unknown verb 'zzz'; known: bench, compare, demo, "),
    "no preset": Wrong(["train"], 2, "train what? name a preset (clips-small, codebrim-paper, events-demo, "),
    "flags only": Wrong(["train", "--out", "run"], 2, "train what?"),
    "unknown preset": Wrong(
        ["train", "gtsrb-smal"],
        2,
        "unknown preset 'gtsrb-smal', and no file or folder of that name; did you mean 'gtsrb-small'?",
    ),
    "preset and config": Wrong(
        ["train", "shapes-demo", "--config=my.toml"], 2, "'shapes-demo' and --config are two sets of settings"
    ),
    "unknown setting": Wrong(
        [*DEMO, "--training.epoch=3"], 2, "unknown setting --training.epoch; did you mean 'training.epochs'?"
    ),
    "unknown setting of the demo": Wrong(["demo", "--seed-s=3"], 2, "unknown setting --seed_s; did you mean"),
    "unknown pathway": Wrong(
        [*DEMO, "--pathways.lpb.workers=2"], 2, "unknown setting --pathways.lpb.workers; did you mean 'pathw"
    ),
    "unknown value": Wrong([*DEMO, "--data.fit=stretch"], 2, "stretch"),
    "value of another type": Wrong([*DEMO, "--training.epochs=two"], 2, "two"),
    "value missing": Wrong([*DEMO, "--training.epochs"], 2, "training.epochs"),
    "value out of range": Wrong(
        [*DEMO, "--training.epochs=0"], 2, "training.epochs is 0; it must be at least"
    ),
    "word too many": Wrong([*DEMO, "again"], 2, "again"),
    "seeds": Wrong([*DEMO, "--seeds=0"], 2, "--seeds is 0; it must be at least 1"),
    "config missing": Wrong(TOML, 2, "my.toml: no such settings file"),
    "config is a folder": Wrong(TOML, 2, "my.toml: cannot be read: Is a directory", Path("my.toml").mkdir),
    "config is no text": Wrong(TOML, 2, "my.toml: not valid TOML", settings("my.toml", b"\xff\xfe\x00")),
    "config broken": Wrong(TOML, 2, "my.toml: not valid TOML: ", settings("my.toml", "seed = = 1")),
    "config with a key twice": Wrong(
        TOML,
        2,
        "my.toml: not valid TOML: Cannot overwrite a value",
        settings("my.toml", "seed = 1\nseed = 2"),
    ),
    "config with a wrong key": Wrong(
        TOML,
        2,
        "my.toml: unknown setting training.epoch; did you mean 'epochs'?",
        settings("my.toml", "training.epoch = 2"),
    ),
    "config with a wrong type": Wrong(
        TOML,
        2,
        "my.toml: training.epochs is 'two'; it must be of type int",
        settings("my.toml", "training.epochs = 'two'"),
    ),
    "config with a scalar for a table": Wrong(
        TOML, 2, "my.toml: data must be a table", settings("my.toml", "data = 3")
    ),
    "config without pathways": Wrong(TOML, 2, "my.toml: no pathways; name", settings("my.toml", "seed = 1")),
    "config with a wrong pathway name": Wrong(
        TOML, 2, "my.toml: pathway name 'a/b': use letters", settings("my.toml", "[pathways.'a/b']")
    ),
    "config with an unknown operator": Wrong(
        TOML,
        2,
        "my.toml: pathways.a.operator.name is 'lpb'; did you mean 'lbp'?",
        settings("my.toml", "[pathways.a]\noperator = 'lpb'"),
    ),
    "crop larger than the canvas": Wrong(
        TOML,
        2,
        "pathways.a.augmentation.crop_px is 65, larger than data.canvas_px 64",
        settings("my.toml", "[pathways.a]\naugmentation.crop_px = 65"),
    ),
    "too few rows of patches": Wrong(
        TOML,
        2,
        "pathways.a: 3 rows of patches on 32 px, but objective.num_steps 5 with skip 1 needs 7; lower",
        settings("my.toml", "data.canvas_px = 32\n[pathways.a]"),
    ),
    "root missing": Wrong([*FOLDER, "nowhere"], 3, "data.root nowhere: no such folder; check the path"),
    "root not named": Wrong(FOLDER[:-1], 2, "data.root is not set; name the folder of the data set"),
    "root is a file": Wrong([*FOLDER, "data"], 3, "data.root data: is a file", settings("data", "x")),
    "root and shapes": Wrong([*DEMO, "--data.root=data"], 2, "data.root is set but data.source = shapes"),
    "no images": Wrong([*FOLDER, "data"], 3, "found 1 file: 1 .txt", lambda: other_things("data")),
    "empty root": Wrong([*FOLDER, "data"], 3, "the folder is empty", Path("data").mkdir),
    "one sample": Wrong([*FOLDER, "data"], 2, "holds 1 sample only", lambda: images("data", 1, 1)),
    "one class": Wrong([*FOLDER, "data"], 2, "holds one class only (class0)", lambda: images("data", 1, 40)),
    "batch larger than the data": Wrong(
        [*DEMO, "--training.batch-size=27"],
        2,
        "training.batch_size 27 is larger than the 26 samples of the pretrain split; use at most 26",
    ),
    "workers that do not divide the batch": Wrong(
        [*DEMO, "--training.workers=3"],
        2,
        "training.batch_size is 8; with 3 lanes it must be a multiple of 6; nearest that fit: 6 or 12",
    ),
    "workers that do not divide the lanes": Wrong(
        [*DEMO, "--training.workers=2", "--data.lanes=3"], 2, "does not divide data.lanes 3; nearest that fit"
    ),
    "inline with two workers": Wrong(
        [*DEMO, "--training.workers=2"], 2, "training.executor = inline has one process; use --training.exec"
    ),
    "out is a file": Wrong([*DEMO, "--out=run"], 2, "is a file; name a folder", settings("run", "x")),
    "out below a file": Wrong([*DEMO, "--out=f/run"], 6, "f/run: cannot be created", settings("f", "x")),
    "out is something else": Wrong(
        [*DEMO, "--out=run"], 2, "is not empty and not a run folder", lambda: other_things("run")
    ),
    "out of another width": Wrong(
        TOML,
        2,
        "was made with pathways.lbp.encoder.width = 0.0078125, not 0.015625: its checkpoints would not fit",
        lambda: (run_folder("run"), wider("my.toml")),
    ),
    "represent nothing": Wrong(["represent"], 2, "RUN"),
    "represent no run folder": Wrong(
        ["represent", "data"],
        2,
        "data: not a run folder (no config.toml); name the --out of",
        Path("data").mkdir,
    ),
    "represent an untrained run": Wrong(
        ["represent", "run"],
        2,
        "no whole checkpoint of pathway identity; train it",
        lambda: run_folder("run"),
    ),
    "probe a missing folder": Wrong(["probe", "nowhere"], 2, "nowhere: not a run folder (no config.toml)"),
    "probe before represent": Wrong(
        ["probe", "run"],
        2,
        "run: no features yet; run `raytrain represent run` first",
        lambda: run_folder("run"),
    ),
    "prepare without out": Wrong(["prepare"], 2, "--out"),
    "prepare an unknown setting": Wrong(
        ["prepare", "--out=x", "--shard=uint8"], 2, "unknown setting --shard; did you mean 'shards'?"
    ),
    "inspect nothing": Wrong(["inspect"], 2, "data.root is not set"),
    "unknown bench": Wrong(
        ["bench", "speed"], 2, "unknown bench 'speed'; known: batches, clapp, events, loaders, locality"
    ),
    "reproduce nothing": Wrong(["reproduce"], 2, "reproduce what? name one of table1, table2, figure2"),
    "reproduce an unknown table": Wrong(
        ["reproduce", "table3", "--data.source=shapes"], 2, "unknown table or figure 'table3'; did you mean"
    ),
    "reproduce with an unknown preset": Wrong(
        ["reproduce", "table1", "--preset=gtsrb-papre"],
        2,
        "unknown preset 'gtsrb-papre'; did you mean 'gtsrb-p",
    ),
    "reproduce no seed": Wrong(
        ["reproduce", "table1", "--data.source=shapes", "--seeds=0", "--executor=inline"], 2, "--seeds is 0"
    ),
    "reproduce on nothing": Wrong(
        ["reproduce", "table1", "--executor=inline"], 2, "data.root is not set; name the folder"
    ),
    "report of no run": Wrong(["report", "nowhere"], 2, "nowhere: not a run folder"),
    "report of an untrained run": Wrong(["report", "run"], 2, "run", lambda: run_folder("run")),
    "compare with no run": Wrong(
        ["compare", "nowhere", "run"], 2, "nowhere: not a run folder", lambda: run_folder("run")
    ),
    "compare one": Wrong(["compare", "run"], 2, "", lambda: run_folder("run")),
    "export no run": Wrong(["export", "nowhere"], 2, "nowhere: not a run folder"),
    "export an untrained run": Wrong(
        ["export", "run"], 2, "the run has not begun", lambda: run_folder("run")
    ),
    "replay no run": Wrong(["replay", "nowhere", "--pathway=a", "--step=1"], 2, "nowhere: not a run folder"),
    "replay an untrained run": Wrong(
        ["replay", "run", "--pathway=lbp", "--step=1"],
        2,
        "run: the run has not begun (no standardisers.json, env.json); train it",
        lambda: run_folder("run"),
    ),
    "probe with an unknown protocol": Wrong(
        [*DEMO, "--probe.protocols=rigde"], 2, "unknown protocol 'rigde'; did you mean 'ridge'?"
    ),
    "no labels to probe on": Wrong(
        [*FOLDER, "data", "--data.source=flat"],
        2,
        "probe.enabled = false to train only",
        lambda: images("data", 1, 40),
    ),
    "list names missing files": Wrong(
        [*FOLDER[:2], "--data.source=csv", "--executor=inline", "--data.root=my.csv"],
        3,
        "a.png",
        settings("my.csv", "path,label\na.png,x\nb.png,y\n"),
    ),
    "binary files missing": Wrong(
        [*FOLDER[:2], "--data.source=cifar10", "--executor=inline", "--data.root=data"],
        3,
        "5 of 6 batches are missing: data_batch_2.bin",
        lambda: (Path("data").mkdir(), Path("data/data_batch_1.bin").write_bytes(bytes(3072))),
    ),
    "archive with a path out of it": Wrong([*FOLDER, "a.tar"], 3, "../evil.png", lambda: leaving("a.tar")),
    "archive that is none": Wrong([*FOLDER, "a.zip"], 3, "a.zip", settings("a.zip", "no zip")),
    "compressed tar": Wrong(
        [*FOLDER, "a.tar.gz"], 2, "raytrain prepare", settings("a.tar.gz", b"\x1f\x8b\x08")
    ),
    "unknown kind": Wrong(["list", "preset"], 2, "unknown kind 'preset'; known: presets, sources, operators"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_call_ends_with_its_code_and_one_line(
    wrong: Wrong, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong.before()
    there = {str(path) for path in Path().iterdir()}
    assert main(wrong.arguments) == wrong.code
    said = capsys.readouterr()
    assert wrong.said in said.err
    assert re.fullmatch(r"raytrain: [^\n]+\n", said.err)
    assert said.err.isascii()
    assert "Traceback" not in said.out + said.err
    if wrong.code == 2 and "--training.workers=2" not in wrong.arguments:
        assert {str(path) for path in Path().iterdir()} == there  # nothing was written


def test_a_dead_cluster_ends_with_5(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert main([*DEMO, "--executor=ray", "--out=run"]) == 5
    assert capsys.readouterr().err.startswith(f"raytrain: RAY_ADDRESS {address} does not answer; start one")


def test_no_verb_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    usage = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == usage
    assert all(re.search(rf"^  {verb}\b", usage, re.MULTILINE) for verb in VERBS)


HELP = """
import sys
from raytrain.cli import main
try:
    code = main(sys.argv[1:])
finally:
    print("HEAVY", sorted({"torch", "ray", "numpy", "pyarrow", "matplotlib"} & set(sys.modules)))
"""


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_needs_neither_torch_nor_ray(verb: str) -> None:
    words = [verb, "--help"] if verb else ["--help"]
    shown = subprocess.run(
        [sys.executable, "-c", HELP, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert shown.returncode == 0
    assert shown.stderr == ""
    assert "HEAVY []" in shown.stdout
    assert f"usage: raytrain {'train' if verb == 'demo' else verb}".rstrip() in shown.stdout


def test_help_of_train_shows_the_settings_with_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "shapes-demo", "--help"])
    assert ended.value.code == 0
    text = " ".join(re.sub(r"[^\x20-\x7e]", " ", capsys.readouterr().out).split())
    for setting in (
        "--training.epochs",
        "--data.root",
        "--pathways.lbp.optimizer.learning-rate",
        "--dry-run",
    ):
        assert setting in text
    assert "samples a step over all workers of a pathway" in text


def test_list_shows_all_kinds_or_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    everything = capsys.readouterr().out
    for word in ("presets:", "shapes-demo", "sources:", "gtsrb", "operators:", "dtcwt", "vgg6", "hinge_cpc"):
        assert word in everything
    assert all(len(line.split()) > 1 for line in everything.splitlines() if re.match(r"  \S", line))
    assert main(["list", "operators"]) == 0
    operators = capsys.readouterr().out
    assert operators.startswith("operators: fixed transform before the encoder: pathways.NAME.operator\n  id")
    assert operators in everything


def test_dry_run_says_what_would_be_done_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.training.cluster.usable_cpus", lambda: 2)
    monkeypatch.setattr("raytrain.training.cluster.gpus_here", lambda: 0)
    assert main([*DEMO, "--dry-run", "--executor=ray", "--training.epochs=3"]) == 0
    said = capsys.readouterr().out
    assert "\n[training]\n" in said
    assert "epochs = 3\n" in said
    assert "data: 26 samples to train on, 8 classes" in said
    shapes = r"pathway lbp: patches \[7, 8, 7, 1, 16, 16\] .* of uint8 \[8, 3, 64, 64\], "
    assert re.search(shapes + r"[\d,]+ parameters, features \[49, 64\]", said)
    assert "\ndevice: cpu, there is no GPU\n" in said
    assert re.search(r"processes: about \d+ \(2 workers, .* 2 decode tasks\); needs 4 CPUs and 0 GPUs", said)
    assert "refused" not in said
    assert re.search(r"stream: \d+ chunks an epoch of \d+ samples \([\d.]+ MiB\), 1 lane", said)
    assert re.search(r"time: about [\d.]+ min \(9 steps a pathway \d+ s, start \d+ s, features \d+ s\)", said)
    assert list(Path().iterdir()) == []


def test_dry_run_says_who_shares_a_gpu_and_what_would_be_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.training.cluster.usable_cpus", lambda: 8)
    monkeypatch.setattr("raytrain.training.cluster.gpus_here", lambda: 1)
    command = [*DEMO, "--dry-run", "--executor=ray", "--pathways.lbp.placement=stream"]
    assert main(command) == 0
    said = capsys.readouterr().out
    shares = "0.45 GPU a worker, 0.1 an operator stage; up to 3 processes share a GPU"
    assert f"\ndevice: cuda, {shares}\n" in said
    assert re.search(r"2 workers, .* 5 decode tasks, 1 operator stage\(s\)\); needs 8 CPUs and 1 GPUs", said)
    assert main([*command, "--training.gpus_per_worker=0.5"]) == 0
    said = capsys.readouterr().out
    assert (
        "it would be refused here: the run needs 1.1 GPUs (2 worker(s) of 0.5 and 1 operator stage(s) of "
        "0.1) but the cluster has 1; leave training.gpus_per_worker at auto" in said
    )


def test_what_a_dry_run_prints_are_settings_that_load(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DEMO, "--dry-run", "--seed=7"]) == 0
    text = capsys.readouterr().out
    Path("again.toml").write_text(text[: text.index("data: 26 samples")])
    assert load_toml(Path("again.toml")).seed == 7


def test_training_prints_progress_and_results_and_goes_on_when_called_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("my.toml").write_text(to_toml(from_mapping(small_values())))
    command = ["train", "--config", "my.toml", "--out", "run", "--epochs=1"]
    assert main([*command, "--probe.enabled=True", "--probe.num-bootstrap=100"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^step 3/3  epoch 1/1  loss identity \d", said, re.MULTILINE)
    assert re.search(r"^lbp +\d\.\d{3} \[.*\] +\d\.\d{3} \[.*\] +[+-]\d", said, re.MULTILINE)
    assert said.endswith(f"results: {Path('run').absolute() / 'summary.json'}\n")
    first = json.loads(Path("run/summary.json").read_text())
    assert main(["represent", "run"]) == 0
    assert main(["probe", "run"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["probes"] == first["probes"]


def test_a_bug_is_a_traceback_and_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(VERBS, "list", lambda arguments: 1 // 0)
    assert main(["list"]) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert said.endswith("raytrain: this is a bug; please report the lines above\n")


def test_ctrl_c_before_the_start_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(VERBS, "list", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "raytrain: interrupted\n"


def test_a_full_disk_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(arguments: list[str]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/a/log.txt")

    monkeypatch.setitem(VERBS, "list", full)
    assert main(["list"]) == 6
    said = capsys.readouterr().err
    assert said == "raytrain: runs/a/log.txt: No space left on device; free space and run again\n"
