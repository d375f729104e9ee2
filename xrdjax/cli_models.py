"""Commands of `xrdjax` about trained networks: ask one, keep one as a file; and pictures on disk for other programs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from xrdjax.errors import PictureError, XrdjaxError
from xrdjax.patterns.reading_options import Reading, check_reading

if TYPE_CHECKING:
    from xrdjax.evaluation.predict import Model, Prediction
    from xrdjax.patterns.reading import View

SHOWN_ALIKE = 12


def predict(
    files: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE…")],
    /,
    *,
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME|RUN|FILE")] = None,
    together: bool = False,
    picture: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
    reading: tyro.conf.OmitArgPrefixes[Reading] = Reading(),  # noqa: B008 (frozen)
) -> None:
    """Say which crystal system and space group a trained network takes patterns for.

    A file is a picture (PNG, TIFF, JPEG, NPY, CBF, EDF …), a list of spots (CSV or text of x, y, intensity in 1/Å) or
    of reflections (.hkl, .cif with _refln, .mtz; with --zone). Files that cannot be read are told of, the others are
    answered, and the status is 2.

    Args:
        files: What to ask about.
        model: Directory of a run, or a file made by `xrdjax export-model`. By default a network that comes with the
            package, one_view or, with --together, several_views.
        together: All files show one crystal: answer once.
        picture: Also draw what was given, what the network saw and its answers, as *.png.
        json_output: Print JSON.
    """
    from xrdjax.startup import prepare_jax

    _check_request(files, picture, reading)
    prepare_jax()
    from xrdjax.evaluation.predict import load_model

    network = load_model(model or ("several_views" if together else "one_view"))
    views = _read_all(network, files, reading)
    predictions = network.answer(views, reading, together=together)
    print(_as_json(predictions) if json_output else "\n\n".join(map(_as_text, predictions)))
    if picture is not None and predictions:
        from xrdjax.evaluation.prediction_figure import draw_predictions

        draw_predictions(predictions, network.config.pattern).savefig(picture)
    if len(views) < len(files):
        sys.stdout.flush()
        sys.exit(2)


def export_model(
    run: Annotated[Path, tyro.conf.arg(metavar="RUN")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT.safetensors")],
    /,
    *,
    precision: Literal["float32", "bfloat16", "int8"] = "float32",
    title: str = "",
    licence: str = "unknown",
    limits: str = "",
    overwrite: bool = False,
) -> None:
    """Keep a run's newest network as one file, with a card of what it is beside it as JSON.

    Args:
        run: Directory of a run made by train.py; evaluate it first, and the card tells its accuracy.
        out: The file to write.
        precision: Of the weights: bfloat16 takes half the space, int8 a quarter.
        title: One line about the network. By default the run's name.
        licence: On what terms it may be passed on.
        limits: What it is not good for.
        overwrite: Replace an existing file.
    """
    from xrdjax.crystals.ingest import check_output
    from xrdjax.startup import prepare_jax

    check_output(out, overwrite=overwrite)
    if out.suffix != ".safetensors":
        raise XrdjaxError(f"{out}: give it a name that ends in .safetensors")
    prepare_jax()
    from xrdjax.evaluation.model_card import described
    from xrdjax.learning.model_file import run_weights, save_weights

    weights = described(run_weights(run), run, title=title, licence=licence, limits=limits)
    save_weights(weights, out, precision)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, {precision}; card: {out.with_suffix('.json')}")


def export(
    store: Annotated[str, tyro.conf.arg(metavar="STORE")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    *,
    config: Path,
    kind: Annotated[Literal["png", "hdf5", "webdataset"], tyro.conf.arg(name="format")] = "png",
    part: Literal["all", "train", "validation", "test"] = "all",
    bright: bool = False,
    shard: int = 2048,
) -> None:
    """Write pictures and labels to disk, each crystal along each zone axis once. Interrupted, it goes on.

    Args:
        store: Path of a store, or 'open' for the one that comes with the package.
        out: Directory for `labels.csv` and `pictures/`.
        config: Configuration file: size, axes, selection, augmentations and seed of the pictures.
        kind: One PNG a picture, HDF5 files, or WebDataset's tar files.
        part: Which part of the division.
        bright: Bright spots on a dark ground rather than dark ones on white.
        shard: Pictures in a file of HDF5 or WebDataset.
    """
    from dataclasses import replace

    from xrdjax.config_sources import load_config_file
    from xrdjax.startup import prepare_jax

    chosen = load_config_file(config)
    chosen = replace(chosen, data=replace(chosen.data, store=store))
    if shard < 1:
        raise XrdjaxError(f"--shard {shard}: expected at least 1")
    prepare_jax()
    from xrdjax.patterns.export import ExportOptions
    from xrdjax.patterns.export import export as export_pictures

    count = export_pictures(chosen, out, ExportOptions(kind=kind, part=part, bright=bright, shard=shard))
    print(f"{out}: {count:,} pictures; labels: {out / 'labels.csv'}")


def _check_request(files: tuple[Path, ...], picture: Path | None, reading: Reading) -> None:
    """Raise XrdjaxError for what cannot be meant, before anything is loaded."""
    from xrdjax.cli import check_picture

    check_reading(reading)
    if not files:
        raise XrdjaxError("no file given; name a picture, a list of spots or of reflections")
    if picture is not None:
        check_picture(picture)


def _read_all(network: "Model", files: tuple[Path, ...], reading: Reading) -> list["View"]:
    """Return what could be read, and tell of the rest on standard error."""
    views = []
    for number, path in enumerate(files, 1):
        try:
            views.append(network.read(path, reading, number))
        except PictureError as error:
            print(f"xrdjax: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
    return views


def _as_text(prediction: "Prediction") -> str:
    from xrdjax.learning.pictures import hermann_mauguin

    lines = [prediction.name, *(f"  warning: {text}" for text in prediction.warnings)]
    systems = (f"{name} {100 * share:.1f} %" for name, share in prediction.top_systems())
    groups = (f"{hermann_mauguin(group)} ({group}) {100 * share:.1f} %" for group, share in prediction.top_groups())
    lines += ["  system: " + ", ".join(systems), "  group:  " + ", ".join(groups)]
    first, alike = prediction.top_groups(1)[0][0], prediction.indistinguishable
    others = [f"{hermann_mauguin(group)} ({group})" for group in alike if group != first]
    if others:
        more = f" and {len(others) - SHOWN_ALIKE} more" if len(others) > SHOWN_ALIKE else ""
        lines.append(f"  no pattern tells the first from {', '.join(others[:SHOWN_ALIKE])}{more} by symmetry")
    return "\n".join(lines)


def _as_json(predictions: "list[Prediction]") -> str:
    return json.dumps([_record(prediction) for prediction in predictions], indent=2)


def _record(prediction: "Prediction") -> dict[str, object]:
    return {
        "name": prediction.name,
        "likeness": round(prediction.likeness, 4),
        "warnings": prediction.warnings,
        "crystal_system": [{"name": name, "probability": share} for name, share in prediction.top_systems()],
        "space_group": [{"number": group, "probability": share} for group, share in prediction.top_groups()],
        "indistinguishable": prediction.indistinguishable,
        "views": [{"name": view.name, "centre": view.centre} for view in prediction.views],
    }
