"""From a page to one HTML file: style, script and figures inside, no request to anywhere."""

import re
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from raytrain.reporting.figures.palette import variables
from raytrain.reporting.report.blocks import Page

_PACKAGE = "raytrain.reporting.report"
_DARK = ':root[data-theme="dark"]'


def render(page: Page) -> str:
    """Return the HTML of a page."""
    environment = Environment(
        loader=PackageLoader(_PACKAGE, "page"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"marked": _marked, "sign": _sign}
    template = environment.get_template("page.html.jinja")
    folder = resources.files(_PACKAGE).joinpath("page")
    return template.render(
        page=page,
        colours=_colours(),
        style=folder.joinpath("style.css").read_text(encoding="utf-8"),
        script=folder.joinpath("script.js").read_text(encoding="utf-8"),
    )


def _colours() -> str:
    """Return the variables of both themes; a chosen theme wins over the system's."""
    light, dark = (
        "; ".join(f"--{name}: {pair[place]}" for name, pair in variables().items()) for place in (0, 1)
    )
    return (
        f":root {{ {light}; color-scheme: light; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark}; color-scheme: dark; }} }}\n"
        f':root[data-theme="light"] {{ {light}; color-scheme: light; }}\n'
        f"{_DARK} {{ {dark}; color-scheme: dark; }}\n"
        f"@media print {{ :root, {_DARK} {{ {light}; }} }}"
    )


def _marked(text: str) -> Markup:
    """Return text with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _sign(text: str) -> str:
    """Return `up` or `down` for a difference whose interval leaves out zero, else nothing."""
    found = re.fullmatch(r"[+-][\d.]+ \[([+-][\d.]+), ([+-][\d.]+)\]", text)
    if not found:
        return ""
    low, high = (float(end) for end in found.groups())
    return "up" if low > 0 else "down" if high < 0 else ""
