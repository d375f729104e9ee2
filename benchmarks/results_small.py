"""What the runs of a sweep are worth, side by side: benchmarks/results/NAME/RUN.json for each, and one picture.

    xrdjax sweep configs/results/small.py --workdir runs/results-small
    for run in runs/results-small/*/; do python evaluate.py --workdir $run --crystals 300; done
    python benchmarks/results_small.py runs/results-small small docs/images/results_small.png

Of each report its configuration, versions, headlines and the accuracy of every condition are kept. docs/results.md
quotes from them.
"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
KEPT = ("config", "split", "step", "seed", "max_crystals", "crystals", "patterns", "versions", "python", "device")
COLOURS = {"crystal_system": "#0072B2", "space_group": "#D55E00"}  # of Okabe and Ito
SHOWN = {
    "seen": "axes trained on",
    "unseen": "axes never seen",
    "strain": "cells 10 % larger or smaller",
    "substitution": "half of all atoms replaced",
    "species": "all species exchanged",
    "vacancies": "half of all atoms missing",
    "views": "four views together",
}
VIEWS = 4  # of the curve over 1 to 20


def main() -> None:
    """Keep the reports and draw the picture."""
    folder, name, picture = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    (RESULTS / name).mkdir(exist_ok=True)
    reports = {}
    for path in sorted(folder.glob("*/evaluation/report.json"), key=lambda path: path.stat().st_mtime):
        run = path.parent.parent.name
        reports[run] = shortened(json.loads(path.read_text(encoding="utf-8")))
        (RESULTS / name / f"{run}.json").write_text(json.dumps(reports[run], indent=1) + "\n", encoding="utf-8")
    draw(reports).savefig(picture, dpi=130, bbox_inches="tight")
    print(RESULTS / name, picture)


def shortened(report: dict) -> dict:
    """Return what of a report is kept."""
    protocols: dict[str, dict] = {
        name: {
            "title": protocol["title"],
            "unions": protocol["unions"],
            "conditions": [
                {key: condition[key] for key in ("part", "axis", "label", "level")}
                | {head: round(figures["top1"], 4) for head, figures in condition["heads"].items()}
                for condition in protocol["conditions"]
            ],
        }
        for name, protocol in report["protocols"].items()
    }
    if "views" in protocols:
        four = next(one for one in report["protocols"]["views"]["conditions"] if one["level"] == VIEWS)
        protocols["views"]["unions"] = {f"{VIEWS} views": four["heads"], **protocols["views"]["unions"]}
    for name, protocol in report["protocols"].items():
        if "neighbours" in protocol:
            protocols[name]["neighbours"] = protocol["neighbours"]
    return {key: report[key] for key in KEPT} | {"protocols": protocols}


def draw(reports: dict[str, dict]) -> Figure:
    """Return top-1 accuracies with their intervals, a panel for each question and a row for each run."""
    shown = {
        name: title for name, title in SHOWN.items() if all(name in report["protocols"] for report in reports.values())
    }
    figure = Figure(figsize=(2.1 * len(shown) + 1.5, 0.32 * len(reports) + 1.5), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (name, title) in zip(panels, shown.items(), strict=True):
        for row, report in enumerate(reports.values()):
            union = next(iter(report["protocols"][name]["unions"].values()))
            for head, colour in COLOURS.items():
                low, high = (100 * bound for bound in union[head]["interval"])
                axes.plot([low, high], [row, row], color=colour, lw=1.5)
                axes.plot(100 * union[head]["top1"], row, "o", color=colour, ms=5)
        axes.set(title=title, xlabel="top-1 / %", xlim=(0, None))
        axes.title.set_fontsize(9)
        axes.grid(axis="x", color="0.9")
    panels[0].set_yticks(range(len(reports)), list(reports))
    panels[0].invert_yaxis()
    handles = [
        panels[0].plot([], [], "o", color=colour, label=head.replace("_", " "))[0] for head, colour in COLOURS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


if __name__ == "__main__":
    main()
