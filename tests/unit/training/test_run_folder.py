import errno
import fcntl
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.storage.fingerprint import Fingerprint
from raytrain.config import RunConfig, from_mapping, load_toml
from raytrain.errors import ConfigError, DataError, StorageError
from raytrain.training.paths import known_device
from raytrain.training.run_folder import differences, open_run_folder, settle, write_atomic
from tests.conftest import small_values

DATA = Fingerprint(samples="a1" * 32, files="a2" * 32, contents="a3" * 32)


def config_of(out: Path, **changes: Any) -> RunConfig:
    return from_mapping(small_values(out=str(out), **changes))


def begun(out: Path, **changes: Any) -> RunConfig:
    """A run folder whose run has taken a step."""
    config = config_of(out, **changes)
    with open_run_folder(config) as folder:
        settle(folder, config, DATA)
    (out / "checkpoints" / "lbp" / "step-00000003").mkdir(parents=True)
    return config


def test_a_run_that_has_begun_keeps_its_device(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = config_of(out)
    for device in ("cuda", "cpu"):  # no step is taken: nothing binds it
        with open_run_folder(config) as folder:
            assert known_device(folder) == ""
            settle(folder, config, DATA, device=device)
    (out / "checkpoints" / "lbp" / "step-00000003").mkdir(parents=True)
    assert known_device(out) == "cpu"
    with open_run_folder(config) as folder:
        settle(folder, config, DATA, device="cuda")
    assert known_device(out) == "cpu"
    settle_again(config)
    assert known_device(out) == "cpu"


def settle_again(config: RunConfig, data: Fingerprint = DATA) -> None:
    with open_run_folder(config) as folder:
        settle(folder, config, data)


def test_settings_and_environment_are_written_and_load_again(tmp_path: Path) -> None:
    config = begun(tmp_path / "deep" / "run")
    assert load_toml(tmp_path / "deep" / "run" / "config.toml") == config
    environment = json.loads((tmp_path / "deep" / "run" / "env.json").read_text())
    assert environment["manifest_hash"] == DATA.hash
    assert environment["fingerprint"] == asdict(DATA)
    assert environment["versions"]["torch"] != "absent"
    assert environment["versions"]["ray"] == "2.60.0"
    assert {"python", "platform", "cpus"} <= environment.keys()
    settle_again(config)


HOLDER = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A run folder that another process holds."""
    begun(tmp_path / "run")
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield tmp_path / "run"
        process.kill()


def test_a_folder_that_another_process_uses_is_refused(held: Path) -> None:
    message = f"--out {held} is in use by another process; wait for it or name another"
    with (
        pytest.raises(ConfigError, match=f"^{re.escape(message)}$"),
        open_run_folder(config_of(held)),
    ):
        pytest.fail("it was opened")


def test_a_folder_is_free_again_when_its_process_has_ended(tmp_path: Path) -> None:
    config = begun(tmp_path / "run")
    for _ in range(2):
        with (
            open_run_folder(config) as folder,
            pytest.raises(ConfigError, match="in use"),
            open_run_folder(config),
        ):
            pass
        assert folder.is_absolute()


def test_a_lock_that_cannot_be_had_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (
        pytest.raises(StorageError, match="cannot be locked: No locks available"),
        open_run_folder(config_of(tmp_path)),
    ):
        pass


def test_a_file_and_a_folder_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("x")
    for name, message in (
        ("notes/todo.txt", "is a file; name a folder"),
        ("notes", "is not empty and not a run folder; name a new or empty one"),
    ):
        with (
            pytest.raises(ConfigError, match=f"^--out {re.escape(str(tmp_path / name))} {message}$"),
            open_run_folder(config_of(tmp_path / name)),
        ):
            pass
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["todo.txt"]


def test_a_folder_that_holds_only_a_lock_is_new(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    settle_again(config_of(tmp_path))


def test_a_folder_below_a_file_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match="file/run: cannot be created: Not a directory"),
        open_run_folder(config_of(tmp_path / "file" / "run")),
    ):
        pass


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("samples", "other samples, sizes, labels, splits or groups"),
        ("contents", "the files hold something else"),
        (
            "files",
            r"only the files' times of change differ, .* \(cp without -p, .*`raytrain prepare` once, .*",
        ),
    ],
)
def test_changed_data_are_refused_with_what_differs_and_both_hashes(
    tmp_path: Path, part: str, words: str
) -> None:
    config = begun(tmp_path)
    other = replace(DATA, **{part: "b2" * 32})
    hashes = f"manifest {DATA.hash[:16]} then, {other.hash[:16]} now"
    with pytest.raises(
        DataError,
        match=f"the data are not known to be those of this run: {words}: {hashes}; restore the data or name",
    ):
        settle_again(config, other)
    assert json.loads((tmp_path / "env.json").read_text())["manifest_hash"] == DATA.hash


def test_a_run_of_a_version_without_fingerprints_is_refused_with_the_reason(tmp_path: Path) -> None:
    config = begun(tmp_path)
    (tmp_path / "env.json").write_text(json.dumps({"manifest_hash": "c3" * 32}))
    with pytest.raises(
        DataError,
        match="the data are not known to be those of this run: a version of raytrain began it that told data "
        "apart by other means: manifest c3c3c3c3c3c3c3c3 then, ",
    ):
        settle_again(config)


def wider(values: dict[str, Any]) -> dict[str, Any]:
    pathway = values["pathways"]["lbp"]
    values["pathways"] |= {"lbp": {**pathway, "encoder": {**pathway["encoder"], "width": 0.015625}}}
    return values


def test_a_changed_width_is_refused_by_name(tmp_path: Path) -> None:
    begun(tmp_path)
    config = from_mapping(wider(small_values(out=str(tmp_path))))
    with pytest.raises(
        ConfigError,
        match=r"was made with pathways\.lbp\.encoder\.width = 0\.0078125, not 0\.015625: .* another --out",
    ):
        settle_again(config)
    assert load_toml(tmp_path / "config.toml") == config_of(tmp_path)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("seed", 1), ("training__batch_size", 4), ("data__split_seed", 1), ("training__precision", "bf16")],
)
def test_settings_that_change_what_is_computed_are_refused(tmp_path: Path, setting: str, value: Any) -> None:
    begun(tmp_path)
    name = re.escape(setting.replace("__", "."))
    with pytest.raises(ConfigError, match=f"was made with {name} = .*, not {value!r}"):
        settle_again(config_of(tmp_path, **{setting: value}))


def test_a_pathway_more_or_less_is_refused(tmp_path: Path) -> None:
    config = begun(tmp_path)
    values = small_values(out=str(tmp_path))
    del values["pathways"]["lbp"]
    with pytest.raises(ConfigError, match=r"was made with pathways\.lbp\..* not None"):
        settle_again(from_mapping(values))
    settle_again(config)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("preset", "other"),
        ("training__epochs", 9),
        ("training__executor", "ray"),
        ("training__workers", 2),
        ("training__log_every", 3),
        ("data__cache", "disk"),
        ("data__lanes", 2),
        ("data__chunk_mib", 1.0),
        ("data__decode_tasks", 1),
        ("data__quarantine_budget", 0.5),
    ],
)
def test_settings_of_how_it_is_run_may_change(tmp_path: Path, setting: str, value: Any) -> None:
    begun(tmp_path)
    config = config_of(tmp_path, **{setting: value})
    settle_again(config)
    assert load_toml(tmp_path / "config.toml") == config


def test_workers_and_placement_of_a_pathway_may_change(tmp_path: Path) -> None:
    begun(tmp_path)
    values = small_values(out=str(tmp_path))
    values["pathways"]["lbp"] = {
        **values["pathways"]["lbp"],
        "placement": "stream",
        "stream": "other",
        "workers": 2,
        "optimizer": {"implementation": "foreach"},
    }
    settle_again(from_mapping(values))


def test_before_its_first_step_a_run_binds_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    settle_again(config)
    (tmp_path / "standardisers.json").write_text("{}")
    settle_again(config)
    assert (tmp_path / "standardisers.json").exists()
    corrected = config_of(tmp_path, training__batch_size=4)
    settle_again(corrected, replace(DATA, samples="b2" * 32))
    assert not (tmp_path / "standardisers.json").exists()
    assert load_toml(tmp_path / "config.toml") == corrected
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="the data are not known to be those"):
        settle_again(config)


def test_differences_name_settings_on_either_side(tmp_path: Path) -> None:
    values = small_values()
    values["pathways"]["rg"] = {**values["pathways"]["lbp"], "operator": "rg"}
    found = differences(from_mapping(small_values()), from_mapping(values))
    assert ("pathways.rg.operator.name", None, "rg") in found
    assert {name.split(".")[1] for name, *_ in found} == {"rg"}


def test_a_full_disk_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.json"
    write_atomic(path, "former")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("raytrain.training.run_folder.os.fsync", full)
    with pytest.raises(
        StorageError, match=r"summary\.json: not written: No space left on device; free space and run again"
    ):
        write_atomic(path, "later")
    assert path.read_text() == "former"
    assert [found.name for found in tmp_path.iterdir()] == ["summary.json"]
