"""The table as text: what was measured, the paper's cell beside it, the claims, and what differs."""

from typing import Any

from pipelines.modalities import modality_of
from raytrain.reporting.results import points, with_interval
from raytrain.reproduction.paper import PAPER_SETTINGS

TITLES = {
    "base": "base (raw image)",
    "base_normalized": "base, normalised patches",
    "lbp": "lbp",
    "rg": "rg",
    "dtcwt": "dtcwt",
    "ours": "ours (lbp+rg+dtcwt)",
    "movnet": "movnet (motion, end to end)",
    "ours_movnet": "ours with movnet",
    "multi_encoder": "multi-encoder (base x seeds)",
}
OBJECTIVE_TITLES = {
    "clapp": "clapp (local)",
    "hinge_cpc": "hinge_cpc (end to end)",
    "supervised": "supervised",
}


def table_text(result: dict[str, Any]) -> str:
    """Return the whole result as lines for a terminal.

    `result` is what `raytrain.reproduction.study` returns.
    """
    if not result["rows"]:
        return f"{result['title']}\n{_trainings(result)}"
    lines = [result["title"], _data_line(result)]
    if result["paper"]["data"]:
        lines.append(f"the paper's figures are of {result['paper']['data']}")
    for objective in dict.fromkeys(row["objective"] for row in result["rows"]):
        lines += ["", *_objective_lines(result, objective)]
    lines += ["", f"{'pixels, no encoder':<30}{with_interval(**_floor(result))}"]
    lines += ["", "differences in points, with 95 % intervals"]
    lines += [
        f"  {claim['claim']}: {points(claim['difference'], claim['interval'])}" for claim in result["claims"]
    ]
    lines += ["", f"protocol: {result['protocol']}", f"what differs: {result['differs']}"]
    lines += [result["paper"].get("settings", PAPER_SETTINGS), _trainings(result)]
    return "\n".join(lines)


def _trainings(result: dict[str, Any]) -> str:
    fits = result["fits"]
    return (
        f"{result['trainings']} pathways trained, {result['cached']} from the cache; "
        f"{fits['made']} representations fitted, {fits['cached']} from the cache"
    )


def _data_line(result: dict[str, Any]) -> str:
    data = result["data"]
    seeds = ", ".join(map(str, result["seeds"]))
    return (
        f"{data['root']}: trained on {data['pretrain']} samples, probed on {data['probe_train']}, tested on "
        f"{data['test']} samples of {data['test_groups']} groups; seeds {seeds}"
    )


def _floor(result: dict[str, Any]) -> dict[str, Any]:
    return {"value": result["floor"]["accuracy"], "interval": result["floor"]["interval"]}


def _objective_lines(result: dict[str, Any], objective: str) -> list[str]:
    printed = {(c["objective"], c["representation"]): c["text"] for c in result["paper"]["cells"]}
    lines = [
        f"{OBJECTIVE_TITLES.get(objective, objective):<30}{'accuracy':<21}{'initial weights':<21}"
        f"{'gain':<21}{'by seed':<21}paper"
    ]
    for row in result["rows"]:
        if row["objective"] != objective:
            continue
        cell = printed.get((objective, row["representation"]), "")
        seeds = " ".join(f"{100 * value:.1f}" for value in row["seeds"])
        lines.append(
            f"{TITLES[row['representation']]:<30}{with_interval(row['accuracy'], row['interval']):<21}"
            f"{with_interval(row['control'], row['control_interval']):<21}"
            f"{points(row['gain'], row['gain_interval']):<21}{seeds:<21}{cell}".rstrip()
        )
    return lines


def differences_from_paper(config: Any, *, num_images: int) -> str:
    """Return in one line what of our settings is not the paper's."""
    first = next(iter(config.pathways.values()))
    training, optimizer = config.training, first.optimizer
    what = modality_of(config).unit
    probe = f"every {what}'s features" if config.probe.features == "flat" else f"{what} features averaged"
    return (
        f"here {num_images} samples, {training.epochs} epochs, batch {training.batch_size}, vgg6 at "
        f"{first.encoder.width:g} of its width, Adam {optimizer.learning_rate:g}, weight decay "
        f"{optimizer.weight_decay:g}, {probe}, ridge classifier chosen on the training groups"
    )
