import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raytrain.errors import ConfigError, DataError
from raytrain.reporting.report import write_report
from raytrain.reporting.run_data import choose_classes, load_run
from tests.unit.reporting.conftest import MakeRun

pytestmark = pytest.mark.slow

SECTIONS = [
    "results",
    "layers",
    "subsets",
    "classes",
    "neighbours",
    "space",
    "shortcut",
    "losses",
    "health",
    "waits",
    "operators",
    "origin",
]
# Names of formats, not addresses that a browser would ask.
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


class Reader(HTMLParser):
    """Collects what the tests ask about, and whether tags close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.texts: dict[str, str] = {}
        self.section = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if "id" in values:
            self.ids.append(values["id"] or "")
        self.addresses += [values[key] or "" for key in ("src", "href", "xlink:href") if key in values]
        if tag in ("svg", "img"):
            self.pictures.append({"tag": tag, **values})
        if tag == "section":
            self.section = values.get("id") or "first"
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script", "text", "tspan"):
            self.texts[self.section] = f"{self.texts.get(self.section, '')} {' '.join(data.split())}".strip()


def page_of(folder: Path, **options: str) -> tuple[str, Reader]:
    html = write_report(folder, **options).read_text()
    return html, Reader(html)


def test_a_full_run_has_every_section_and_no_part_is_missing(full_report: Path) -> None:
    html = (full_report / "report.html").read_text()
    read = Reader(html)
    assert read.open == []
    assert [name for name in read.ids if name in SECTIONS] == SECTIONS
    assert [one for one in read.addresses if one.startswith("#") and one[1:] in SECTIONS] == [
        f"#{name}" for name in SECTIONS
    ]
    assert re.findall(r'<p class="missing">(.*?)</p>', html) == []
    assert len(read.ids) == len(set(read.ids))


def test_the_page_asks_nobody(full_report: Path) -> None:
    html = (full_report / "report.html").read_text()
    read = Reader(html)
    assert {one.split(":")[0] for one in read.addresses if not one.startswith("#")} == {"data"}
    assert set(re.findall(r"https?://[^\s\"'<>)]+", html)) <= NAMESPACES
    assert not re.findall(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", html)


def test_every_figure_says_what_it_shows_and_lies_beside_the_page(full_report: Path) -> None:
    html = (full_report / "report.html").read_text()
    read = Reader(html)
    assert len(read.pictures) > 20
    for picture in read.pictures:
        said = picture["alt"] if picture["tag"] == "img" else picture["aria-label"]
        assert said
        assert len(said) > 15
    names = re.findall(r'<figure class="drawing"[^>]*data-figure="([^"]+)"', html)
    for name in [*names, "operators"]:
        assert (full_report / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    for name in names:
        assert "<svg" in (full_report / "figures" / f"{name}.svg").read_text()
    assert {"gain", "accuracy", "subsets", "loss", "joined-confusion", "tsne-lbp", "pca-lbp"} <= set(names)
    assert {"neighbours-rg", "classes-lbp", "layers-rg", "health-rank", "waits", "shortcut"} <= set(names)


def test_figures_have_no_colour_that_a_theme_cannot_change(full_report: Path) -> None:
    html = (full_report / "report.html").read_text()
    drawings = re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL)
    for drawing in drawings:
        without_pictures = re.sub(r"data:image/png;base64,[^\"]+", "", drawing)
        assert not re.findall(r"#[0-9a-f]{6}\b", without_pictures)
        # Text without a colour of its own would be black on dark ground.
        for style in re.findall(r'<text style="([^"]*)"', drawing):
            assert "fill: var(--" in style


@pytest.mark.usefixtures("undrawn")
def test_first_sentences_say_what_came_out(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    for entry, (accuracy, gain, interval) in zip(
        summary["probes"],
        [(0.5, 0.0, [-0.1, 0.1]), (0.6, 0.2, [0.1, 0.3]), (0.7, 0.1, [0.0, 0.2]), (0.4, -0.2, [-0.3, -0.1])],
        strict=True,
    ):
        entry |= {"accuracy": accuracy, "interval": [accuracy - 0.1, accuracy + 0.1]}
        entry |= {"gain": gain, "gain_interval": interval, "logo_accuracy": 0.5}
        for floor in entry["floors"]:
            floor["difference_interval"] = [-0.2, -0.1]
    summary["probes"][1]["logo_accuracy"] = 0.9  # chosen by training groups, although another tests better
    summary["probes"][1]["strength_edge"] = "high"
    summary["pathways"][0]["restarts"] = 2
    path.write_text(json.dumps(summary))
    first = page_of(folder)[1].texts["first"]
    for sentence in (
        "custom, seed 0",
        "3 pathways (identity, lbp, rg), each clapp on vgg6, 3 epochs of 26 samples of",
        "Best pathway: lbp, accuracy 0.600 [0.500, 0.700]. Training helps: +20.0 [+10.0, +30.0] points",
        "All 3 joined: accuracy 0.400 [0.300, 0.500]. Training hurts: -20.0 [-30.0, -10.0] points",
        "The same classifier on the pixels alone: accuracy 0.500 [0.450, 0.550].",
        "rg layer2: half of the units are zero",
        "Every representation is worse than the classifier on the pixels alone.",
        "lies at the edge of its range: lbp (high).",
        "identity was restarted 2 time(s)",
        "identity waited 25 % of its time for data.",
    ):
        assert sentence in first


@pytest.mark.usefixtures("undrawn")
def test_an_older_run_says_what_is_missing_and_how_to_get_it(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", full=False)
    summary = json.loads((folder / "summary.json").read_text())
    for entry in summary["probes"]:
        for key in ("protocol_name", "gain_same_strength", "logo_accuracy"):
            del entry[key]
    (folder / "summary.json").write_text(json.dumps(summary))
    texts = page_of(folder)[1].texts
    assert f"raytrain probe {folder}" in texts["layers"]
    assert f"raytrain probe {folder}" in texts["subsets"]
    assert f"raytrain probe {folder}" in texts["classes"]
    assert "No features of identity" in texts["neighbours"]
    assert f"raytrain represent {folder}" in texts["space"]
    assert "no shortcut scores" in texts["shortcut"]
    assert "metrics.jsonl is missing" in texts["losses"]
    assert "no figures of health" in texts["health"]
    assert "0.400" not in texts["layers"]
    assert "Ridge classifier" in texts["results"]


@pytest.mark.usefixtures("undrawn")
def test_a_run_without_probes_has_a_page(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", full=False)
    summary = json.loads((folder / "summary.json").read_text())
    del summary["probes"]
    (folder / "summary.json").write_text(json.dumps(summary | {"status": "stopped", "timing": {}}))
    read = page_of(folder)[1]
    assert "how good the representations are is not known" in read.texts["first"]
    assert "its status is stopped" in read.texts["first"]
    assert f"raytrain probe {folder}" in read.texts["results"]


@pytest.mark.usefixtures("undrawn")
def test_data_that_are_gone_or_changed_are_said(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    environment = json.loads((folder / "env.json").read_text())
    (folder / "env.json").write_text(json.dumps(environment | {"manifest_hash": "f" * 64}))
    texts = page_of(folder)[1].texts
    for name in ("operators", "neighbours", "space"):
        assert "the data are not known to be those of this run: " in texts[name]
        assert "manifest ffffffffffffffff then" in texts[name]
    settings = (folder / "config.toml").read_text()
    moved = settings.replace('source = "shapes"', 'source = "folder"').replace(
        'root = ""', 'root = "/no/where"'
    )
    (folder / "config.toml").write_text(moved)
    texts = page_of(folder)[1].texts
    for name in ("operators", "neighbours", "space"):
        assert "the data cannot be opened any more" in texts[name]
    assert "Most frequent mistakes" in texts["classes"]  # needs no data


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_data_that_moved_are_named(make_run: MakeRun, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(30):
        path = tmp_path / "images" / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    data = {"data__source": "folder", "data__root": str(tmp_path / "images"), "data__test_fraction": 0.5}
    folder = make_run(tmp_path / "run", **data)
    (tmp_path / "images").rename(tmp_path / "moved")
    assert "the data cannot be opened any more: data.root" in page_of(folder)[1].texts["operators"]
    html, read = page_of(folder, data_root=str(tmp_path / "moved"), classes="a,c")
    assert 'class="missing"' not in html
    assert "of the classes a, c;" in read.texts["space"]


@pytest.mark.usefixtures("undrawn")
def test_damaged_parts_leave_a_line_and_the_rest_of_the_page(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "predictions.npz").write_bytes(b"PK\x03\x04 no")
    (folder / "features" / "lbp.npy").write_bytes(b"no")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"pathway": "lbp", "st')  # a kill cut it off
    texts = page_of(folder)[1].texts
    assert "Not shown" in texts["classes"]
    assert "raytrain probe" in texts["classes"]
    assert "damaged features" in texts["neighbours"]
    assert "All pathways" not in texts["losses"]  # drawn, not written
    assert "Numbers are layers" in texts["losses"]


@pytest.mark.usefixtures("undrawn")
def test_a_figure_that_fails_is_a_line_in_its_place(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("no such glyph\nand more")

    monkeypatch.setattr("raytrain.reporting.report.write.losses", fail)
    monkeypatch.setattr("raytrain.reporting.report.write.gain_figure", fail)
    texts = page_of(make_run(tmp_path / "run"))[1].texts
    assert "Not shown, which is a bug: ValueError: no such glyph" in texts["losses"]
    assert "Not shown" not in texts["results"]
    said = capsys.readouterr().err
    assert said == "WARNING: the figure at the head of the report is not shown: ValueError: no such glyph\n"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_text_of_a_run_cannot_become_markup(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    summary["warnings"] = ["<script>alert(1)</script>"]
    (folder / "summary.json").write_text(json.dumps(summary))
    html, _ = page_of(folder)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "starts &lt;at&gt; step" in html


def test_classes_are_chosen_by_name_or_number(make_run: MakeRun, tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run"))
    names = run.classes
    assert choose_classes(run, f"{names[1]}, 0,0") == [1, 0]
    counts = np.bincount(run.labels[run.splits["test"]], minlength=len(names))
    assert sorted(counts[choose_classes(run, "")]) == sorted(counts)[-4:]
    for wrong, message in (
        ("99", rf"--classes: no class '99'; classes are 0 .. {len(names) - 1}"),
        (names[0] + "x", f"--classes: no class '{names[0]}x'; did you mean '{names[0]}'"),
        ("0,", "--classes: no class ''"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            write_report(run.folder, classes=wrong)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_too_few_samples_are_not_drawn(make_run: MakeRun, tmp_path: Path) -> None:
    text = page_of(make_run(tmp_path / "run"), classes="0")[1].texts["space"]
    assert "Only 2 test samples of these classes: too few" in text


@pytest.mark.usefixtures("undrawn")
def test_several_labels_have_no_confusion_matrix_but_scores(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    with np.load(folder / "predictions.npz") as file:
        arrays = dict(file)
    num = len(arrays["truth"])
    random = np.random.default_rng(0)
    for name in arrays:
        if name == "truth" or name.startswith("predicted/"):
            arrays[name] = random.integers(0, 2, (num, 3)).astype(np.uint8)
    np.savez(folder / "predictions.npz", **arrays)
    html, read = page_of(folder)
    assert "may have several labels" in read.texts["classes"]
    assert "F1 score of the label" in html
    assert 'data-figure="joined-confusion"' not in html


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda f: shutil.rmtree(f) or f.mkdir(), ConfigError, "not a run folder"),
        (lambda f: (f / "summary.json").unlink(), ConfigError, "no summary.json yet; finish the run first"),
        (lambda f: (f / "summary.json").write_text("{"), DataError, "summary.json: broken"),
        (lambda f: (f / "summary.json").write_text("[]"), DataError, "broken: not an object"),
        (lambda f: (f / "summary.json").write_text("{}"), DataError, "broken: it has no 'pathways'"),
        (lambda f: (f / "env.json").write_text("?"), DataError, "env.json: broken"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_wrong_folders_are_refused(
    spoil: object, kind: type[Exception], message: str, make_run: MakeRun, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", full=False)
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(kind, match=message):
        write_report(folder)


def set_accuracy(folder: Path, name: str, *, accuracy: float, control: float) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    for entry in summary["probes"]:
        if entry["pathways"] == [name]:
            entry |= {"accuracy": accuracy, "control": control, "gain": accuracy - control}
    (folder / "summary.json").write_text(json.dumps(summary))


@pytest.mark.usefixtures("undrawn")
def test_a_folder_of_seeds_has_its_own_page(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"seed-{seed}", seed=seed, full=False)
        set_accuracy(tmp_path / f"seed-{seed}", "lbp", accuracy=0.5 + 0.25 * seed, control=0.25)
    (tmp_path / "seeds.json").write_text('{"seeds": [0, 1]}')
    html, read = page_of(tmp_path)
    assert "custom, 2 seeds" in read.texts["first"]
    assert "In every seed these gain (points, mean of the seeds): " in read.texts["first"]
    assert "lbp +37.5" in read.texts["first"]
    assert "2 seeds say little" in read.texts["first"]
    assert "Means of the seeds 0, 1; no intervals: predictions were not kept; run " in read.texts["seeds"]
    assert "0.625 0.250 +37.5" in " ".join(read.texts["seeds"].split())
    assert "+25.0 +50.0" in read.texts["seeds"]
    assert f"`raytrain report {tmp_path / 'seed-0'}`".strip("`") in read.texts["seeds"]
    write_report(tmp_path / "seed-1")
    read = page_of(tmp_path)[1]
    assert [a for a in read.addresses if "report" in a] == ["seed-1/report.html"]
    assert "all 3 joined" in html
    (tmp_path / "seeds.json").write_text("{")
    with pytest.raises(DataError, match=re.escape("seeds.json: broken")):
        write_report(tmp_path)
