"""The page in a real browser: nothing breaks, nothing overflows, every figure is there."""

import html as markup
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page in"),
]

COLLECT = """<script>window.said = []; window.addEventListener("error", function (e) {
  window.said.push(String(e.message || e.target.outerHTML)); }, true);</script>"""
MEASURE = """<script>window.addEventListener("load", function () {
  var result = {errors: window.said, width: innerWidth, page: document.documentElement.scrollWidth};
  var style = getComputedStyle(document.body);
  result.ground = style.backgroundColor; result.ink = style.color;
  var choices = [].slice.call(document.querySelectorAll(".choice"));
  result.shown = choices.filter(function (e) { return !e.hidden; }).length;
  var second = document.querySelectorAll(".chooser input")[1]; second.click();
  result.chosen = [].filter.call(second.closest(".chooser").children, function (e) {
    return e.classList.contains("choice") && !e.hidden; }).map(function (e) { return e.id; });
  result.wanted = second.value;
  document.getElementById("theme").click();
  result.switched = getComputedStyle(document.body).backgroundColor;
  choices.forEach(function (e) { e.hidden = false; });
  document.querySelectorAll("details").forEach(function (e) { e.open = true; });
  result.all = document.documentElement.scrollWidth;
  result.figures = {};
  document.querySelectorAll("[data-figure]").forEach(function (e) {
    var box = (e.querySelector("svg") || e).getBoundingClientRect();
    result.figures[e.dataset.figure] = [box.width, box.height]; });
  parent.postMessage(JSON.stringify(result), "*");
});</script>"""
# A window may not be narrower than 500 px, a frame may; a file may not look into another one, so it sends.
FRAME = """<!doctype html>
<iframe src="measured.html%s" style="width: %dpx; height: 900px; border: 0"></iframe>
<pre id="result"></pre><script>addEventListener("message", function (e) {
  document.getElementById("result").textContent = e.data; });</script>"""


@pytest.fixture(scope="module")
def page(full_report: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report with a script before and one after it that measure."""
    html = (full_report / "report.html").read_text()
    measured = tmp_path_factory.mktemp("browser") / "measured.html"
    measured.write_text(html.replace("<head>", f"<head>{COLLECT}").replace("</body>", f"{MEASURE}</body>"))
    return measured


def browse(page: Path, width: int, profile: Path, query: str = "") -> tuple[dict[str, Any], str]:
    """Return what the page measured of itself, and the browser's console."""
    assert CHROMIUM is not None
    frame = page.with_name(f"{profile.name}-{width}{query[-5:]}.html")
    frame.write_text(FRAME % (query, width))
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={profile}",
            "--window-size=1400,1000",
            "--virtual-time-budget=10000",  # until the message has come
            "--enable-logging=stderr",
            "--v=0",
            "--dump-dom",
            f"file://{frame}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r'<pre id="result">({.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert found, done.stderr[-2000:]
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    measured: dict[str, Any] = json.loads(markup.unescape(found.group(1)))
    return measured, console


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_whole_at_any_width(page: Path, width: int, tmp_path: Path) -> None:
    found, console = browse(page, width, tmp_path)
    assert found["errors"] == []
    assert console == ""
    assert found["width"] == width
    assert found["page"] <= width
    assert found["all"] <= width  # with everything unfolded
    assert len(found["figures"]) > 25
    for name, (across, down) in found["figures"].items():
        assert min(across, down) > 100, name
    assert found["shown"] == 3  # of each chooser the first choice
    assert found["chosen"] == [found["wanted"]]


def test_themes_change_ground_and_ink(page: Path, tmp_path: Path) -> None:
    light, _ = browse(page, 1280, tmp_path, "?theme=light")
    dark, _ = browse(page, 1280, tmp_path, "?theme=dark")
    assert light["ground"] == "rgb(254, 254, 254)"
    assert dark["ground"] == "rgb(21, 25, 30)"
    assert light["ink"] != dark["ink"]
    assert light["switched"] == dark["ground"]
    assert dark["switched"] == light["ground"]
