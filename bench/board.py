"""Draws the board of ``compose/grafana`` from a Prometheus, as one SVG, where no Grafana runs.

python -m bench.board http://127.0.0.1:9090 board.svg [minutes]
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import httpx

_BOARD = Path(__file__).parents[1] / "compose" / "grafana" / "boards" / "spool.json"
_CELL_X, _CELL_Y = 60, 36
_COLOURS = ("#3274d9", "#56a64b", "#ff9830", "#e02f44", "#8f3bb8", "#0aa", "#a67c00", "#666")
_POINTS = 240
Series = tuple[str, list[tuple[float, float]]]


class Box(NamedTuple):
    """A place in the picture."""

    x: int
    y: int
    width: int
    height: int


def draw(url: str, target: Path, minutes: float) -> list[str]:
    """Ask the Prometheus at ``url`` for each panel, and write the picture. Returns the titles of the panels without a
    point. Raises ``httpx.HTTPError``."""
    panels = json.loads(_BOARD.read_text(encoding="utf-8"))["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * _CELL_Y
    end = time.time()
    size = f'width="{24 * _CELL_X}" height="{height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">']
    parts.append('<rect width="100%" height="100%" fill="#f4f5f5"/>')
    empty = []
    with httpx.Client(base_url=f"{url.rstrip('/')}/api/v1") as prometheus:
        for panel in panels:
            targets = panel.get("targets", ())
            found = [series for one in targets for series in _read(prometheus, one, end, minutes)]
            if panel["type"] != "row" and not any(points for _, points in found):
                empty.append(panel["title"])
            parts += _panel(panel, found, end - minutes * 60, end)
    target.write_text("\n".join([*parts, "</svg>"]), encoding="utf-8")
    return empty


def _read(prometheus: httpx.Client, target: dict[str, Any], end: float, minutes: float) -> Iterator[Series]:
    step = minutes * 60 / _POINTS
    # As Grafana chooses it: at least four scrapes.
    expr = target["expr"].replace("$__rate_interval", f"{max(4, math.ceil(4 * step))}s")
    query = {"query": expr, "start": end - minutes * 60, "end": end, "step": step}
    for one in prometheus.get("query_range", params=query).raise_for_status().json()["data"]["result"]:
        name = target["legendFormat"]
        for label, value in one["metric"].items():
            name = name.replace(f"{{{{{label}}}}}", value)
        yield name, [(float(at), float(value)) for at, value in one["values"] if value not in ("NaN", "+Inf")]


def _panel(panel: dict[str, Any], found: Sequence[Series], begin: float, end: float) -> Iterator[str]:
    place = panel["gridPos"]
    box = Box(place["x"] * _CELL_X, place["y"] * _CELL_Y, place["w"] * _CELL_X, place["h"] * _CELL_Y)
    title = escape(panel["title"])
    if panel["type"] == "row":
        yield f'<text x="{box.x + 8}" y="{box.y + 25}" font-size="18" font-weight="600">{title}</text>'
        return
    size = f'width="{box.width - 6}" height="{box.height - 6}"'
    yield f'<rect x="{box.x + 3}" y="{box.y + 3}" {size} fill="#fff" stroke="#ddd"/>'
    yield f'<text x="{box.x + 11}" y="{box.y + 18}" font-size="12" font-weight="600">{title}</text>'
    unit = panel["fieldConfig"]["defaults"]["unit"]
    yield from _numbers(box, found, unit) if panel["type"] == "stat" else _lines(box, found, unit, begin, end)


def _numbers(box: Box, found: Sequence[Series], unit: str) -> Iterator[str]:
    for number, (name, points) in enumerate(found):
        shown = f"{escape(name)}: {_value(points[-1][1], unit)}"
        yield f'<text x="{box.x + 20}" y="{box.y + 55 + 26 * number}" font-size="18">{shown}</text>'


def _lines(box: Box, found: Sequence[Series], unit: str, begin: float, end: float) -> Iterator[str]:
    top = max((value for _, points in found for _, value in points), default=0) or 1.0
    left, right = box.x + 52, box.x + box.width - 10
    low, high = box.y + box.height - 12 - 13 * math.ceil(len(found) / 3), box.y + 30
    for part in (0.0, 0.5, 1.0):
        at = low - (low - high) * part
        yield f'<line x1="{left}" x2="{right}" y1="{at}" y2="{at}" stroke="#eee"/>'
        yield f'<text x="{left - 4}" y="{at + 4}" font-size="10" text-anchor="end">{_value(top * part, unit)}</text>'
    for number, (name, points) in enumerate(found):
        colour = _COLOURS[number % len(_COLOURS)]
        line = " ".join(
            f"{left + (at - begin) / (end - begin) * (right - left):.1f},{low - value / top * (low - high):.1f}"
            for at, value in points
        )
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        x, y = left + number % 3 * (right - left) / 3, low + 14 + 13 * (number // 3)
        yield f'<text x="{x}" y="{y}" font-size="10" fill="{colour}">— {escape(name)}</text>'


def _value(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{value:.3g}" + {"ops": "/s", "reqps": "/s"}.get(unit, "")


if __name__ == "__main__":
    without = draw(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 60.0)
    print("panels without a point:", ", ".join(without) or "none")
