"""Records of a run: TensorBoard event files and `metrics.jsonl`, which say the same. No TensorFlow."""

import io
import json
import os
import socket
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # ty: ignore[missing-module-member]
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata  # ty: ignore[missing-module-member]
from tensorboard.compat.proto.tensor_pb2 import TensorProto  # ty: ignore[missing-module-member]
from tensorboard.compat.proto.types_pb2 import DT_FLOAT  # ty: ignore[missing-module-member]
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo  # ty: ignore[missing-module-member]
from tensorboard.summary.writer.record_writer import RecordWriter

from xrdjax.config import TrainConfig

BINS = 30  # of a histogram


class Writer:
    """Writes what one run records into its workdir; closes with the `with` block.

    A run that was interrupted goes on from a step that it had passed: what was recorded after it is taken back.
    """

    def __init__(self, workdir: Path, first_step: int, config: TrainConfig) -> None:
        self.workdir = workdir
        self._events = _open_events(workdir / "tensorboard")
        self._write(Event(step=first_step + 1, session_log=SessionLog(status=SessionLog.START)))
        if first_step == 0:
            self._add(0, _hyperparameters(config, workdir.resolve().name))
        records = workdir / "metrics.jsonl"
        take_back(records, first_step)
        self._lines = records.open("a", encoding="utf-8")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record numbers under their names at a step."""
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        self._add(step, summary)
        self._events.flush()
        self._lines.write(json.dumps({"step": step, "time": time.time(), **values}) + "\n")
        self._lines.flush()

    def image(self, step: int, name: str, pixels: UInt8[np.ndarray, "height width *channels"]) -> None:
        """Record one picture."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        height, width = pixels.shape[:2]
        encoded = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=buffer.getvalue())
        self._add(step, Summary(value=[Summary.Value(tag=name, image=encoded)]))

    def histograms(self, step: int, values: dict[str, Float[np.ndarray, "n"]]) -> None:
        """Record how numbers are distributed."""
        self._add(step, Summary(value=[Summary.Value(tag=name, histo=_histogram(x)) for name, x in values.items()]))

    def _add(self, step: int, summary: Summary) -> None:
        self._write(Event(step=step, summary=summary))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._events.write(event.SerializeToString())

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._lines.close()
            self._events.close()
        except OSError:
            if error is None:
                raise  # otherwise the first failure is the one to tell


class SilentWriter(Writer):
    """Stands in on the processes that leave the records to the first."""

    def __init__(self, workdir: Path) -> None:
        self.workdir = workdir

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record nothing."""

    def image(self, step: int, name: str, pixels: UInt8[np.ndarray, "height width *channels"]) -> None:
        """Record nothing."""

    def histograms(self, step: int, values: dict[str, Float[np.ndarray, "n"]]) -> None:
        """Record nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _open_events(folder: Path) -> RecordWriter:
    """Start an event file. TensorBoard's own writer has a thread, whose failures on a full disk are hard to catch."""
    folder.mkdir(exist_ok=True)
    path = folder / f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
    events = RecordWriter(path.open("ab"))
    events.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    return events


def take_back(records: Path, last_step: int) -> None:
    """Drop the lines after a step, and half a line at the end; the file is whole at any moment."""
    text = records.read_text(encoding="utf-8") if records.exists() else ""
    lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    kept = "".join(line for line in lines if json.loads(line)["step"] <= last_step)
    if kept != text:
        new = records.with_suffix(".jsonl.new")
        new.write_text(kept, encoding="utf-8")
        new.replace(records)


def _histogram(values: Float[np.ndarray, "n"]) -> HistogramProto:
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    counts, edges = np.histogram(values, BINS)
    return HistogramProto(
        min=values.min(initial=0),
        max=values.max(initial=0),
        num=len(values),
        sum=values.sum(),
        sum_squares=(values**2).sum(),
        bucket_limit=edges[1:],
        bucket=counts,
    )


def _hyperparameters(config: TrainConfig, run: str) -> Summary:
    """Return the summary by which TensorBoard's HParams page lists a run with all fields of its configuration."""
    start = SessionStartInfo(group_name=run, start_time_secs=time.time())
    for name, value in _leaves(asdict(config)):
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = "none" if value is None else str(value)
    content = HParamsPluginData(session_start_info=start).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    return Summary(
        value=[
            Summary.Value(
                tag="_hparams_/session_start_info",
                metadata=SummaryMetadata(plugin_data=plugin),
                tensor=TensorProto(dtype=DT_FLOAT, tensor_shape={}, float_val=[0.0]),
            )
        ]
    )


def _leaves(tree: dict, prefix: str = "") -> list[tuple[str, object]]:
    """Return the fields of a configuration with dotted names."""
    leaves = []
    for name, value in tree.items():
        leaves += _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return leaves
