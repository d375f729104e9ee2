"""What is lost when patterns are saved as pictures of another size, off centre, and read again by `predict`.

python benchmarks/predict.py [MODEL]

200 held-out crystals along the axes of the training. Each is saved dark on white and moved by 5 pixels: drawn anew at
another size, or enlarged as a picture. Accuracy beside that on the pictures as trained, and how often both agree.
"""

import sys
from dataclasses import replace

import numpy as np
from PIL import Image
from record import write_result

import xrdjax
from xrdjax.crystals.selection import open_selected, select_crystals
from xrdjax.crystals.symmetry import crystal_system_index
from xrdjax.evaluation.predict import HEADS, Model
from xrdjax.patterns.pictures import render_zone

NUM_PICTURES, SHIFT = 200, 5


def main() -> None:
    """Measure, and write benchmarks/results/predict.json."""
    model = xrdjax.load_model(*sys.argv[1:2])
    config = model.config
    store = open_selected(config.data)
    test = select_crystals(store, config.data, "test")
    chosen = np.random.default_rng(0).choice(test, min(NUM_PICTURES, len(test)), replace=False)
    crystals = [store.crystal(int(number)) for number in chosen]
    axes = [config.pattern.axes[k % len(config.pattern.axes)] for k in range(len(crystals))]
    group = np.array([crystal.space_group for crystal in crystals])
    truth = {"space_group": group - 1, "crystal_system": np.asarray(crystal_system_index(group))}
    own = [render_zone(*pair, config.pattern) for pair in zip(crystals, axes, strict=True)]
    side = min(config.pattern.height, config.pattern.width)
    cases = {"as trained": own}
    for factor in (1.5, 2.4, 5):
        size = round(factor * side)
        finer = replace(config.pattern, height=size, width=size)
        cases[f"drawn at {size}"] = [render_zone(*pair, finer) for pair in zip(crystals, axes, strict=True)]
        cases[f"enlarged to {size}"] = [_enlarged(image, size) for image in own]
    first = _answers(model, own, is_exact=True)
    rows = {}
    for name, images in cases.items():
        answers = first if images is own else _answers(model, images, is_exact=False)
        rows[name] = {
            head: {
                "top1": float((answers[head] == truth[head]).mean()),
                "agree": float((answers[head] == first[head]).mean()),
            }
            for head in HEADS
        }
        print(name, rows[name], flush=True)
    write_result(
        "predict",
        {"pictures": len(crystals), "model": model.card.title, "steps": model.card.steps, "side": side, "cases": rows},
    )


def _answers(model: Model, images: list[np.ndarray], *, is_exact: bool) -> dict[str, np.ndarray]:
    """Return the first choice of both heads, for the pictures themselves or after saving and reading."""
    if is_exact:
        logits = model.logits(np.stack(images), np.zeros((len(images), 3), np.int32))
        return {head: logits[head].argmax(1) for head in HEADS}
    predictions = model.predict([_saved(image) for image in images])
    return {head: np.array([getattr(prediction, head).argmax() for prediction in predictions]) for head in HEADS}


def _saved(image: np.ndarray) -> np.ndarray:
    """Return the picture in eight bits, dark on white, moved down and to the right."""
    grey = np.round(255 * (1 - np.clip(image, 0, 1))).astype(np.uint8)
    moved = np.full_like(grey, 255)
    moved[SHIFT:, SHIFT:] = grey[:-SHIFT, :-SHIFT]
    return moved


def _enlarged(image: np.ndarray, size: int) -> np.ndarray:
    grey = Image.fromarray(np.round(255 * image).astype(np.uint8))
    return np.asarray(grey.resize((size, size), Image.Resampling.BICUBIC)) / 255


if __name__ == "__main__":
    main()
