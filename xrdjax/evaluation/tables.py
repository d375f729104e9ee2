"""The tables of a report, made of its JSON: the same ones in text and page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from xrdjax.evaluation.protocols import PART_NAMES
from xrdjax.evaluation.results import HEADS
from xrdjax.learning.pictures import hermann_mauguin


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the cells of the first `labels` columns are words, the others numbers."""

    title: str
    note: str = ""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 1


def report_tables(report: Mapping) -> list[Table]:
    """Return all tables of a report."""
    return [
        _summary(report),
        *_levels(report),
        *_conditions(report),
        _structure_types(report),
        *_classes(report),
        *_confusions(report),
        _calibration(report),
        *_depletion(report),
    ]


def report_heading(report: Mapping) -> str:
    """Return what was done, in a sentence or two."""
    device, jax = report["device"], report["versions"]["jax"]
    most = "" if report["max_crystals"] is None else f", at most {report['max_crystals']:,} of a part"
    empty = "".join(f" No crystal fits {name}." for name in report["left_out"])
    return (
        f"{report['patterns']:,} patterns of {report['crystals']:,} crystals ({report['split']} split{most}), step "
        f"{report['step']:,}, seed {report['seed']}, in {report['seconds']:.0f} s on {device}, jax {jax}.{empty}"
    )


def as_markdown(report: Mapping, pictures: Sequence[tuple[str, str]]) -> str:
    """Return a report as text; `pictures` are titles and files."""
    lines = [f"# Evaluation of {report['run']}", "", report_heading(report), "", "All figures in %.", ""]
    for table in report_tables(report):
        lines += [f"## {table.title}", "", *([table.note, ""] if table.note else []), *markdown_lines(table), ""]
    lines += ["## Figures", "", *(f"![{title}]({file})" for title, file in pictures)]
    return "\n".join(lines) + "\n"


def as_summary(report: Mapping) -> str:
    """Return what a terminal shows: the headings of the protocols alone."""
    rows = [
        (name, title, *(percent(result["heads"][head][key]) for key in ("top1", "top3", "weighted", "commonest")))
        for name, result in report["protocols"].items()
        for head, title in HEADS.items()
        if result["heads"]
    ]
    columns = ("protocol", "head", "top-1", "top-3", "weighted", "always the commonest")
    table = Table(title="", columns=columns, rows=rows, labels=2)
    return "\n".join([report_heading(report) + " All figures in %.", "", *markdown_lines(table)]) + "\n"


def markdown_lines(table: Table) -> list[str]:
    """Return a table as lines of Markdown."""
    ruler = ["---" if number < table.labels else "---:" for number in range(len(table.columns))]
    return [f"| {' | '.join(row)} |" for row in (table.columns, ruler, *table.rows)]


def percent(value: float) -> str:
    """Return a fraction in %, without the sign."""
    return f"{100 * value:.1f}"


def _with_interval(figures: Mapping) -> str:
    low, high = figures["interval"]
    return f"{percent(figures['top1'])} ({percent(low)} to {percent(high)})"


def _summary(report: Mapping) -> Table:
    rows = []
    for name, result in report["protocols"].items():
        for union, heads in result["unions"].items():
            if heads:
                group = heads["space_group"]
                most = ceiling_of(result, union)
                cells = [f"{group['patterns']:,}"]
                for head, figures in heads.items():
                    cells += [_with_interval(figures), *(percent(figures[key]) for key in ("top3", "weighted"))]
                    near = result.get("neighbours", {}).get(union)
                    cells += [percent(figures["commonest"]), "" if near is None else percent(near[head]["top1"])]
                    cells += [percent(most[head]["top1"])]
                rows.append(
                    (f"{name}: {union}", *cells, *(percent(group[key]) for key in ("zone_class", "friedel_class")))
                )
    return Table(
        title="All protocols",
        note="Top-1 with the middle 95 % of 500 samples of the crystals; weighted is the mean over the classes. "
        "Commonest: what always naming the class that is commonest among the training crystals reaches. Neighbours: "
        "what the training pattern along the same axis whose spots are most alike would say. Ceiling: the "
        "most that symmetry and absent reflections of the unchanged crystal's picture can tell (of all its pictures "
        "for views); cell sizes and intensities can tell more. Same picture: right, or for a group whose picture along "
        "this axis has the same symmetry and absences. Same class: right, or for one that Friedel's law hides.",
        columns=(
            "protocol and what is counted", "patterns",
            "crystal system, top-1", "top-3", "weighted", "commonest", "neighbours", "ceiling",
            "space group, top-1", "top-3", "weighted", "commonest", "neighbours", "ceiling",
            "same picture", "same class",
        ),
        rows=rows,
    )  # fmt: skip


def ceiling_of(result: Mapping, union: str) -> Mapping:
    """Return what symmetry and absences can tell at most of the patterns that are counted together."""
    return result["ceilings"][union][result["sees"]]


def _levels(report: Mapping) -> Iterator[Table]:
    for name, result in report["protocols"].items():
        if not result["level"]:
            continue
        for head, title in HEADS.items():
            series = level_series(result, head)
            levels = sorted({level for points in series.values() for level in points})
            rows = [(f"{level:g}", *(_two(points.get(level)) for points in series.values())) for level in levels]
            yield Table(
                title=f"{result['title']}: {title}",
                note=f"Protocol {name}; top-1 / weighted.",
                columns=(result["level"], *series),
                rows=rows,
            )


def level_series(result: Mapping, head: str) -> dict[str, dict[float, Mapping]]:
    """Return figures by level for every part, axis and label of a protocol."""
    series: dict[str, dict[float, Mapping]] = {}
    for one in result["conditions"]:
        label = " ".join(filter(None, (PART_NAMES[one["part"]], one["axis"], one["label"])))
        series.setdefault(label, {})[one["level"]] = one["heads"][head]
    return series


def _two(figures: Mapping | None) -> str:
    return "" if figures is None else f"{percent(figures['top1'])} / {percent(figures['weighted'])}"


def _conditions(report: Mapping) -> Iterator[Table]:
    for name, result in report["protocols"].items():
        if result["level"]:
            continue
        rows = []
        for one in result["conditions"]:
            figures = [one["heads"][head] for head in HEADS]
            cells = [cell for each in figures for cell in (percent(each["top1"]), percent(each["weighted"]))]
            rows.append((" ".join(filter(None, (PART_NAMES[one["part"]], one["axis"], one["label"]))), *cells))
        columns = [cell for title in HEADS.values() for cell in (f"{title}, top-1", "weighted")]
        yield Table(title=result["title"], note=f"Protocol {name}.", columns=("patterns", *columns), rows=rows)


def _structure_types(report: Mapping) -> Table:
    rows = []
    for name, heads in report["structure_types"].items():
        if heads:
            cells = [_with_interval(heads[head]) for head in HEADS]
            rows.append((name, f"{heads['space_group']['patterns']:,}", *cells))
    return Table(
        title="Structure types",
        note=f"Protocol {report['detailed']}, {report['split']} split: crystals whose structure type was trained on, "
        "and those that resemble nothing in the training.",
        columns=("structure types", "patterns", *HEADS.values()),
        rows=rows,
    )


def _classes(report: Mapping) -> Iterator[Table]:
    classes = report["classes"]
    yield Table(
        title="Crystal systems",
        note=f"Protocol {report['detailed']}.",
        columns=("crystal system", "patterns", "top-1", "top-3"),
        rows=[
            (one["crystal_system"], f"{one['patterns']:,}", percent(one["top1"]), percent(one["top3"]))
            for one in classes["systems"]
        ],
    )
    yield Table(
        title="Space groups by their number of training crystals",
        note=f"Protocol {report['detailed']}. Every single group is in the figure and in report.json.",
        columns=("training crystals", "groups", "patterns", "top-1"),
        rows=[
            (_range(one), str(one["groups"]), f"{one['patterns']:,}", percent(one["top1"]))
            for one in classes["by_training_crystals"]
        ],
    )


def _range(one: Mapping) -> str:
    return f"{one['from']} or more" if one["below"] >= 1_000_000 else f"{one['from']} to {one['below'] - 1}"


def _confusions(report: Mapping) -> Iterator[Table]:
    (both, lost), (gained, neither) = report["centre"]
    yield Table(
        title="Centre of inversion",
        note="By the predicted space group. Friedel's law gives every pattern a centre.",
        columns=("crystal", "predicted with", "predicted without"),
        rows=[
            ("with (92 groups)", *_shares((both, lost))),
            ("without (138 groups)", *_shares((gained, neither))),
        ],
    )
    yield Table(
        title="Enantiomorphic pairs",
        note="Mirror images of each other, with the same pattern.",
        columns=("pair", "patterns", "right", "taken for its mirror image", "another group"),
        rows=[
            (
                " / ".join(f"{group} {hermann_mauguin(group)}" for group in one["pair"]),
                f"{one['patterns']:,}",
                *(percent(one[key] / one["patterns"]) for key in ("right", "mirror_image", "other")),
            )
            for one in report["hands"]
        ],
    )


def _shares(counts: Sequence[int]) -> list[str]:
    return [percent(count / max(sum(counts), 1)) for count in counts]


def _calibration(report: Mapping) -> Table:
    rows = []
    for head, title in HEADS.items():
        one = report["calibration"][head]
        errors = (percent(one[state]["expected_error"]) if state in one else "" for state in ("before", "after"))
        rows.append((title, f"{one['temperature']:.3f}", *errors))
    return Table(
        title="Calibration",
        note="Temperatures are fitted on validation crystals; the expected calibration error is that of held-out ones.",
        columns=("head", "temperature", "error before", "error after"),
        rows=rows,
    )


def _depletion(report: Mapping) -> Iterator[Table]:
    rows = []
    for one in report["depletion_examples"]:
        for n, level in enumerate(one["levels"]):
            said = (_group(groups[n]) for groups in one["predicted"].values())
            chosen = "yes" if one["is_chosen"] else "no"
            rows.append((one["name"], one["target"], chosen, f"{level:g}", _group(one["found"][n]), *said))
    if rows:
        axes = report["depletion_examples"][0]["predicted"]
        yield Table(
            title="Depletion, crystal by crystal",
            note="Found: by a search in the atoms that are left. The paper shows crystals whose group its network has "
            "right at both ends; where this network has fewer than five, others are shown.",
            columns=("crystal", "towards", "right at both ends", "removed", "found", *(f"predicted {a}" for a in axes)),
            rows=rows,
            labels=3,
        )


def _group(number: int) -> str:
    return f"{number} {hermann_mauguin(number)}"
