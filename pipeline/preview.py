"""A contact sheet of the crops of a dialog, to check that they show the right speaker.

``python -m pipeline.preview DIALOG`` writes it as a PNG: at the top a whole frame with the crops
outlined, then one row per utterance with its words, its speaker, and all crops with their times.
The crops are those that :mod:`pipeline.features.visual` embeds.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline import InputError, params
from pipeline.corpus import parsing
from pipeline.corpus.reader import Reader
from pipeline.corpus.table import CorpusError, read_table
from pipeline.corpus.utterance import from_table
from pipeline.features.crops import Crop, Cut, corner, crops, part
from pipeline.features.faces import Box, Tracker
from pipeline.features.video import VideoError, displayed
from pipeline.features.visual import segments_of
from pipeline.registry import CORPORA

INTERIM = Path("data/interim")

# pixels
_THUMB, _GAP, _LABEL, _LINE, _MARGIN = 96, 6, 16, 17, 20
_HEAD = 330  # width of the text at the left of a row
_PER_LINE = 12  # thumbnails
_OVERVIEW = 240  # height of the whole frame
_DPI = 100
_FONT, _SMALL = 8.5, 7.0  # points
_CHARACTERS = 46  # that fit into _HEAD

# by place of the speaker; red, green, blue
_COLOURS = {"left": (31, 119, 180), "right": (214, 90, 20), "whole": (31, 119, 180)}
# matplotlib's defaults, whatever the user's own style is
_STYLE = {
    name: value
    for name, value in mpl.rcParamsDefault.items()
    if name.startswith(("figure.", "font.", "text."))
}
_INK, _FAINT = "#1a1a1a", "#666666"
_SHOWN = {
    "speaker": "centre of the speaker's place",
    "square": "largest square of the speaker's place",
    "face": "aligned face",
}


@dataclass(frozen=True)
class View:
    """How frames are chosen and cropped; the defaults are the setting of the AMH paper.

    Attributes
    ----------
    reader
        The corpus's reader, which knows where each speaker is in the picture.
    frames_per_second, max_frames
        Parameters of ``visual``.
    cut
        What is cut out of a frame, of the first visual stream.
    """

    reader: Reader
    frames_per_second: float = 3.0
    max_frames: int = 32
    cut: Cut = field(default_factory=Cut)


class PreviewError(InputError):
    """A dialog that cannot be drawn; the message says what is available instead."""


@dataclass(frozen=True)
class _Row:
    """One utterance: the text at its left, its crops with captions, and its speaker's place."""

    lines: list[str]
    crops: list[Crop]
    captions: list[str]
    place: str

    @property
    def height(self) -> int:
        """Height in pixels."""
        lines = max(1, -(-len(self.crops) // _PER_LINE))
        return max(len(self.lines) * _LINE, lines * (_THUMB + _LABEL)) + _GAP


def sheet(
    rows: pd.DataFrame, root: Path, view: View, utterances: int
) -> tuple[np.ndarray, list[str]]:
    """Draw the contact sheet of one dialog.

    Parameters
    ----------
    rows
        All utterances of the dialog, in the columns of the utterance table.
    root
        The folder of the corpus.
    view
        How frames are chosen and cropped.
    utterances
        Number of utterances to draw. They are evenly spaced in the order of ids, so that both
        speakers are shown, and drawn in the order of time.

    Returns
    -------
    picture
        [height, width, 3] uint8; red, green, blue.
    problems
        One message per utterance whose frames could not all be read.

    Raises
    ------
    PreviewError
        If the dialog has no video, or none of its frames can be read.
    """
    chosen = np.unique(
        np.linspace(0, len(rows) - 1, min(utterances, len(rows))).round().astype(int)
    )
    rows = rows.iloc[chosen].sort_values(["start", "utterance"], kind="stable")
    video = str(rows["video"].iloc[0])
    if not video:
        raise PreviewError(f"{rows['dialog'].iloc[0]}: the corpus has no video of this dialog")
    path = root / video
    segments = segments_of(from_table(rows), view.frames_per_second, view.max_frames)
    taken: list[list[Crop]] = [[] for _ in segments]  # by utterance
    failure = ""
    for _, crop in crops(path, segments, [view.cut]):
        if isinstance(crop, VideoError):
            failure = str(crop)
            break
        for segment in crop.segments:
            taken[segment].append(crop)
    if not any(taken):
        raise PreviewError(f"{path}: {failure}")

    drawn, problems = [], []
    for (_, row), wanted, images in zip(rows.iterrows(), segments, taken, strict=True):
        frames = f"{len(images)} of {len(wanted.times)} frames"
        captions = [_caption(crop, view.cut) for crop in images]
        drawn.append(_Row(_lines(row, frames, view.reader), images, captions, str(row["place"])))
        if len(images) < len(wanted.times):
            problems.append(f"{row['utterance']}: {frames}: {video} {failure}")
    first = min(crop.time for images in taken for crop in images)
    overview = _overview(path, first, view, rows)
    with mpl.rc_context(_STYLE):
        return _draw(drawn, overview, _title(rows, view)), problems


def _lines(row: pd.Series, frames: str, reader: Reader) -> list[str]:
    """The text at the left of an utterance."""
    remark = reader.preview_remark(row)
    region = "whole picture" if row["place"] == "whole" else f"{row['place']} half"
    words = textwrap.wrap(row["text"], _CHARACTERS) or ["(no transcript)"]
    return [
        row["utterance"],
        f"{row['speaker']}{f' ({remark})' if remark else ''}, {region}",
        f"{row['start']:.2f} to {row['end']:.2f} s, {frames}",
        *words,
    ]


def _caption(crop: Crop, cut: Cut) -> str:
    """The time of a crop, and whether it lacks a face."""
    lacking = ""
    if cut.region == "face":
        lacking = "" if crop.face and crop.face.detected else " last seen" if crop.face else " none"
    return f"{crop.time:.2f} s{lacking}"


def _title(rows: pd.DataFrame, view: View) -> list[str]:
    """The text beside the whole frame: what the sheet shows and what to check."""
    dialog = str(rows["dialog"].iloc[0])
    return [
        dialog,
        str(rows["video"].iloc[0]),
        f"{_SHOWN[view.cut.region]} in {view.cut.size} x {view.cut.size} pixels, "
        f"{view.frames_per_second:g} frames per second, at most {view.max_frames}",
        "",
        *view.reader.preview_notes(dialog),
    ]


def _overview(path: Path, time: float, view: View, rows: pd.DataFrame) -> np.ndarray:
    """The frame at `time` with what is cut out outlined; [_OVERVIEW, width, 3] uint8, RGB."""
    image = next(displayed(path, np.array([time]))).image.copy()
    whole = (rows["place"] == "whole").all()
    for place in ("whole",) if whole else ("left", "right"):
        left, top, right, bottom = _outline(image, place, view.cut)
        cv2.rectangle(image, (left, top), (right, bottom), _COLOURS[place][::-1], 4)
    width = round(image.shape[1] * _OVERVIEW / image.shape[0])
    return cv2.resize(image, (width, _OVERVIEW), interpolation=cv2.INTER_AREA)[..., ::-1]


def _outline(image: np.ndarray, place: str, cut: Cut) -> Box:
    """The box of the face, or of the central square."""
    if cut.region == "face":
        ((face, _),) = Tracker(cut.detector).find(part(image, place), [0])
        if face:
            offset = image.shape[1] // 2 if place == "right" else 0
            left, top, right, bottom = face.box
            return left + offset, top, right + offset, bottom
    size = cut.edge(image, place)
    top, left = corner(image, place, size)
    return left, top, left + size - 1, top + size - 1


def _draw(rows: Sequence[_Row], overview: np.ndarray, title: Sequence[str]) -> np.ndarray:
    """Draw the sheet: the whole frame and the title, then one row per utterance."""
    width = 2 * _MARGIN + _HEAD + _PER_LINE * (_THUMB + _GAP)
    tops = np.cumsum([2 * _MARGIN + _OVERVIEW, *(row.height + _GAP for row in rows)]).tolist()
    height = tops[-1] + _MARGIN
    canvas = np.full((height, width, 3), 255, np.uint8)
    # inches; half a pixel more, so that no row or column is lost to rounding
    figure = Figure(figsize=((width + 0.5) / _DPI, (height + 0.5) / _DPI), dpi=_DPI)
    agg = FigureCanvasAgg(figure)

    def paste(image: np.ndarray, left: int, top: int) -> None:
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image

    def write(text: str, left: int, top: int, size: float, colour: str, *, bold: bool) -> None:
        figure.text(
            left / width,
            1 - top / height,
            text,
            fontsize=size,
            color=colour,
            weight="bold" if bold else "normal",
            family="DejaVu Sans",  # comes with matplotlib
            verticalalignment="top",
            parse_math=False,  # a transcript may contain dollar signs
        )

    paste(overview, _MARGIN, _MARGIN)
    left = 2 * _MARGIN + overview.shape[1]
    for number, line in enumerate(title):
        bold = number == 0
        write(line, left, _MARGIN + 20 * number, _FONT + 2 * bold, _INK, bold=bold)
    for row, top in zip(rows, tops, strict=False):
        canvas[top - _GAP, _MARGIN:-_MARGIN] = 200
        canvas[top : top + row.height - _GAP, _MARGIN : _MARGIN + 4] = _COLOURS[row.place]
        for number, line in enumerate(row.lines):
            colour = _FAINT if number in (1, 2) else _INK
            write(line, _MARGIN + 12, top + number * _LINE, _FONT, colour, bold=number == 0)
        for number, (crop, caption) in enumerate(zip(row.crops, row.captions, strict=True)):
            line_number, column = divmod(number, _PER_LINE)
            across = _MARGIN + _HEAD + column * (_THUMB + _GAP)
            down = top + line_number * (_THUMB + _LABEL)
            paste(
                cv2.resize(crop.image, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA), across, down
            )
            write(caption, across, down + _THUMB + 1, _SMALL, _FAINT, bold=False)
    figure.figimage(canvas, 0, 0, origin="upper")
    agg.draw()
    return np.asarray(agg.buffer_rgba())[..., :3].copy()


# --- command line --------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    try:
        view, root, tables = _settings(options)
        table = None if options.root else tables / "utterances.csv"
        rows = _rows(options.dialog, view.reader, root, table)
        picture, problems = sheet(rows, root, view, options.utterances)
        _save(picture, options.output or Path(f"{options.dialog}.png"))
    except (PreviewError, CorpusError, params.ParamsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(problem)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.preview",
        description="Draw the crops of a dialog as a PNG. Defaults are those of params.yaml. The "
        "utterances are read from the tables of `dvc repro parse`, or from the corpus if there are "
        "none.",
    )
    parser.add_argument("dialog", help="id of the dialog, such as Ses01F_impro01")
    parser.add_argument("--root", type=Path, help="folder of the corpus, instead of corpus.root")
    parser.add_argument("--output", type=Path, help="PNG file (default: DIALOG.png)")
    parser.add_argument(
        "--marked", choices=["left", "right"], help="instead of corpus.iemocap.marked_actor"
    )
    parser.add_argument(
        "--frames-per-second", type=_above_zero(float), help="instead of visual.frames_per_second"
    )
    parser.add_argument(
        "--utterances", type=_above_zero(int), default=12, help="number to draw (default: 12)"
    )
    return parser.parse_args(arguments)


def _above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    """A type for argparse: a finite number of `kind` above 0."""

    def read(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(f"must be a number above 0, is {text}")
        return number

    return read


def _settings(options: argparse.Namespace) -> tuple[View, Path, Path]:
    """The view, the corpus's folder and the folder of its tables, from options and params.yaml."""
    if not Path("params.yaml").is_file():
        if options.root is None:
            raise PreviewError("there is no params.yaml here; give --root")
        view, root, tables = View(CORPORA["iemocap"].load()()), options.root, INTERIM
    else:
        settings = params.load()
        visual = settings.visual
        view = View(settings.corpus.reader, visual.frames_per_second, visual.max_frames)
        cropping = [stream for stream in visual.streams.values() if hasattr(stream, "cut")]
        if cropping:
            view = replace(view, cut=cropping[0].cut)
        root = options.root or Path(settings.corpus.root)
        tables = INTERIM / settings.corpus.name
    if options.marked is not None:
        if not hasattr(view.reader, "marked_actor"):
            title = view.reader.description.title
            raise PreviewError(f"--marked: {title} has no actor who wears markers; omit the option")
        reader = view.reader.model_copy(update={"marked_actor": options.marked})
        view = replace(view, reader=reader)
    if options.frames_per_second is not None:
        view = replace(view, frames_per_second=options.frames_per_second)
    return view, root, tables


def _rows(dialog: str, reader: Reader, root: Path, table: Path | None) -> pd.DataFrame:
    """Utterances of a dialog, from the pipeline's table, or from the corpus without one."""
    if table is not None and table.is_file():
        utterances = reader.with_places(read_table(table))
    else:
        utterances = parsing.parse(reader, root).utterances
    rows = utterances[utterances["dialog"] == dialog]
    if rows.empty:
        names = utterances["dialog"].unique().tolist()
        close = difflib.get_close_matches(dialog, names, n=5, cutoff=0.5) or names[:5]
        raise PreviewError(f"{dialog}: no such dialog of {len(names)}; close: {', '.join(close)}")
    return rows


def _save(picture: np.ndarray, path: Path) -> None:
    """Write a PNG without metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() != ".png" or not cv2.imwrite(str(path), picture[..., ::-1]):
        raise PreviewError(f"{path}: cannot be written as a PNG")
    print(path)


if __name__ == "__main__":
    sys.exit(main())
