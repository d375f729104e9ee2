"""Records of a run: TensorBoard event files and `metrics.jsonl`, which say the same. No TensorFlow."""

import io
import json
import time
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # ty: ignore[missing-module-member]
from tensorboard.compat.proto.summary_pb2 import Summary  # ty: ignore[missing-module-member]
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class Writer:
    """Writes scalars and pictures of one run into its workdir; closes with the `with` block.

    A run that was interrupted goes on from a step that it had passed: what was recorded after it is taken back.
    """

    def __init__(self, workdir: Path, first_step: int) -> None:
        self._events = EventFileWriter(str(workdir / "tensorboard"))
        self._events.add_event(
            Event(wall_time=time.time(), step=first_step + 1, session_log=SessionLog(status=SessionLog.START))
        )
        records = workdir / "metrics.jsonl"
        kept = [line for line in _lines(records) if json.loads(line)["step"] <= first_step]
        records.write_text("".join(kept), encoding="utf-8")
        self._lines = records.open("a", encoding="utf-8")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record numbers under their names at a step."""
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        self._add(step, summary)
        self._lines.write(json.dumps({"step": step, "time": time.time(), **values}) + "\n")
        self._lines.flush()

    def image(self, step: int, name: str, pixels: UInt8[np.ndarray, "height width *channels"]) -> None:
        """Record one picture."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        height, width = pixels.shape[:2]
        encoded = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=buffer.getvalue())
        self._add(step, Summary(value=[Summary.Value(tag=name, image=encoded)]))

    def _add(self, step: int, summary: Summary) -> None:
        self._events.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()
        self._lines.close()


def _lines(records: Path) -> list[str]:
    """Return the whole lines of a file that may be missing, or end in half a line."""
    text = records.read_text(encoding="utf-8") if records.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines(keepends=True)
