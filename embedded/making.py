"""The embedded corpus: synthetic and byte-reproducible, in IEMOCAP's layout and formats.

It contains nothing of the release: espeak-ng speaks the lines (:mod:`.voice`), OpenCV draws the
faces (:mod:`.face`), and the words come from templates (:mod:`.lines`). :mod:`.screenplay` decides
which modalities show an utterance's emotion. Layout, below each ``SessionN``::

    dialog/EmoEvaluation/<dialog>.txt      and Categorical/, Attribute/, Self-evaluation/
    dialog/transcriptions/<dialog>.txt
    dialog/avi/DivX/<dialog>.avi           720 x 480, 29.97 frames per second, XVID
    dialog/wav/<dialog>.wav                16 kHz mono
    dialog/MOCAP_head/<dialog>.txt         one file, which no stage reads
    sentences/wav/<dialog>/<utterance>.wav
    sentences/ForcedAlignment/<dialog>/<utterance>.wdseg   if espeak-ng times all words

Other readers of the release accept it too: by default it has only those faults of real copies that
they tolerate (:class:`.screenplay.Trap`), and hidden files of macOS beside the media. With `traps`
it has all faults, and hidden files in every folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from concurrent.futures import as_completed
from pathlib import Path

import cv2
import numpy as np
import soundfile
from tqdm import tqdm

from embedded import film, recording, screenplay, textfiles, vectors, voice
from embedded.screenplay import Dialog, Trap
from pipeline import params
from pipeline.system import compute
from pipeline.system.filesystem import replacing

VECTOR_SIZE = 300
"""Dimension of the word vectors, as in ``glove.840B.300d.txt``."""

_FILM_REST = 0.3  # seconds of video after the last word
_FILM_LACK = -0.5  # the same if the video ends too early

_README = """This folder is made by a program. It has the layout and the file formats of IEMOCAP,
but nothing of its recordings: synthetic voices, drawn faces, lines from templates.
"""
_APPLE_DOUBLE = (
    b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x02\x00\x00\x00\x09\xff\xfe\x92"
)
_DS_STORE = b"\x00\x00\x00\x01Bud1\x00\x00\x10\x00\x00\x00\x08\x00\xff\xfe"
_MOCAP = "Frame# Time# CH1x CH1y CH1z\n1 0.00000 1.25 -0.50 3.00\n"


def make(settings: params.Embedded, root: Path, glove: Path, workers: int = 1) -> None:
    """Make the corpus and the word vectors of its transcripts.

    The same settings give the same bytes, in any folder and with any number of workers. An
    interrupted run leaves ``<root>.partial`` and no `root`.

    Parameters
    ----------
    settings
        Size, seed, traps and moods.
    root
        The new folder of ``Session1 ... Session5``; it must not exist.
    glove
        The file of word vectors, in GloVe's text format; replaced if it exists.
    workers
        Number of processes; 1 is this process.

    Raises
    ------
    FileExistsError
        If `root` exists, since it could be a real corpus.
    OSError
        If a file cannot be written.
    """
    if root.exists():
        raise FileExistsError(
            f"{root}: exists; the embedded corpus never overwrites a folder, so remove it first"
        )
    partial = root.with_name(f"{root.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    dialogs = screenplay.write(settings)
    with tqdm(total=len(dialogs), desc="embedded", unit="dialog") as bar:
        for _ in _produce_all(dialogs, partial, settings.seed, workers):
            bar.update()
    (partial / "README.txt").write_text(_README, encoding="utf-8")
    _litter(partial, everywhere=settings.traps)
    texts = (turn.text for dialog in dialogs for turn in dialog.turns if turn.in_transcript)
    with replacing(glove) as unfinished:
        vectors.write(texts, VECTOR_SIZE, unfinished)
    partial.rename(root)


def _produce_all(dialogs: list[Dialog], root: Path, seed: int, workers: int) -> Iterable[str]:
    """Write all dialogs, yielding the name of each when it is finished."""
    if workers == 1:
        for dialog in dialogs:
            _produce(dialog, root, seed)
            yield dialog.name
        return
    pool = compute.pool(min(workers, len(dialogs)), "cpu")
    try:
        futures = {pool.submit(_produce, dialog, root, seed): dialog.name for dialog in dialogs}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    finally:
        pool.shutdown(cancel_futures=True)


def _produce(dialog: Dialog, root: Path, seed: int) -> None:
    """Write all files of one dialog."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, *dialog.name.encode()])
    session = root / f"Session{dialog.session}"
    sound = recording.record(dialog, rng)
    _write_sound(dialog, sound, session)
    for path, content in textfiles.files(sound.timed, dialog, rng).items():
        _write(session / "dialog" / path, content)
    films = session / "dialog" / "avi" / "DivX"
    films.mkdir(parents=True, exist_ok=True)
    if Trap.NO_VIDEO not in dialog.traps:
        _write_film(dialog, sound, films / f"{dialog.name}.avi", rng)


def _write_sound(dialog: Dialog, sound: recording.Recording, session: Path) -> None:
    mix = session / "dialog" / "wav" / f"{dialog.name}.wav"
    mix.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(mix, sound.mix, voice.RATE, subtype="PCM_16")
    folder = session / "sentences" / "wav" / dialog.name
    folder.mkdir(parents=True, exist_ok=True)
    for number, t in enumerate(sound.timed):
        home = folder
        if Trap.WAV_IN_OTHER_TAKE in dialog.traps and number == 1:
            home = folder.with_name(f"{dialog.name.removesuffix('b')}a")
            home.mkdir()
        name = t.turn.utterance
        soundfile.write(home / f"{name}.wav", sound.cut(t), voice.RATE, subtype="PCM_16")
        if words := sound.words.get(name):
            aligned = session / "sentences" / "ForcedAlignment" / dialog.name / f"{name}.wdseg"
            _write(aligned, textfiles.alignment(words))


def _write_film(
    dialog: Dialog, sound: recording.Recording, path: Path, rng: np.random.Generator
) -> None:
    rest = _FILM_LACK if Trap.PAST_VIDEO_END in dialog.traps else _FILM_REST
    end = max(t.end for t in sound.timed) + rest
    speakers: tuple[screenplay.Speaker, ...] = ("F", "M")
    loudness = {speaker: sound.loudness(speaker, film.FRAMES_PER_SECOND) for speaker in speakers}
    film.shoot(
        path,
        dialog,
        sound.timed,
        loudness=loudness,
        frames=round(end * film.FRAMES_PER_SECOND),
        rng=rng,
    )
    if Trap.HEADER_OFF in dialog.traps:
        film.misstate(path)


def _litter(root: Path, everywhere: bool) -> None:
    """Add hidden files of macOS: ``.DS_Store`` in folders, and one AppleDouble file in each.

    Unless `everywhere`, text folders have none, since other readers open every file there.
    """
    for session in sorted(root.glob("Session*")):
        for folder in sorted(path for path in session.rglob("*") if path.is_dir()):
            files = sorted(path.name for path in folder.iterdir() if path.is_file())
            if not (everywhere or any(name.endswith((".avi", ".wav")) for name in files)):
                continue
            _write(folder / ".DS_Store", _DS_STORE)
            if files:
                _write(folder / f"._{files[0]}", _APPLE_DOUBLE)
    first = min(root.glob("Session1/dialog/transcriptions/Ses*.txt"))
    _write(root / "Session1" / "dialog" / "MOCAP_head" / first.name, _MOCAP.encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
