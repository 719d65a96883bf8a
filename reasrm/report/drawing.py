"""What the pages share: plots by matplotlib as SVG that takes the page's text colour, and templates by Jinja on one base.

Text that comes from elsewhere is escaped by the templates; only what `svg` returns is markup.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from reasrm.datasets.files import needed
from reasrm.types import Message

INK = "#010203"  # replaced by the page's own text colour
BLUE, RED, GREEN, AMBER = "#3b7dd8", "#d8583b", "#3a9d6e", "#c98a1b"
WIDE = 5.4  # inches: the text comes out at the page's size


def check_installed() -> None:
    """Raise InputError if a package for drawing pages is missing."""
    for module, package in (("jinja2", "jinja2"), ("matplotlib.figure", "matplotlib")):
        needed(module, package)


def render(package: str, template: str, **values: Any) -> str:
    """The page that `template` of `package` makes of `values`; it may extend this package's `base.html`."""
    jinja2 = needed("jinja2")
    folders = [jinja2.PackageLoader(name, ".") for name in dict.fromkeys((package, "reasrm.report"))]
    settings = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    return jinja2.Environment(loader=jinja2.ChoiceLoader(folders), **settings).get_template(template).render(**values)


def as_text(messages: Sequence[Message]) -> str:
    """Messages as text for people: one as it is, several with their roles."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)


def axes_of(width: float, height: float, grid: str = "x") -> tuple[Any, Any]:
    """A figure of its own (no global state) with its axes, in inches; `grid`: across which axis lines are drawn."""
    figure = needed("matplotlib.figure", "matplotlib").Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(INK)
    axes.tick_params(colors=INK)
    axes.grid(visible=True, axis=grid, color=INK, alpha=0.12)
    return figure, axes


def svg(figure: Any) -> Any:
    """The figure as markup for a page. Equal figures give equal markup."""
    for axes in figure.axes:
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
    matplotlib = needed("matplotlib")
    written = io.StringIO()
    style = {"svg.fonttype": "none", "svg.hashsalt": "reasrm", "font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context(style):
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    return needed("markupsafe").Markup(text[text.index("<svg") :].replace(INK, "currentColor"))
