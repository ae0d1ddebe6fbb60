from typing import Any

from raytrain.reporting.results import (
    curves_text,
    points,
    results_text,
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


def test_small_pieces() -> None:
    assert title(["rg"]) == "rg"
    assert title(["rg", "lbp"]) == "joined rg+lbp"
    assert with_interval(0.5124, [0.48, 0.5454]) == "0.512 [0.480, 0.545]"
    assert points(-0.0514, [-0.08, 0.02]) == "-5.1 [-8.0, +2.0]"
    assert (with_interval(0.5124, None), points(-0.0514, None)) == ("0.512", "-5.1")
