"""A contact sheet of the crops that would be embedded, to see whether the halves are right.

``python -m pipeline.preview DIALOG`` writes it as a PNG: at the top a whole frame with both crops
outlined, then one row per utterance with what it says, who says it, and every crop of it with its
time. Times, halves and crops are those of :mod:`pipeline.features.visual` itself.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from pipeline.features.video import Crop, VideoError, corner, crops, displayed, largest
from pipeline.features.visual import segments_of
from pipeline.registry import CORPORA

INTERIM = Path("data/interim")

# pixels
_THUMB, _GAP, _LABEL, _LINE, _MARGIN = 96, 6, 16, 17, 20
_HEAD = 330  # width of what stands at a row's left
_PER_LINE = 12  # thumbnails
_OVERVIEW = 240  # height of the whole frame
_DPI = 100
_FONT, _SMALL = 8.5, 7.0  # points
_CHARACTERS = 46  # of _FONT in _HEAD

_COLOURS = {  # of places
    "left": (31, 119, 180),
    "right": (214, 90, 20),
    "whole": (31, 119, 180),
}  # red, green, blue
# not the user's own style
_STYLE = {
    name: value
    for name, value in mpl.rcParamsDefault.items()
    if name.startswith(("figure.", "font.", "text."))
}
_INK, _FAINT = "#1a1a1a", "#666666"


@dataclass(frozen=True)
class View:
    """What is seen of a dialog; by default the authors' setting.

    Attributes
    ----------
    frames_per_second, max_frames
        The parameters of ``visual``.
    crop
        That of the first stream that crops, in pixels.
    scaled
        Whether it is scaled from the largest square.
    reader
        That of the corpus, which knows who is seen where.
    """

    reader: Reader

    frames_per_second: float = 3.0
    max_frames: int = 32
    crop: int = 224
    scaled: bool = False


class PreviewError(InputError):
    """A dialog that cannot be drawn; the message says what there is instead."""


@dataclass(frozen=True)
class _Text:
    """A piece of text at a place of the sheet, in pixels from the top left."""

    left: int
    top: int
    text: str
    size: float = _FONT
    colour: str = _INK
    bold: bool = False


@dataclass(frozen=True)
class _Row:
    """An utterance of the sheet: the lines at its left, its crops, and its speaker's place."""

    lines: list[str]
    crops: list[Crop]
    place: str

    @property
    def height(self) -> int:
        """Pixels that it takes."""
        shelves = max(1, -(-len(self.crops) // _PER_LINE))
        return max(len(self.lines) * _LINE, shelves * (_THUMB + _LABEL)) + _GAP


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
        What is drawn of it.
    utterances
        How many to draw: evenly chosen in the order of ids, so of both speakers, and drawn in the
        order of time.

    Returns
    -------
    picture
        [height, width, 3] uint8; red, green, blue.
    problems
        Utterances with fewer frames than wanted, and why.

    Raises
    ------
    PreviewError
        If the dialog has no video, or not one frame of it can be read.
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
    found: list[list[Crop]] = [[] for _ in segments]
    ending = ""
    try:
        for crop in crops(path, segments, view.crop, scaled=view.scaled):
            for segment in crop.segments:
                found[segment].append(crop)
    except VideoError as error:
        ending = str(error)
    if not any(found):
        raise PreviewError(f"{path}: {ending}")

    wanted = [len(segment.times) for segment in segments]
    drawn = [
        _Row(_lines(row, len(taken), count, view.reader), taken, str(row["place"]))
        for (_, row), taken, count in zip(rows.iterrows(), found, wanted, strict=True)
    ]
    problems = [
        f"{name}: {len(taken)} of {count} frames: {video} {ending}"
        for name, taken, count in zip(rows["utterance"], found, wanted, strict=True)
        if len(taken) < count
    ]
    moment = min(crop.time for taken in found for crop in taken)
    return _draw(drawn, _overview(path, moment, view, rows), _title(rows, view)), problems


def _lines(row: pd.Series, taken: int, wanted: int, reader: Reader) -> list[str]:
    """Say what stands at the left of an utterance."""
    remark = reader.preview_remark(row)
    seen = "whole picture" if row["place"] == "whole" else f"{row['place']} half"
    words = textwrap.wrap(row["text"], _CHARACTERS) or ["(no transcript)"]
    return [
        row["utterance"],
        f"{row['speaker']}{f' ({remark})' if remark else ''}, {seen}",
        f"{row['start']:.2f} to {row['end']:.2f} s, {taken} of {wanted} frames",
        *words,
    ]


def _title(rows: pd.DataFrame, view: View) -> list[str]:
    """Say what the sheet shows and what to look for."""
    dialog = str(rows["dialog"].iloc[0])
    return [
        dialog,
        str(rows["video"].iloc[0]),
        f"{view.crop} x {view.crop} pixels of the speaker's half, "
        f"{view.frames_per_second:g} frames per second, at most {view.max_frames}",
        "",
        *view.reader.preview_notes(dialog),
    ]


def _overview(path: Path, moment: float, view: View, rows: pd.DataFrame) -> np.ndarray:
    """Frame of a video at a time, crops outlined; [_OVERVIEW, width, 3] uint8, RGB."""
    image = next(displayed(path, np.array([moment]))).image.copy()
    whole = (rows["place"] == "whole").all()
    for place in ("whole",) if whole else ("left", "right"):
        size = largest(image, place) if view.scaled else view.crop
        top, left = corner(image, place, size)
        colour = _COLOURS[place]
        cv2.rectangle(image, (left, top), (left + size - 1, top + size - 1), colour[::-1], 4)
    width = round(image.shape[1] * _OVERVIEW / image.shape[0])
    return cv2.resize(image, (width, _OVERVIEW), interpolation=cv2.INTER_AREA)[..., ::-1]


# --- drawing -------------------------------------------------------------------------------------


def _draw(rows: Sequence[_Row], overview: np.ndarray, title: Sequence[str]) -> np.ndarray:
    """Lay out the sheet: the whole frame and the title, then one row per utterance."""
    width = 2 * _MARGIN + _HEAD + _PER_LINE * (_THUMB + _GAP)
    first = 2 * _MARGIN + _OVERVIEW
    tops = np.cumsum([first, *(row.height + _GAP for row in rows)]).tolist()
    canvas = np.full((tops[-1] + _MARGIN, width, 3), 255, np.uint8)
    texts: list[_Text] = []

    _paste(canvas, overview, _MARGIN, _MARGIN)
    left = 2 * _MARGIN + overview.shape[1]
    for number, line in enumerate(title):
        bold = number == 0
        texts.append(_Text(left, _MARGIN + 20 * number, line, _FONT + 2 * bold, bold=bold))

    for row, top in zip(rows, tops, strict=False):
        canvas[top - _GAP, _MARGIN:-_MARGIN] = 200
        canvas[top : top + row.height - _GAP, _MARGIN : _MARGIN + 4] = _COLOURS[row.place]
        for number, line in enumerate(row.lines):
            colour = _FAINT if number in (1, 2) else _INK
            place = _MARGIN + 12, top + number * _LINE
            texts.append(_Text(*place, line, colour=colour, bold=number == 0))
        for number, crop in enumerate(row.crops):
            shelf, column = divmod(number, _PER_LINE)
            across = _MARGIN + _HEAD + column * (_THUMB + _GAP)
            down = top + shelf * (_THUMB + _LABEL)
            thumb = cv2.resize(crop.image, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
            _paste(canvas, thumb, across, down)
            texts.append(_Text(across, down + _THUMB + 1, f"{crop.time:.2f} s", _SMALL, _FAINT))
    return _write(canvas, texts)


def _paste(canvas: np.ndarray, image: np.ndarray, left: int, top: int) -> None:
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image


def _write(canvas: np.ndarray, texts: Sequence[_Text]) -> np.ndarray:
    """Write text onto a canvas, pixel by pixel the same wherever it is done."""
    height, width = canvas.shape[:2]
    # inches; half a pixel against rounding down
    size = (width + 0.5) / _DPI, (height + 0.5) / _DPI
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, dpi=_DPI)
        drawing = FigureCanvasAgg(figure)
        figure.figimage(canvas, 0, 0, origin="upper")
        for text in texts:
            figure.text(
                text.left / width,
                1 - text.top / height,
                text.text,
                fontsize=text.size,
                color=text.colour,
                weight="bold" if text.bold else "normal",
                family="DejaVu Sans",  # matplotlib's own
                verticalalignment="top",
                parse_math=False,  # a transcript may hold dollars
            )
        drawing.draw()
    return np.asarray(drawing.buffer_rgba())[..., :3].copy()


# --- command line --------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: ``python -m pipeline.preview DIALOG``."""
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
        description="Draw the crops of a dialog that would be embedded, as a PNG. What is not "
        "given is taken from params.yaml, and the utterances from the tables of `dvc repro "
        "parse`, where they exist.",
    )
    parser.add_argument("dialog", help="such as Ses01F_impro01")
    parser.add_argument("--root", type=Path, help="read this copy, as corpus.root")
    parser.add_argument("--output", type=Path, help="the PNG (default: DIALOG.png)")
    parser.add_argument("--marked", choices=["left", "right"], help="corpus.iemocap.marked_actor")
    parser.add_argument("--frames-per-second", type=_rate)
    parser.add_argument("--utterances", type=_count, default=12, help="(default: 12)")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    """Read a number of utterances."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, is {text}")
    return int(text)


def _rate(text: str) -> float:
    """Read a number of frames a second."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, is {text}")
    return rate


def _settings(options: argparse.Namespace) -> tuple[View, Path, Path]:
    """What is drawn, the corpus's folder and that of its tables: as given, else of params.yaml."""
    if not Path("params.yaml").is_file():
        if options.root is None:
            raise PreviewError("there is no params.yaml here that names the corpus; give --root")
        view, root, tables = View(CORPORA["iemocap"].load()()), options.root, INTERIM
    else:
        known = params.load()
        cropping = [each for each in known.visual.streams.values() if hasattr(each, "crop")]
        view = View(
            known.corpus.reader,
            known.visual.frames_per_second,
            known.visual.max_frames,
            cropping[0].crop if cropping else View.crop,
            bool(cropping) and cropping[0].region == "square",
        )
        root = options.root or Path(known.corpus.root)
        tables = INTERIM / known.corpus.name
    if options.marked is not None:
        if not hasattr(view.reader, "marked_actor"):
            title = view.reader.description.title
            raise PreviewError(f"--marked: {title} has no actor who wears markers; leave it out")
        reader = view.reader.model_copy(update={"marked_actor": options.marked})
        view = replace(view, reader=reader)
    if options.frames_per_second is not None:
        view = replace(view, frames_per_second=options.frames_per_second)
    return view, root, tables


def _rows(dialog: str, reader: Reader, root: Path, table: Path | None) -> pd.DataFrame:
    """Utterances of a dialog: of the pipeline's table, or of a copy where there is none."""
    if table is not None and table.is_file():
        known = reader.with_places(read_table(table))
    else:
        known = parsing.parse(reader, root).utterances
    rows = known[known["dialog"] == dialog]
    if rows.empty:
        names = known["dialog"].unique().tolist()
        close = difflib.get_close_matches(dialog, names, n=5, cutoff=0.5) or names[:5]
        raise PreviewError(f"{dialog}: no such dialog of {len(names)}; close: {', '.join(close)}")
    return rows


def _save(picture: np.ndarray, path: Path) -> None:
    """Write a PNG without dates or names of programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() != ".png" or not cv2.imwrite(str(path), picture[..., ::-1]):
        raise PreviewError(f"{path}: cannot be written as a PNG")
    print(path)


if __name__ == "__main__":
    sys.exit(main())
