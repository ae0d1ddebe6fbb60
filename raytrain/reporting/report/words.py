"""The page's first sentences: what was run, what came of it, what to beware of."""

from collections.abc import Sequence
from typing import Any

from pipelines.forms.quarantine import in_words
from raytrain.reporting.progress import clock
from raytrain.reporting.results import points, with_interval
from raytrain.reporting.run_data import RunData

LATE_SHARE = 0.2
CRITERIA = ("logo_accuracy", "fold_accuracy", "select_accuracy")


def subtitle(run: RunData) -> str:
    """Return what was run, in a sentence."""
    entries, data = run.summary["pathways"], run.summary["data"]
    kinds = {f"{entry['objective']} on {entry['encoder']}" for entry in entries}
    how = f"each {next(iter(kinds))}" if len(kinds) == 1 else ", ".join(sorted(kinds))
    epochs = max((entry["epochs"] for entry in entries), default=0)
    count = f"{len(entries)} pathways" if len(entries) > 1 else "One pathway"
    time = run.summary.get("timing", {}).get("total_s")
    return (
        f"{count} ({', '.join(run.pathways)}), {how}, {epochs} epoch{'s' * (epochs != 1)} of "
        f"{data.get('samples', 0):,} samples of {data.get('classes', 0)} classes"
        + (f"; {clock(time)} in all." if time else ".")
    )


def headline(run: RunData) -> list[str]:
    """Return the best pathway and the joined ones against their controls, and the floor, in words."""
    if not run.probes:
        return [f"No probes yet: how good the representations are is not known. {how_to_probe(run)}"]
    singles = [entry for entry in run.probes if len(entry["pathways"]) == 1]
    sentences = []
    if singles:
        # By training rows where they are known: the best by test accuracy would flatter itself.
        best = max(singles, key=_chosen_by)
        name = best["pathways"][0]
        first = f"Best pathway: {name}" if len(singles) > 1 else f"Pathway {name}"
        score = with_interval(best["accuracy"], best["interval"])
        sentences.append(f"{first}, accuracy {score}. {verdict(best)}")
    for entry in run.probes:
        if len(entry["pathways"]) > 1 and len(entry["pathways"]) == len(run.probed):
            score = with_interval(entry["accuracy"], entry["interval"])
            name = joined_name(len(entry["pathways"])).capitalize()
            sentences.append(f"{name}: accuracy {score}. {verdict(entry)}")
    floor = next((f for f in run.probes[-1].get("floors", []) if f["name"] == "pixels"), None)
    if floor:
        score = with_interval(floor["accuracy"], floor["interval"])
        sentences.append(f"The same classifier on the pixels alone: accuracy {score}.")
    note = "Brackets hold 95 % intervals; the control is the same network with its initial weights"
    chosen = "; the best pathway is chosen on training samples, not on the test split"
    known = any(name in entry for entry in singles for name in CRITERIA)
    sentences.append(note + (f"{chosen}." if known and len(singles) > 1 else "."))
    return sentences


def _chosen_by(entry: dict[str, Any]) -> float:
    """Return an entry's accuracy on samples that are not for testing, where it was kept."""
    return next((float(entry[name]) for name in CRITERIA if name in entry), float(entry["accuracy"]))


def verdict(entry: dict[str, Any]) -> str:
    """Say what training brought over the control, and whether the interval allows to say so."""
    low, high = entry["gain_interval"]
    gain = f"{points(entry['gain'], entry['gain_interval'])} points against its untrained control"
    if low > 0:
        return f"Training helps: {gain}."
    if high < 0:
        return f"Training hurts: {gain}."
    return f"No effect of training can be told: {gain}."


def warnings(run: RunData) -> list[str]:
    """Return what the run itself warned of, and what its figures give reason to beware of."""
    summary, found = run.summary, []
    if summary.get("status") != "done":
        found.append(f"The run is not finished: its status is {summary.get('status', 'unknown')}.")
    found += [str(text) for text in summary.get("warnings", [])]
    found += _of_probes(run.probes)
    data = summary["data"]
    if data.get("quarantined"):
        told = in_words(data.get("quarantined_by") or {"damaged": data["quarantined"]})
        found.append(f"Samples that could not be decoded: {told}; see quarantine.jsonl.")
    for entry in summary["pathways"]:
        if entry.get("restarts"):
            found.append(f"{entry['name']} was restarted {entry['restarts']} time(s); the weights are exact.")
        share = (entry.get("waits") or {}).get("data", 0.0)
        if share >= LATE_SHARE:
            found.append(f"{entry['name']} waited {100 * share:.0f} % of its time for data.")
    return found


def _of_probes(entries: Sequence[dict[str, Any]]) -> list[str]:
    found = []
    singles = [entry for entry in entries if len(entry["pathways"]) == 1]
    edges = [title for entry in entries for title in _edges(entry)]
    if edges:
        found.append(f"The classifier's strength lies at the edge of its range: {', '.join(edges)}.")
    for floor in entries[0].get("floors", []) if entries else []:
        below = [e for e in entries if _floor_difference(e, floor["name"])[1] < 0]
        if floor["name"] == "pixels" and len(below) == len(entries):
            found.append("Every representation is worse than the classifier on the pixels alone.")
    for entry in entries:
        contrast = next((c for c in entry.get("contrasts", []) if c["name"].startswith("joined -")), None)
        if singles and contrast and contrast["interval"][1] < 0:
            found.append("The joined representation is worse than the best single pathway.")
    return found


def _edges(entry: dict[str, Any]) -> list[str]:
    name = representation(entry["pathways"])
    pairs = ((name, "strength_edge"), (f"{name} control", "control_strength_edge"))
    return [f"{title} ({entry[key]})" for title, key in pairs if entry.get(key)]


def _floor_difference(entry: dict[str, Any], name: str) -> tuple[float, float]:
    for floor in entry.get("floors", []):
        if floor["name"] == name:
            low, high = floor["difference_interval"]
            return float(low), float(high)
    return 0.0, 0.0


def representation(pathways: Sequence[str], all_pathways: Sequence[str] = ()) -> str:
    """Return the name of a representation, short where it is all of them."""
    if len(pathways) > 1 and list(pathways) == list(all_pathways):
        return joined_name(len(pathways))
    return " + ".join(pathways)


def joined_name(num: int) -> str:
    """Return what all pathways together are called."""
    return "both joined" if num == 2 else f"all {num} joined"


def figure_name(kind: str, pathways: Sequence[str]) -> str:
    """Return a file name that no other figure has, short for however many pathways."""
    return f"{kind}-{pathways[0]}" if len(pathways) == 1 else f"joined-{kind}"


def how_to_probe(run: RunData) -> str:
    """Return what to run for the probes' results."""
    return f"`raytrain probe {run.folder}` makes them."
