from typing import Any

import pytest

from raytrain.reporting.results import (
    curves_text,
    points,
    results_text,
    seeds_table,
    seeds_text,
    title,
    with_interval,
)


def entry(pathways: list[str], accuracy: float, control: float, **changes: Any) -> dict[str, Any]:
    return {
        "pathways": pathways,
        "accuracy": accuracy,
        "interval": [accuracy - 0.01, accuracy + 0.02],
        "control": control,
        "control_interval": [control - 0.03, control + 0.03],
        "gain": accuracy - control,
        "gain_interval": [accuracy - control - 0.02, accuracy - control + 0.02],
        "gain_same_strength": 0.03125,
        "gain_same_strength_interval": [-0.01, 0.07],
        "floors": [{"name": "pixels", "accuracy": 0.125, "interval": [0.1, 0.15]}],
        "contrasts": [],
        "n": 430,
        "groups": 43,
        "protocol": "ridge, leave one group out",
    } | changes


def summary_of(seed: int, *gains: float) -> dict[str, Any]:
    names = (["identity"], ["lbp"], ["identity", "lbp"])
    probes = [entry(name, 0.5 + gain, 0.5) for name, gain in zip(names, gains, strict=False)]
    return {"seed": seed, "probes": probes}


def test_a_run_is_a_table_with_intervals_controls_gains_and_floors() -> None:
    contrast = {"name": "lbp - identity", "difference": 0.0625, "interval": [-0.01, 0.135]}
    probes = [
        entry(["identity"], 0.5, 0.25),
        entry(["lbp"], 0.75, 0.5, contrasts=[contrast]),
        entry(["identity", "lbp"], 0.8125, 0.875),
    ]
    same = "+3.1 [-1.0, +7.0]"
    assert results_text({"probes": probes}) == "\n".join(
        [
            f"{'pathway':<28} {'accuracy':<20} {'control':<20} {'gain over control':<20} at its strength",
            f"{'identity':<28} 0.500 [0.490, 0.520] 0.250 [0.220, 0.280] {'+25.0 [+23.0, +27.0]':<20} {same}",
            f"{'lbp':<28} 0.750 [0.740, 0.770] 0.500 [0.470, 0.530] {'+25.0 [+23.0, +27.0]':<20} {same}",
            f"{'joined identity+lbp':<28} 0.812 [0.802, 0.833] 0.875 [0.845, 0.905] "
            f"{'-6.2 [-8.2, -4.2]':<20} {same}",
            "floor: pixels                0.125 [0.100, 0.150]",
            "lbp - identity: +6.2 [-1.0, +13.5]",
            "n 430 in 43 groups; ridge, leave one group out",
        ]
    )


def test_each_protocol_has_its_table() -> None:
    probes = [
        entry(["lbp"], 0.75, 0.5, protocol_name="ridge"),
        entry(["lbp"], 0.5, 0.25, protocol_name="knn"),
    ]
    for key in ("gain_same_strength", "gain_same_strength_interval"):
        del probes[1][key]  # ridge alone has a strength
    probes[1]["protocol"] = "nearest neighbours"
    lines = results_text({"probes": probes}).splitlines()
    assert [line for line in lines if line.startswith("lbp")] == [
        f"{'lbp':<28} 0.750 [0.740, 0.770] 0.500 [0.470, 0.530] +25.0 [+23.0, +27.0] +3.1 [-1.0, +7.0]",
        f"{'lbp':<28} 0.500 [0.490, 0.520] 0.250 [0.220, 0.280] +25.0 [+23.0, +27.0]",
    ]
    assert [line.endswith("at its strength") for line in lines if line.startswith("pathway")] == [True, False]
    assert lines[-1] == "n 430 in 43 groups; nearest neighbours"
    table = seeds_table([{"seed": seed, "probes": probes} for seed in (0, 1)])
    assert table["representations"]["lbp"]["accuracy"] == {"mean": 0.75, "seeds": [0.75, 0.75]}
    knn = seeds_table([{"seed": 0, "probes": probes[1:]}])
    assert "gain_same_strength" not in knn["representations"]["lbp"]
    assert seeds_text(knn).endswith("+25.0 (+25.0)")


TOP = {
    "top5": 0.875,
    "top5_interval": [0.8, 0.9],
    "control_top5": 0.75,
    "control_top5_interval": [0.7, 0.8],
}


def test_top_five_and_labels_have_lines_of_their_own() -> None:
    none = {"top5": None, "control_top5": None}
    plain = results_text({"probes": [entry(["lbp"], 0.75, 0.5)]})
    assert results_text({"probes": [entry(["lbp"], 0.75, 0.5, **none)]}) == plain
    lines = results_text({"probes": [entry(["lbp"], 0.75, 0.5, **TOP)]}).splitlines()
    assert lines[2] == f"{'top-5: lbp':<28} 0.875 [0.800, 0.900] 0.750 [0.700, 0.800]"
    assert [*lines[:2], *lines[3:]] == plain.splitlines()
    mean = {key.replace("top5", "label_accuracy"): value for key, value in TOP.items()}
    rust = {"label": "rust", "accuracy": 0.5, "interval": [0.4, 0.6], "control": 0.25}
    labels = [rust | {"control_interval": [0.2, 0.3]}]
    lines = results_text({"probes": [entry(["lbp"], 0.75, 0.5, **mean, labels=labels)]}).splitlines()
    assert lines[2:4] == [
        f"{'mean of labels: lbp':<28} 0.875 [0.800, 0.900] 0.750 [0.700, 0.800]",
        f"{'label: rust':<28} 0.500 [0.400, 0.600] 0.250 [0.200, 0.300]",
    ]


def test_seeds_of_several_protocols() -> None:
    def summary(seed: int) -> dict[str, Any]:
        ridge = entry(["lbp"], 0.75 + seed / 10, 0.5, protocol_name="ridge", **TOP)
        knn = entry(["lbp"], 0.5, 0.25 + seed / 10, protocol_name="knn")
        for key in ("gain_same_strength", "gain_same_strength_interval"):
            del knn[key]
        return {"seed": seed, "probes": [ridge, knn]}

    table = seeds_table([summary(0), summary(1)])
    assert table["representations"]["lbp"]["accuracy"]["mean"] == pytest.approx(0.8)
    assert table["representations"]["lbp"]["top5"]["seeds"] == [0.875, 0.875]
    assert table["further"]["knn"]["lbp"]["control"]["mean"] == pytest.approx(0.3)
    lines = seeds_text(table).splitlines()
    assert lines[2].split()[:3] == ["lbp", "0.800", "0.500"]
    assert lines[3] == f"{'top-5: lbp':<28} 0.875     0.750"
    assert lines[4] == "knn:"
    assert lines[6].split() == ["lbp", "0.500", "0.300", "+20.0", "(+25.0", "+15.0)"]


def test_curves_are_tables_of_layers_and_subsets() -> None:
    assert curves_text({"probes": []}) == ""
    row = {key: value for key, value in entry([], 0.75, 0.5).items() if key.split("_")[0] in KEPT}
    layer = {"pathway": "lbp", "layer": "layer2", **row}
    lines = curves_text({"layers": [layer], "subsets": [{"pathways": ["a", "b"], **row}]}).splitlines()
    figures = "0.750 [0.740, 0.770] 0.500 [0.470, 0.530] +25.0 [+23.0, +27.0]"
    assert lines[1] == f"{'lbp layer2':<42} {figures}"
    assert lines[3] == f"{'a+b':<42} {figures}"
    assert "raytrain represent RUN" in curves_text({"layers": []})


KEPT = ("accuracy", "interval", "control", "gain")


def test_a_run_without_probes_says_so() -> None:
    assert results_text({"probes": []}) == "no probes"


def test_seeds_are_means_and_gains_over_the_gain_of_identity() -> None:
    table = seeds_table([summary_of(0, -0.02, 0.05, 0.1), summary_of(1, 0.0, 0.09, 0.1)])
    assert table["seeds"] == [0, 1]
    rows = table["representations"]
    assert list(rows) == ["identity", "lbp", "joined identity+lbp"]
    assert rows["lbp"]["gain"]["mean"] == pytest.approx(0.07)
    assert rows["lbp"]["gain"]["seeds"] == pytest.approx([0.05, 0.09])
    assert rows["lbp"]["accuracy"]["mean"] == pytest.approx(0.57)
    assert rows["lbp"]["gain_over_identity"] == pytest.approx(0.08)
    assert rows["identity"]["gain_over_identity"] == pytest.approx(0)
    lines = seeds_text(table).splitlines()
    assert lines[0] == "means of seeds 0, 1"
    assert lines[3].split() == ["lbp", "0.570", "0.500", "+7.0", "(+5.0", "+9.0)", "+8.0", "+3.1"]


def test_seeds_without_identity_have_nothing_to_be_held_against() -> None:
    summary = {"seed": 4, "probes": [entry(["rg"], 0.5, 0.25)]}
    table = seeds_table([summary])
    assert "gain_over_identity" not in table["representations"]["rg"]
    assert seeds_text(table).splitlines()[-1].split() == ["rg", "0.500", "0.250", "+25.0", "(+25.0)", "+3.1"]


def test_small_pieces() -> None:
    assert title(["rg"]) == "rg"
    assert title(["rg", "lbp"]) == "joined rg+lbp"
    assert with_interval(0.5124, [0.48, 0.5454]) == "0.512 [0.480, 0.545]"
    assert points(-0.0514, [-0.08, 0.02]) == "-5.1 [-8.0, +2.0]"
