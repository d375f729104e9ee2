"""A report as one page that needs nothing else: read on a telephone, in the dark, on paper."""

from collections.abc import Mapping, Sequence
from html import escape

from xrdjax.evaluation.figures import SavedFigure
from xrdjax.evaluation.tables import Table, report_heading, report_tables

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --ground: #fff; --line: #ccc; --head: #f0f3f6; --link: #005a8c }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --ground: #16191d; --line: #444; --head: #262b31; --link: #7cc4f0 }
}
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 76rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.5rem; line-height: 1.2; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; line-height: 1.3; margin: 2rem 0 .3rem }
p { max-width: 44rem; margin: .3rem 0 .6rem }
a { color: var(--link) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem .25rem 0; text-align: left; vertical-align: top }
thead th { background: var(--head); position: sticky; top: 0 }
.number { text-align: right; white-space: nowrap }
tbody th { font-weight: normal;
  position: sticky; left: 0; background: var(--ground); min-width: min(38vw, 15rem); max-width: 20rem }
.figures { columns: 24rem; column-gap: 1rem }
figure { margin: 0 0 1rem; background: #fff; color: #1a1a1a; border: 1px solid var(--line); padding: .4rem;
  break-inside: avoid }
figure svg { display: block; width: 100%; height: auto }
figcaption { font-size: .85rem; padding: .2rem }
@media print { body { font-size: 10pt; max-width: none } .scroll { overflow: visible }
  h2 { break-after: avoid } tr { break-inside: avoid } nav { display: none }
  .figures { columns: 2 } table { font-size: 7.5pt } }
"""


def as_page(report: Mapping, figures: Sequence[SavedFigure]) -> str:
    """Return a report as HTML."""
    return page(f"Evaluation of {report['run']}", report_heading(report), report_tables(report), figures)


def page(title: str, heading: str, tables: Sequence[Table], figures: Sequence[SavedFigure]) -> str:
    """Return a page of figures and tables; those after the first table stand behind the figures."""
    first, *others = tables
    shown = "\n".join(_figure(number, figure) for number, figure in enumerate(figures))
    links = " · ".join(f'<a href="#{_anchor(table)}">{escape(table.title)}</a>' for table in tables)
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(heading)} All figures in %.</p>",
        _table(first),
        f'<h2>Figures</h2>\n<div class="figures">\n{shown}\n</div>' if figures else "",
        f'<h2>More tables</h2>\n<nav aria-label="Tables">{links}</nav>' if others else "",
        *map(_table, others),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, body))
        + "\n</main>\n</body>\n</html>\n"
    )


def _anchor(table: Table) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in table.title.lower())


def _figure(number: int, figure: SavedFigure) -> str:
    label = escape(figure.title, quote=True)
    svg = figure.svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    # Names within a picture hold for the whole page: give each picture names of its own.
    for before in ('id="', "url(#", 'xlink:href="#'):
        svg = svg.replace(before, f"{before}f{number}-")
    return f"<figure>{svg}<figcaption>{escape(figure.title)}</figcaption></figure>"


def _table(table: Table) -> str:
    head = "".join(_cell("th", name, number >= table.labels, "col") for number, name in enumerate(table.columns))
    rows = "\n".join(
        "<tr>"
        + "".join(
            _cell("td" if number else "th", cell, number >= table.labels, "" if number else "row")
            for number, cell in enumerate(row)
        )
        + "</tr>"
        for row in table.rows
    )
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    return (
        f'<h2 id="{_anchor(table)}">{escape(table.title)}</h2>{note}\n<div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _cell(tag: str, text: str, is_number: bool, scope: str) -> str:
    of_scope = f' scope="{scope}"' if scope else ""
    kind = ' class="number"' if is_number else ""
    return f"<{tag}{of_scope}{kind}>{escape(text)}</{tag}>"
