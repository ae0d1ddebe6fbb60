"""The model card and the loading example that lie beside exported weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raytrain.exporting.graphs import Graph

EXAMPLE_NAME, CARD_NAME = "load_example.py", "README.md"


def example_text(canvas_px: int) -> str:
    """Return a program that loads the export it lies in, and represents two images."""
    side = canvas_px
    return f'''"""Load these encoders and represent images; needs torch, not ray."""
from pathlib import Path
import torch
import raytrain
encoder = raytrain.load_encoder(Path(__file__).parent)
images = torch.randint(0, 256, (2, 3, {side}, {side}), dtype=torch.uint8)  # or encoder.read(PATH)[None]
with torch.inference_mode():
    cells = encoder(images)
for name, values in cells.items():
    print(name, list(values.shape), values.dtype)  # images, cells row by row, channels
'''


def card_text(config: dict[str, Any], summary: dict[str, Any], graphs: Sequence[Graph]) -> str:
    """Return the model card of an export; `summary`: the run's summary.json, {} where it has none."""
    names = ", ".join(config["pathways"])
    parts = [
        f"# {config['run']['name']}: {names}",
        "Visual encoders trained with raytrain "
        f"{config['raytrain']}, without labels unless an objective below says supervised. Each pathway is a "
        "fixed operator and a trained network; their outputs may be joined.",
        _data(config),
        _settings(config),
        _figures(summary, set(config["pathways"])),
        _loading(config, graphs),
        _limits(config, summary),
        "## Licence\n\n(To be stated by whoever passes these weights on; mind the licence of the data.)",
    ]
    return "\n\n".join(parts) + "\n"


def _data(config: dict[str, Any]) -> str:
    data = config["data"]
    return (
        "## Data\n\n"
        f"{data['samples']} training images of source `{data['source']}`, {data['classes']} classes; "
        f"manifest SHA-256 `{data['manifest_hash']}`. Images are RGB bytes, brought to "
        f"{config['canvas_px']} x {config['canvas_px']} px by `{config['fit']}`."
    )


def _settings(config: dict[str, Any]) -> str:
    rows = [
        "| pathway | operator | encoder | objective | steps (epochs) | output |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in config["pathways"].items():
        output, trained = entry["output"], entry["trained"]
        rows.append(
            f"| {name} | {_brief(entry['operator'])} | {_brief(entry['encoder'])} | "
            f"{_brief(trained['objective'])} | {trained['steps']} ({trained['epochs']}) | "
            f"{output['rows']} x {output['columns']} cells, {output['channels']} channels |"
        )
    run = config["run"]
    first = next(iter(config["pathways"].values()))["trained"]
    return (
        f"## Settings\n\nPreset `{run['preset']}`, seed {run['seed']}, batches of {first['batch_size']}, "
        f"{first['precision']}. `config.json` holds all that rebuilds the encoders.\n\n" + "\n".join(rows)
    )


def _brief(settings: dict[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in settings.items() if key != "name")
    return f"{settings['name']}" + (f" ({rest})" if rest else "")


def _figures(summary: dict[str, Any], names: set[str]) -> str:
    entries = [entry for entry in summary.get("probes", []) if set(entry["pathways"]) <= names]
    if not entries:
        return "## Figures\n\nThe run has no probe of these pathways."
    rows = [
        "| representation | protocol | accuracy | control (initial weights) | gain over control |",
        "|---|---|---|---|---|",
    ]
    for entry in entries:
        rows.append(
            f"| {'+'.join(entry['pathways'])} | {entry.get('protocol_name', 'ridge')} | "
            f"{_value(entry, 'accuracy', 'interval')} | {_value(entry, 'control', 'control_interval')} | "
            f"{_value(entry, 'gain', 'gain_interval')} |"
        )
    for floor in entries[0].get("floors", []):
        rows.append(f"| floor: {floor['name']} | | {_value(floor, 'accuracy', 'interval')} | | |")
    protocols = dict.fromkeys(entry["protocol"] for entry in entries if entry.get("protocol"))
    first = entries[0]
    measured = (
        f"Measured on {first['n']} images in {first['groups']} groups of split `{first['split']}`, with 95 % "
        "intervals. The control is the same network with its initial weights: what is not above it was not "
        "learnt. A floor is a classifier on the operator's output (or the pixels) without any network."
    )
    return "\n\n".join(
        ["## Figures", measured, "\n".join(rows), *(f"Protocol: {text}." for text in protocols)]
    )


def _value(entry: dict[str, Any], key: str, interval: str) -> str:
    if entry.get(key) is None:
        return ""
    text = f"{entry[key]:.3f}"
    return text + (f" [{entry[interval][0]:.3f}, {entry[interval][1]:.3f}]" if entry.get(interval) else "")


def _loading(config: dict[str, Any], graphs: Sequence[Graph]) -> str:
    side = config["canvas_px"]
    text = (
        "## Loading\n\n`load_example.py` is a program of ten lines; it needs raytrain and torch, neither ray "
        "nor the run folder.\n\n```python\nencoder = raytrain.load_encoder(FOLDER)\n"
        f"cells = encoder(images)  # u8[B, 3, {side}, {side}] -> {{pathway: f32[B, cells, channels]}}\n"
        "```\n\nImages of another size are brought to the canvas as in training; `encoder.read(PATH)` reads "
        "a file as training did. `model.safetensors` names its tensors `<pathway>.<parameter>`."
    )
    if graphs:
        takes = {
            "images": f"takes u8[B, 3, {side}, {side}]",
            "maps": "takes the operator's maps f32[B, C, h, w], not images",
        }
        text += (
            "\n\nGraphs, any batch size: " + "; ".join(f"`{g.file}` {takes[g.takes]}" for g in graphs) + "."
        )
    return text


def _limits(config: dict[str, Any], summary: dict[str, Any]) -> str:
    limits = [
        f"- Trained and measured on the data above alone, at {config['canvas_px']} px; nothing is known of "
        "other data.",
        "- A figure says what a classifier on these frozen features reads out, not what a system built on "
        "them would do.",
    ]
    if summary.get("status") != "done":
        limits.append(f"- The run is not finished (status: {summary.get('status', 'unknown')}).")
    limits += [f"- {warning}" for warning in summary.get("warnings", [])]
    if any(entry["trained"]["precision"] != "fp32" for entry in config["pathways"].values()):
        limits.append("- Trained under bf16 autocast; these files compute in float32.")
    return "## Limits\n\n" + "\n".join(limits)


def default_folder(run: Path) -> Path:
    """Return where a run's export lies unless named."""
    return run / "export"
