"""The frame of a report: one HTML page, its style, its script, and the policy that keeps it closed.

The policy (Content-Security-Policy) allows the two scripts of this page by their hash and no network:
even if text from data got past the escaping, it could neither run nor load anything.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .labels import for_html


def page(title: str, body: str, *, charts: Mapping[str, Any], library: str) -> str:
    """One self-contained page.

    Parameters
    ----------
    title : plain text
    body : HTML, escaped by its maker
    charts : what ``SCRIPT`` draws: ``charts``, ``templates``, ``swap``, ``config``
    library : text of plotly.js
    """
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_allowed(library)} {_allowed(SCRIPT)}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    data = json.dumps(charts, ensure_ascii=True, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{for_html(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="charts">{data}</script>\n'
        f"<script>{library}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def html_table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    closing: Sequence[str] | None = None,
    css: str = "figures",
) -> str:
    """A table of texts, all escaped; the first cell of a row is its header. It scrolls sideways where it must.

    Parameters
    ----------
    closing : a last row that stands apart, such as a mean
    """
    titles = "".join(f'<th scope="col">{for_html(title)}</th>' for title in head)
    body = "".join(_row(row) for row in rows) + (_row(closing, ' class="mean"') if closing else "")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{for_html(caption)}"><table class="{css}">'
        f"<caption>{for_html(caption)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def section(title: str, lead: str, parts: Sequence[str], warnings: Sequence[str]) -> str:
    """A section of the page.

    Parameters
    ----------
    title, lead : plain text
    parts : HTML, escaped by its maker
    warnings : plain text, each said once
    """
    items = "".join(f"<li>{for_html(warning)}</li>" for warning in dict.fromkeys(warnings))
    notes = f'\n<ul class="note">{items}</ul>' if items else ""
    head = f'<h2>{for_html(title)}</h2>\n<p class="lead">{for_html(lead)}</p>'
    return "\n".join([f"<section>\n{head}", *parts]) + f"{notes}\n</section>"


def figure(name: str, caption: str) -> str:
    """The place of the chart of that name, and in plain text what it shows."""
    return (
        f'<figure>\n<div class="chart" role="img" data-chart="{name}"></div>\n'
        f"<figcaption>{for_html(caption)}</figcaption>\n</figure>"
    )


def folded(table: str) -> str:
    """A long table that opens with a click."""
    return f"<details><summary>The numbers</summary>{table}</details>"


def _row(cells: Sequence[str], kind: str = "") -> str:
    first, *others = (for_html(cell) for cell in cells)
    return f'<tr{kind}><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'


def _allowed(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


STYLE = """
:root { --ink: #1b1f24; --muted: #566070; --line: #dde2e8; --ground: #ffffff; --raised: #f6f8fa; --accent: #00669c;
  --warn: #8a4b00; --warn-ground: #fff6e8;
  --font: system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif;
  --code: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --muted: #a0a8b4; --line: #303742; --ground: #14171c;
  --raised: #1b2027; --accent: #6cbcf0; --warn: #f0b35e; --warn-ground: #2a2116; } }
@media print { :root { --ink: #000; --muted: #444; --line: #ccc; --ground: #fff; --raised: #fff; --accent: #004a70;
  --warn: #5c3200; --warn-ground: #fff; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 var(--font); overflow-wrap: anywhere; }
header, main, footer { max-width: 1080px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 44px; }
.brand { margin: 0 0 28px; color: var(--muted); font-size: 14px; font-weight: 600; letter-spacing: .02em; }
.brand::before { content: ""; display: inline-block; width: 10px; height: 10px; margin-right: 8px; border-radius: 50%;
  background: #0072b2; box-shadow: 7px 0 0 -1px #e69f00; position: relative; }
.brand span { margin-left: 7px; }
h1 { margin: 0 0 12px; font-size: 22px; line-height: 1.25; font-weight: 600; color: var(--muted); }
.finding { margin: 0; max-width: 30em; font-size: clamp(22px, 3.2vw, 32px); line-height: 1.28; font-weight: 600;
  letter-spacing: -.012em; text-wrap: pretty; }
.facts { display: flex; flex-wrap: wrap; gap: 1px; margin: 36px 0 0; padding: 0;
  background: var(--line); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.facts div { flex: 1 1 150px; background: var(--ground); padding: 14px 16px; }
.facts dt { color: var(--muted); font-size: 13px; }
.facts dd { margin: 2px 0 0; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
section { margin-top: 56px; }
h2 { margin: 0 0 8px; font-size: 20px; line-height: 1.3; letter-spacing: -.005em; }
h3 { margin: 24px 0 6px; font-size: 16px; }
p { margin: 0 0 12px; max-width: 44em; }
.lead, figcaption, .note { color: var(--muted); }
figure { margin: 20px 0 0; }
figcaption { margin-top: 8px; font-size: 14px; max-width: 52em; }
.chart { width: 100%; min-height: 120px; overflow: hidden; position: relative; }
.split { display: grid; grid-template-columns: minmax(0, 640px) minmax(0, 1fr); gap: 8px 48px; align-items: start; }
.split .chart { margin-top: 12px; }
.split .beside { padding-top: 12px; }
a { color: var(--accent); }
.pick { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; margin: 4px 0 16px; }
.pick label { font-size: 14px; color: var(--muted); }
select { font: inherit; font-size: 15px; color: var(--ink); background: var(--raised); border: 1px solid var(--line);
  border-radius: 7px; padding: 6px 12px; max-width: 100%; cursor: pointer; }
select { min-width: 10em; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
.scroll { overflow-x: auto; margin-top: 16px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
caption { text-align: left; color: var(--muted); font-size: 14px; padding-bottom: 8px; }
th, td { padding: 7px 12px 7px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
thead th { color: var(--muted); font-weight: 500; vertical-align: bottom; }
.figures td, .figures thead th:not(:first-child) { text-align: right; white-space: nowrap; }
.figures thead th:not(:first-child) { white-space: normal; max-width: 9em; }
.figures th:first-child { min-width: 7em; max-width: 24em; overflow-wrap: break-word; }
tr.mean th, tr.mean td { border-top: 2px solid var(--line); font-weight: 600; }
details { margin-top: 14px; font-size: 14px; }
summary { cursor: pointer; color: var(--accent); width: fit-content; }
.warnings { background: var(--warn-ground); border-left: 3px solid var(--warn); padding: 14px 18px;
  border-radius: 0 8px 8px 0; margin-top: 28px; }
.warnings h2 { font-size: 16px; color: var(--warn); margin-bottom: 4px; }
.warnings ul { margin: 0; padding-left: 18px; }
.words { display: grid; grid-template-columns: minmax(9em, 15em) 1fr; gap: 12px 28px; margin: 12px 0 0; }
.words dt { font-weight: 600; }
.words dd { margin: 0; max-width: 42em; }
.made { table-layout: fixed; }
.made th { width: 13em; font-weight: 500; color: var(--muted); }
.made th, .made td { overflow-wrap: anywhere; }
pre { margin: 12px 0 0; padding: 14px 16px; background: var(--raised); border: 1px solid var(--line);
  border-radius: 8px; font: 13px/1.5 var(--code); overflow-x: auto; white-space: pre; }
code { font-family: var(--code); font-size: .92em; }
ol.next { padding-left: 20px; margin: 12px 0 0; }
ol.next li { margin-bottom: 14px; }
footer { margin-top: 64px; padding-top: 16px; padding-bottom: 40px; color: var(--muted); font-size: 13px; }
[hidden] { display: none !important; }
@media (max-width: 900px) {
  .split { grid-template-columns: minmax(0, 1fr); }
  .split .beside { order: -1; padding-top: 0; }
}
@media (max-width: 640px) {
  header, main, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 28px; }
  .words { grid-template-columns: 1fr; gap: 2px; }
  .words dd { margin-bottom: 12px; }
  .made th { width: 8em; }
}
@media print {
  body { font-size: 11pt; }
  header, main, footer { max-width: none; padding: 0; }
  figure, tr, .warnings, .chart { break-inside: avoid; }
  h2, caption { break-after: avoid; }
  section { margin-top: 28px; }
  .pick, .modebar, summary { display: none !important; }
  pre { white-space: pre-wrap; }
}
"""

SCRIPT = """
"use strict";
(() => {
  const page = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const boxes = [...document.querySelectorAll("[data-chart]")];
  let printing = false;

  function recolored(value) {
    if (Array.isArray(value) || value === null || typeof value !== "object") return page.swap[value] ?? value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) =>
      [key, Array.isArray(item) || key === "bdata" ? item : recolored(item)]));
  }

  function draw(box) {
    const chart = page.charts[box.dataset.chart];
    const theme = dark.matches && !printing ? "dark" : "light";
    const layout = { ...structuredClone(chart.layout), template: page.templates[theme], uirevision: "kept" };
    if (printing) layout.width = Math.min(660, box.dataset.chart === "accuracy" ? 660 : 560);
    const ratio = layout.scene?.aspectratio, fit = Math.min(1, ((layout.width ?? box.clientWidth) / 640) ** 1.4);
    for (const axis in ratio) ratio[axis] *= fit;
    const data = theme === "dark" ? chart.data.map(recolored) : structuredClone(chart.data);
    box.setAttribute("aria-label", chart.alt);
    return Plotly.react(box, data, layout, page.config);
  }

  function show(select) {
    for (const part of document.querySelectorAll(`[data-part="${select.dataset.for}"]`))
      part.hidden = part.dataset.name !== select.value;
    const box = document.getElementById(`chart-${select.dataset.for}`);
    box.dataset.chart = `${select.dataset.for}:${select.value}`;
    draw(box);
  }

  const selects = [...document.querySelectorAll("select[data-for]")];
  function choose(name) {
    for (const select of selects)
      if (select.value !== name && [...select.options].some((option) => option.value === name)) {
        select.value = name;
        show(select);
      }
  }
  for (const select of selects) {
    select.addEventListener("change", () => { show(select); choose(select.value); });
    select.closest(".pick").hidden = select.options.length < 2;
    show(select);
  }
  for (const box of boxes) if (!box.id) draw(box);
  const accuracy = document.querySelector('[data-chart="accuracy"]');
  accuracy?.on("plotly_click", (event) => {
    const name = event.points[0].y in page.rows ? page.rows[event.points[0].y] : undefined;
    if (name !== undefined) choose(name);
  });
  dark.addEventListener("change", () => boxes.forEach(draw));
  addEventListener("beforeprint", () => { printing = true; boxes.forEach(draw);
    document.querySelectorAll("details").forEach((part) => { part.dataset.was = part.open; part.open = true; }); });
  addEventListener("afterprint", () => { printing = false; boxes.forEach(draw);
    document.querySelectorAll("details").forEach((part) => { part.open = part.dataset.was === "true"; }); });
})();
"""
