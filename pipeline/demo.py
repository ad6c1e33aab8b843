"""Predictions in a browser: ``python -m pipeline.demo``, or ``make demo``.

A page takes a clip, by upload or recording, and shows what :class:`~pipeline.predict.Predictor`
predicts for it. It needs Gradio, the extra ``demo``.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline import InputError
from pipeline.predict import Predictor, arguments, transcribing
from pipeline.predict.clips import REGIONS, Clip
from pipeline.predict.pages import STYLE, as_fragment
from pipeline.predict.transcribing import Recogniser
from pipeline.system import compute
from pipeline.system.extras import imported
from pipeline.system.filesystem import lock

LARGEST = 200
"""Megabytes; a larger file is refused."""
KEPT = (60, 600)
"""Seconds: how often uploads are looked at, and their age at which they are deleted."""

_PREFIX = "modality-hopping-demo-"
_WAITING = 16  # requests; a further one is told to try again later
_INTRODUCTION = """# The emotion of a clip
{models} in the folder `{folder}` predicts one of {classes}. The attention weights of a hop say
which steps the models read for their decision, not why. The clip stays on the computer that runs
this page, and is deleted after {minutes} minutes. Voices and faces are personal data: use your own,
or those of people who agreed."""


def answer(predictor: Predictor, recogniser: Recogniser | None, clip: Clip) -> str:
    """Predict the emotion of one clip, as HTML.

    Parameters
    ----------
    recogniser
        Recognises the words of a clip without text; None to predict without words.

    Raises
    ------
    InputError
        If the clip cannot be read; the message has the name of the file only.
    """
    folder = clip.path.parent
    try:
        (found,) = transcribing.predict(predictor, [clip.utterance()], folder, recogniser)
        return as_fragment(found, folder)
    except InputError as error:
        raise InputError(str(error).replace(f"{folder}{os.sep}", "")) from error


def page(predictor: Predictor, recogniser: Recogniser | None, folder: Path) -> Any:
    """The page, as Gradio's ``Blocks``.

    Parameters
    ----------
    folder
        Of the models; for the introduction.
    """
    gradio = _gradio()

    def predict(source: int, *values: Any) -> str:
        paths, (text, start, end, region) = values[:-4], values[-4:]
        if paths[source] is None:
            raise gradio.Error("There is no clip: upload or record one.", print_exception=False)
        clip = Clip(Path(paths[source]), text.strip(), start or 0.0, end or None, region)
        try:
            return answer(predictor, recogniser, clip)
        except InputError as error:
            raise gradio.Error(str(error), duration=None, print_exception=False) from error

    number = len(predictor.classifiers)
    introduction = _INTRODUCTION.format(
        models="One model" if number == 1 else f"The mean of {number} models",
        folder=folder.name,
        classes=", ".join(predictor.classes),
        minutes=KEPT[1] // 60,
    )
    with gradio.Blocks(
        title="Emotion of a clip", analytics_enabled=False, delete_cache=KEPT
    ) as made:
        gradio.Markdown(introduction)
        with gradio.Row():
            with gradio.Column():
                with gradio.Tab("Upload") as upload:
                    file = gradio.File(label=f"A clip of up to {LARGEST} MB", type="filepath")
                with gradio.Tab("Record sound") as sound:
                    microphone = gradio.Audio(
                        label="Microphone", sources=["microphone"], type="filepath", editable=False
                    )
                with gradio.Tab("Record video") as film:
                    webcam = gradio.Video(
                        label="Camera",
                        sources=["webcam"],
                        include_audio=True,
                        webcam_options=gradio.WebcamOptions(mirror=False),
                    )
                text = gradio.Textbox(
                    label="Words",
                    placeholder="recognised if empty" if recogniser else "what is said",
                )
                with gradio.Accordion("Part of the recording", open=False):
                    start = gradio.Number(label="From (seconds)", minimum=0)
                    end = gradio.Number(label="To (seconds)", minimum=0)
                    region = gradio.Radio(
                        REGIONS, value="whole", label="Where the speaker is in the picture"
                    )
                button = gradio.Button("Predict", variant="primary")
            with gradio.Column(scale=2):
                shown = gradio.HTML(label="Prediction")
        chosen = gradio.State(0)
        for place, tab in enumerate((upload, sound, film)):
            tab.select(partial(int, place), None, chosen, api_visibility="private")
        button.click(
            predict,
            [chosen, file, microphone, webcam, text, start, end, region],
            shown,
            api_visibility="private",
        )
    return made.queue(max_size=_WAITING, default_concurrency_limit=1)


@contextmanager
def uploads() -> Iterator[Path]:
    """The folder of uploads, which is deleted at the end.

    Those of processes that were killed are deleted at the start.
    """
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{_PREFIX}*"):
        try:
            if old.is_symlink():
                continue
            with (old / "lock").open("a") as file:
                if lock(file):
                    shutil.rmtree(old)
        except OSError:
            continue  # in use, of another user, or deleted by another process
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read when Gradio is imported
    try:
        with (folder / "lock").open("w") as file:
            lock(file)
            yield folder
    finally:
        shutil.rmtree(folder)


def serve(made: Any, host: str, port: int) -> str:
    """Serve a page in the background; returns its address.

    Raises
    ------
    InputError
        If the port is in use, or the host is no address of this machine.
    """
    gradio = _gradio()
    fonts = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
    try:
        _, address, _ = made.launch(
            server_name=host,
            server_port=port,
            share=False,
            max_file_size=f"{LARGEST}mb",
            theme=gradio.themes.Default(font=fonts[0], font_mono=fonts[1]),  # none of the network
            css_paths=STYLE,
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: {error}") from error
    return str(address)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _gradio() -> ModuleType:
    """Gradio, without its reports to its makers.

    Raises
    ------
    InputError
        If it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    return imported("gradio", "demo", "Gradio serves the page (`make demo` installs it)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.demo", description="Predict the emotion of clips in a browser."
    )
    arguments.add(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (default: 127.0.0.1, which only this machine reaches)",
    )
    parser.add_argument("--port", type=int, default=7860, help="(default: 7860)")
    return parser


def main(given: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uploads are deleted then, too
    try:
        with uploads():
            _gradio()
            device = str(compute.device(options.device))
            recogniser = arguments.recogniser(options, device)
            made = page(arguments.predictor(options, device), recogniser, options.models)
            if not is_loopback(options.host):
                print(
                    f"warning: everybody who reaches {options.host} can use this page, without a "
                    "password and without encryption",
                    file=sys.stderr,
                )
            print(f"Open {serve(made, options.host, options.port)} in a browser; Ctrl+C ends it.")
            made.block_thread()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
