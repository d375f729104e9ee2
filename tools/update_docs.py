"""Write the figures of benchmarks/results/*.json into README.md and docs/, between markers; --check only compares.

python tools/update_docs.py [--check]

A block starts with a line `<!-- figures: NAME -->` and ends with `<!-- end -->`; NAME is a function of this file.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADS = ("crystal_system", "space_group")
RUN_ORDER = (
    "turned", "stored", "axis-known", "multi-view", "strain", "species", "atoms", "vacancies", "all-changes",
    "any-axis", "procedural-half", "procedural-alone", "by-type", "residual",
)  # fmt: skip
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Rewrite, or compare and leave with status 1 where a page is stale."""
    stale = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        new = BLOCK.sub(lambda match: match[1] + BLOCKS[match[2]]() + match[3], text)
        if new != text:
            stale.append(str(page.relative_to(ROOT)))
            if "--check" not in sys.argv:
                page.write_text(new, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"{', '.join(stale)}: figures differ from benchmarks/results; run python tools/update_docs.py")


def demo() -> str:
    """Return what the demo reaches, as a table."""
    result = _result("demo")
    rows = ["| zone axes | head | top-1 | top-3 | weighted | always the commonest |", "|---|---|---:|---:|---:|---:|"]
    for name, title in (("seen", "trained on"), ("unseen", "never trained on")):
        for head in ("crystal_system", "space_group"):
            figures = result["protocols"][name]["heads"][head]
            cells = (f"{100 * figures[key]:.1f} %" for key in ("top1", "top3", "weighted", "commonest"))
            rows.append(f"| {title} | {head.replace('_', ' ')} | " + " | ".join(cells) + " |")
    seconds, rate = result["seconds"], result["patterns_per_second"]["median"]
    trained = f"{result['steps'] * result['batch_size']:,} patterns in {_minutes(seconds['training'])} of training"
    evaluated = f"{result['patterns']:,} patterns of {result['crystals']:,} held-out crystals"
    rows += [
        "",
        f"{trained}, start-up and compilation included ({rate:,} patterns/s), and {_minutes(seconds['evaluation'])} "
        f"of evaluation on {evaluated}; {_where(result)}.",
    ]
    return "\n".join(rows) + "\n"


def evaluation() -> str:
    """Return what an evaluation by all protocols costs."""
    result = _result("evaluation")
    return (
        f"All protocols: {result['patterns']:,} patterns of {result['crystals']:,} crystals in "
        f"{_minutes(result['seconds'])} with the demo's network, start-up and report included, nearest neighbours not; "
        f"{_where(result)}.\n"
    )


def train_step() -> str:
    """Return the price of rendering in a training step."""
    result = _result("train_step")
    rows = [
        "| configuration | batch | drawn in the step | already drawn | from PNG files | drawing | of the matrix rate |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, figures in result["configs"].items():
        rate = figures["patterns_per_second"]
        rows.append(
            f"| `{name}`, {figures['picture'][0]} × {figures['picture'][1]}, {figures['precision']} | "
            f"{figures['batch_size']} | {rate['fresh']:,.0f}/s | {rate['resident']:,.0f}/s | {rate['png']:,.0f}/s | "
            f"{100 * figures['rendering_share']:.1f} % | {100 * figures['utilisation_fresh']:.0f} % |"
        )
    rows += [
        "",
        "Patterns a second of the same network, loss and optimiser: with a batch drawn in every step, on one batch "
        "that stays on the device, and fed with stored PNGs of 322 × 322 pixels by one thread a core. Drawing: its "
        "share of the step. The last column sets the network's floating-point operations against those of a large "
        f"matrix product in the same precision; {_where(result)}.",
    ]
    return "\n".join(rows) + "\n"


def predict() -> str:
    """Return what reading pictures costs, as a table."""
    result = _result("predict")
    rows = ["| picture | crystal system | same answer | space group | same answer |", "|---|---:|---:|---:|---:|"]
    for name, heads in result["cases"].items():
        figures = [heads[head][key] for head in ("crystal_system", "space_group") for key in ("top1", "agree")]
        rows.append(f"| {name} | " + " | ".join(f"{100 * figure:.1f} %" for figure in figures) + " |")
    rows += [
        "",
        f"{result['pictures']} patterns of held-out crystals, saved dark on white and moved by five pixels, against "
        f"the pictures of {result['side']} pixels themselves; the network for {result['model']}; {_where(result)}.",
    ]
    return "\n".join(rows) + "\n"


SMALL_RESULTS = {
    "seen": "axes trained on",
    "unseen": "never seen",
    "strain": "±10 % strain",
    "substitution": "half the atoms replaced",
    "species": "species exchanged",
    "vacancies": "half the atoms missing",
    "views": "four views",
}


def results_small() -> str:
    """Return top-1 accuracies of the small runs, crystal system and space group, in every protocol."""
    reports = {path.stem: _result(f"small/{path.stem}") for path in (ROOT / "benchmarks/results/small").glob("*.json")}
    order, heads = sorted(reports, key=RUN_ORDER.index), ("crystal_system", "space_group")
    rows = ["| run | " + " | ".join(SMALL_RESULTS.values()) + " |", "|---" + "|---:" * len(SMALL_RESULTS) + "|"]
    for name in order:
        unions = [next(iter(reports[name]["protocols"][protocol]["unions"].values())) for protocol in SMALL_RESULTS]
        cells = (
            " / ".join(f"{100 * one[head]['top1']:.1f}" for head in ("crystal_system", "space_group")) for one in unions
        )
        rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    first = reports[order[0]]
    always = first["protocols"]["seen"]["unions"]["all axes"]
    commonest = " / ".join(f"{100 * always[head]['commonest']:.1f}" for head in heads)
    rows += [
        "",
        f"Top-1 in %, crystal system / space group; always the commonest: {commonest}. At most "
        f"{first['max_crystals']} held-out crystals a protocol; jax {first['versions']['jax']}.",
    ]
    return "\n".join(rows) + "\n"


def released() -> str:
    """Return what the networks reach that come with the package, as a table."""
    reports = {name: _result(f"laptop/{name}") for name in ("laptop", "laptop-views")}
    one, several = reports["laptop"], reports["laptop-views"]
    unions = {name: next(iter(one["protocols"][name]["unions"].values())) for name in ("seen", "unseen")}
    rows = [
        "| held-out crystals | network | crystal system | space group | always the commonest |",
        "|---|---|---:|---:|---:|",
    ]

    def row(what: str, network: str, heads: dict) -> None:
        cells = (f"{100 * heads[head]['top1']:.1f} %" for head in HEADS)
        always = " / ".join(f"{100 * unions['seen'][head]['commonest']:.1f} %" for head in HEADS)
        rows.append(f"| {what} | {network} | " + " | ".join(cells) + f" | {always} |")

    row("one pattern, an axis trained on", "`one_view`", unions["seen"])
    row("one pattern, an axis never trained on", "`one_view`", unions["unseen"])
    for name, report in (("one_view", one), ("several_views", several)):
        row("four patterns", f"`{name}`", next(iter(report["protocols"]["views"]["unions"].values())))
    row("one pattern, an axis trained on", "nearest neighbour", one["protocols"]["seen"]["neighbours"]["all axes"])
    told = f"of {one['crystals']:,} crystals" if "crystals" in one else ""
    rows += ["", f"Top-1; {one['patterns']:,} patterns {told} for one view; jax {one['versions']['jax']}."]
    return "\n".join(rows) + "\n"


def open_hundred() -> str:
    """Return the first hundred steps on the whole embedded set."""
    result = _result("open_100")
    rows = ["| step | loss | space group | crystal system | patterns/s |", "|---:|---:|---:|---:|---:|"]
    for line in result["log"]:
        rows.append(
            f"| {line['step']} | {line['train/loss']:.2f} | {100 * line['train/accuracy/space_group']:.1f} % | "
            f"{100 * line['train/accuracy/crystal_system']:.1f} % | {line['patterns_per_second']:,.0f} |"
        )
    return "\n".join([*rows, "", f"Measured on {_where(result)}."]) + "\n"


def kernel_phases() -> str:
    """Return the cost of the two forms of coordinates."""
    result = _result("kernels")["phases_ns_per_atom_and_spot"]
    fixed, floating = result["fixed point"], result["floating point"]
    return f"On a CPU {fixed} ns an atom and reflection, against {floating} ns in floating point.\n"


def render_sizes() -> str:
    """Return rates by picture size and what the pictures need."""
    result = _result("render")
    rows = ["| picture | patterns/s |", "|---|---:|"]
    rows += [f"| {name} | {rate:,.0f} |" for name, rate in result["patterns_per_second"].items()]
    return "\n".join([*rows, "", f"Batches of {result['batch']}, {_where(result)}."]) + "\n"


def speed() -> str:
    """Return the rates of drawing beside those of others, in words."""
    rates, result = _result("render")["patterns_per_second"], _result("peers")
    sizes = ", ".join(f"{rate:,.0f} patterns/s at {name}" for name, rate in rates.items())
    names = {
        "gemmi and NumPy 224 × 224": "gemmi's direct sum with a NumPy rasteriser",
        "diffsims": "diffsims",
        "pymatgen": "pymatgen",
        "Dans_Diffraction": "Dans_Diffraction",
    }
    ways = result["ways"]
    ratios = ", ".join(f"{_three(ways[key]['ours_times_as_fast'])} × {name}" for key, name in names.items())
    return f"Drawing alone, {_where(_result('render'))}: {sizes}. In one run at 224 × 224: {ratios}.\n"


def render_kinds() -> str:
    """Return rates by what is drawn."""
    rows = ["| 128 × 128 | patterns/s |", "|---|---:|"]
    rows += [f"| {name} | {rate:,.0f} |" for name, rate in _result("render")["kinds_patterns_per_second"].items()]
    return "\n".join(rows) + "\n"


def render_growth() -> str:
    """Return how the cost grows, and the memory."""
    result = _result("render")
    lines = []
    for key, title in (
        ("batches_patterns_per_second", "patterns/s by batch size"),
        ("atoms_ms", "ms of one spot list of a 20 Å cell by the number of its atoms"),
        ("edge_ms", "ms of one picture by the edge in Å of a cell of 64 atoms"),
    ):
        lines.append(f"* {title}: " + ", ".join(f"{name}: {value:,.4g}" for name, value in result[key].items()) + ".")
    memory = result["memory"]
    lines.append(
        f"* A batch of 1,024 pictures of 321 × 322 takes {memory['batch_of_1024_at_321_gib']:.2f} GiB in all, store "
        f"and result included. A cell of 5,000 atoms and 100 Å is drawn in "
        f"{memory['cell_of_5000_atoms_and_100_angstrom_s']:.0f} s."
    )
    return "\n".join(lines) + "\n"


def peers() -> str:
    """Return the rates of all ways to make patterns, as a table."""
    result = _result("peers")
    rows = ["| way | patterns/s | xrdjax at 224 × 224 is × as fast |", "|---|---:|---:|"]
    for name, figures in result["ways"].items():
        if "patterns_per_second" in figures:
            rate, ratio = figures["patterns_per_second"], figures["ours_times_as_fast"]
            rows.append(f"| {name} | {_three(rate)} | {_three(ratio)} |")
    return "\n".join([*rows, "", f"{_where(result)}."]) + "\n"


def convolutions() -> str:
    """Return what a loop does to convolutions."""
    rates = _result("kernels")["network_patterns_per_second"]
    outside, inside = rates["outside a loop"], rates["inside a loop"]
    return (
        f"Gradients of the demo's network on a CPU: {outside:,.0f} patterns/s outside a loop, {inside:,.0f} inside.\n"
    )


def ingest() -> str:
    """Return rate and memory of packing, and the speed of loading, in words."""
    result = _result("ingest")
    pack, parsers, load, million = (result[key] for key in ("pack", "parsers", "load", "million"))
    rates, ratios = parsers["cifs_per_second"], parsers["times_as_fast_as_pymatgen"]
    lines = [
        f"* {pack['files']:,} CIFs in {_minutes(pack['seconds'])}: {pack['cifs_per_second']:,.0f} a second, the search "
        f"for space groups and duplicates included, with {pack['peak_gib_all_processes']} GiB of memory in all.",
        f"* One process reads {rates['xrdjax']:,.0f} CIFs a second, {rates['xrdjax, group searched']:,.0f} with the "
        f"search for their groups; pymatgen's CifParser {rates['pymatgen']:,.0f} of the same files in turn, "
        f"{_three(ratios[len(ratios) // 2])} × fewer ({_three(ratios[0])} to {_three(ratios[-1])} in "
        f"{len(ratios)} rounds of {parsers['files']} files).",
        f"* A store of {load['atoms']:,} atoms opens in {load['open_s']:.2f} s, checksum included, and all its cells "
        f"expand in {load['expand_s']:.2f} s.",
        f"* Joining stores of {million['crystals']:,} crystals takes {_minutes(million['seconds'])} and "
        f"{million['peak_gib']} GiB.",
    ]
    return "\n".join([*lines, "", f"{_where(result)}."]) + "\n"


def ingest_short() -> str:
    """Return the rate of packing in a line."""
    result = _result("ingest")
    files, seconds, rate = (result["pack"][key] for key in ("files", "seconds", "cifs_per_second"))
    return f"{files:,} CIFs become a store in {_minutes(seconds)} ({rate:,.0f} a second) on {_where(result)}.\n"


def crystals_compared() -> str:
    """Return what networks learn from real and procedural crystals, as a table."""
    result = _result("crystals_compared")
    rows = [
        "| trained on | space group, top-1 | top-3 | weighted | crystal system, top-1 | weighted | training, top-1 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, run in result["runs"].items():
        heads = run["protocols"]["seen"]["heads"]
        group, system = heads["space_group"], heads["crystal_system"]
        cells = [group["top1"], group["top3"], group["weighted"], system["top1"], system["weighted"]]
        cells.append(run["training_accuracy"]["space_group"])
        rows.append(f"| {name} | " + " | ".join(f"{100 * value:.1f} %" for value in cells) + " |")
    heads = next(iter(result["runs"].values()))["protocols"]["seen"]["heads"]
    group, system = heads["space_group"]["commonest"], heads["crystal_system"]["commonest"]
    rows.append(f"| *always the commonest* | {100 * group:.1f} % | | | {100 * system:.1f} % | | |")
    run = next(iter(result["runs"].values()))
    return "\n".join([*rows, "", f"{run['steps']:,} steps each; {_where(result)}."]) + "\n"


def startup() -> str:
    """Return the seconds to the first step."""
    result = _result("startup")
    cold, warm = result["cold_s"], result["warm_s"]
    return (
        f"From the command to the end of the demo's first step: {cold['wall']:.0f} s with nothing compiled "
        f"({cold['processors']:.0f} s of processor), {warm['wall']:.0f} s ({warm['processors']:.0f} s) from then on; "
        f"{_where(result)}, load average {result['load_average_after']:.1f}.\n"
    )


def cores() -> str:
    """Return what one device a core gains."""
    result = _result("cores")
    (one, first), (many, second) = result["ms_per_step"].items()
    ratios = result["times_as_fast"]
    same = "Both repeat bit for bit" if result["repeats_bit_for_bit"] else "They do not repeat bit for bit"
    return (
        f"A step of the demo takes {first} ms on {one} device and {second} ms on {many}: {ratios[0]} to {ratios[-1]} × "
        f"as fast, {ratios[len(ratios) // 2]} in the median of {len(ratios)} rounds. {same}. {_where(result)}.\n"
    )


def scaling() -> str:
    """Return the work of a device by the number of devices, as a table."""
    result = _result("scaling")
    rows = [
        "| devices | 10⁶ operations | MB touched | MB of state held | all-reduces | other collectives |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    named = {"8, sharded": result["sharded"], "8, batch normalisation": result["batch_normalisation"]}
    for name, figures in (result["devices"] | named).items():
        kinds = dict(figures["collectives"])
        reduces = kinds.pop("all-reduce", 0)
        others = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
        rows.append(
            f"| {name} | {figures['flops'] / 1e6:.1f} | {figures['bytes_accessed'] / 1e6:.1f} | "
            f"{figures['state_bytes'] / 1e6:.2f} | {reduces} | {others} |"
        )
    told = f"Of each device, a step with {result['patterns_per_device']} patterns on each, by the compiler's own count"
    return "\n".join([*rows, "", f"{told}; jax {result['versions']['jax']}, `benchmarks/scaling.py`."]) + "\n"


def procedural_labels() -> str:
    """Return how many made-up crystals have the group they were made for."""
    result = _result("procedural")
    rows = ["| positions and elements | templates | crystals | groups | right by spglib |", "|---|---:|---:|---:|---:|"]
    for name, figures in result["labels"].items():
        rows.append(
            f"| {name} | {result['templates'][name]:,} | {figures['crystals']:,} | {figures['groups']} | "
            f"{100 * figures['right']:.3f} % |"
        )
    others = [
        f"{name}: " + ", ".join(f"{other['made_for']} found as {other['found']}" for other in figures["others"])
        for name, figures in result["labels"].items()
        if figures["others"]
    ]
    return "\n".join([*rows, "", "The others: " + ("; ".join(others) if others else "none") + "."]) + "\n"


def procedural_cost() -> str:
    """Return what making crystals costs beside drawing them."""
    result = _result("procedural")
    cost = result["cost"]
    rows = ["| crystals of a batch | patterns/s |", "|---|---:|"]
    rows += [f"| {name} | {rate:,.0f} |" for name, rate in cost["patterns_per_second"].items()]
    making = f"Making takes {cost['making_us_per_crystal']:.0f} µs a crystal, {100 * cost['share_of_making']:.0f} %"
    return "\n".join([*rows, "", f"{making} of the time of a made-up batch; {_where(result)}."]) + "\n"


def procedural_distributions() -> str:
    """Return quartiles of the distributions."""
    result = _result("procedural")["distributions"]
    titles = {"contact": "contact", "distance": "distance, Å", "volume": "Å³ an atom", "atoms": "atoms"}
    rows = ["| 5 %, median, 95 % | " + " | ".join(titles.values()) + " |", "|---|" + "---:|" * len(titles)]
    for name, some in result.items():
        cells = (", ".join(f"{some[key][p]:.3g}" for p in ("5", "50", "95")) for key in titles)
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def ceiling_short() -> str:
    """Return what is told apart, in a line."""
    classes = _result("ceiling")["classes"]
    everything, zone = classes["all of reciprocal space"], classes["one zone"]["zone_signs"]["20, model-4"]
    return (
        f"All of reciprocal space tells {everything['classes']} classes of groups apart, "
        f"{everything['groups alone']} of them one group alone. One picture tells {zone['mean']:.0f} apart (at most "
        f"{zone['largest']}), {zone['mean, system known']:.0f} (at most {zone['largest, system known']}) where the "
        "crystal system is known: means over the paper's twenty axes. Were all groups equally frequent, nobody who "
        f"sees only that would name more than {_share(everything['classes'])}, {_share(zone['mean'])} and "
        f"{_share(zone['mean, system known'])} of them rightly.\n"
    )


def _share(classes: float) -> str:
    return f"{100 * classes / 230:.0f} %"


def ceiling_zones() -> str:
    """Return how many classes one zone tells apart, by what is seen of it, as a table."""
    classes = _result("ceiling")["classes"]
    titles = {"zone_signs": "the picture", "indexed_signs": "hkl of every spot"}
    axes = {"20, model-4": "the paper's 20", "all up to 3": f"all {classes['axes up to 3']} with indices up to 3"}
    rows = [
        "| what is known | axes | classes, mean | largest | system known, mean | largest |",
        "|---|---|" + "---:|" * 4,
    ]
    for name, title in titles.items():
        for key, which in axes.items():
            cells = (f"{value:.4g}" for value in classes["one zone"][name][key].values())
            rows.append(f"| {title} | {which} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def ceiling_sets() -> str:
    """Return how many classes several zones tell apart together, as a table."""
    sets = _result("ceiling")["classes"]["several zones"]
    rows = ["| axes | pictures | system known | hkl of every spot | system known |", "|---|" + "---:|" * 4]
    for title, plain in sets["zone_signs"].items():
        cells = [*plain.values(), *sets["indexed_signs"][title].values()]
        rows.append(f"| {title} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows) + "\n"


def ceiling_accuracy() -> str:
    """Return the ceilings as accuracies, and what nearest neighbours reach, as a table."""
    result = _result("ceiling")
    accuracy = result["accuracy"]
    rows = [
        "| axes | what is known | classes | space group, top-1 | top-3 | system given, top-1 | crystal system, top-1 |",
        "|---|---|" + "---:|" * 5,
    ]
    for title, figures in accuracy["sets"].items():
        for name, ceiling in figures["ceilings"].items():
            group, within, system = (ceiling[key] for key in ("space_group", "space_group_in_system", "crystal_system"))
            cells = (f"{100 * share:.1f} %" for share in (group["top1"], group["top3"], within["top1"], system["top1"]))
            rows.append(f"| {title} | {name} | {ceiling['classes']} | " + " | ".join(cells) + " |")
    crystals = f"{accuracy['test crystals']:,} test crystals, each along all axes of a set"
    return "\n".join([*rows, "", f"{crystals}; cells of at most {result['selection']['max_atoms']} atoms."]) + "\n"


def neighbours() -> str:
    """Return what nearest neighbours reach, as a table."""
    result = _result("ceiling")
    rows = ["| split | axes | head | top-1 | top-3 | weighted | always the commonest |", "|---|---|---|" + "---:|" * 4]
    kinds = {"random": result["accuracy"], "type": result["accuracy, no structure type shared"]}
    for split, accuracy in kinds.items():
        for title, figures in accuracy["sets"].items():
            for head, reached in figures["neighbours"].items():
                cells = (f"{100 * reached[key]:.1f} %" for key in ("top1", "top3", "weighted", "commonest"))
                rows.append(f"| {split} | {title} | {head.replace('_', ' ')} | " + " | ".join(cells) + " |")
    twenty = result["accuracy"]["sets"]["20, model-4"]
    patterns, seconds = twenty["neighbours"]["space_group"]["patterns"], twenty["seconds"]["neighbours"]
    crystals = f"Compared with {result['accuracy']['training crystals']:,} training crystals"
    return (
        "\n".join(
            [*rows, "", f"{crystals}; {patterns:,} patterns in {seconds:.0f} s of one process on {_where(result)}."]
        )
        + "\n"
    )


def _result(name: str) -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def _three(value: float) -> str:
    """Return a number with three significant digits or, above a hundred, as a whole one."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _where(result: dict) -> str:
    machine = result["machine"]
    if machine["device"] == "cpu":
        return f"{machine['cores']} cores of {machine['processor']}, jax {result['versions']['jax']}"
    return f"{machine['device']}, jax {result['versions']['jax']}"


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60} s" if seconds >= 60 else f"{int(seconds)} s"


BLOCKS: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        demo,
        evaluation,
        scaling,
        predict,
        open_hundred,
        train_step,
        results_small,
        released,
        kernel_phases,
        render_sizes,
        speed,
        render_kinds,
        render_growth,
        peers,
        convolutions,
        crystals_compared,
        ingest,
        ingest_short,
        startup,
        cores,
        procedural_labels,
        procedural_cost,
        procedural_distributions,
        ceiling_short,
        ceiling_zones,
        ceiling_sets,
        ceiling_accuracy,
        neighbours,
    )
}


if __name__ == "__main__":
    main()
