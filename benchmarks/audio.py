"""Seconds of speech a second of audio extraction, against a plain loop over the files.

``python -m benchmarks.audio`` runs on an embedded corpus and prints JSON and a Markdown table. The
extraction is the stage's own, on all cores, start and end of its processes included. The plain loop
calls librosa for the MFCC and their differences, and openSMILE for the contours of prosody, for one
file after the other. Both give the same values, which is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.extraction import RELEASE, command, extracted, race
from pipeline import compute, params


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    command("audio", __doc__, measure, dialogs=200, arguments=arguments)


def measure(rows: pd.DataFrame, corpus: Path, repeat: int) -> dict[str, float]:
    """Return the seconds of speech of `rows`, and how many of them each way reads a second."""
    import soundfile
    from pipeline.features.audio import AudioExtractor

    settings = params.load().audio
    extractor = AudioExtractor(settings, corpus / RELEASE)
    paths = extractor.sources(rows)
    speech = sum(soundfile.info(path).duration for path in paths)
    cores = compute.processes(0)
    streams = ("mfcc", "prosody")
    tasks = {
        "extraction": partial(extracted, extractor, rows, streams, workers=cores),
        "plain": partial(plain, paths, settings),
    }
    seconds, values = race(tasks, repeat)
    for found, expected in zip(values["extraction"], values["plain"], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    return {
        "cores": cores,
        "speech_s": round(speech),
        "plain_s_per_s": round(speech / seconds["plain"], 1),
        "extraction_s_per_s": round(speech / seconds["extraction"], 1),
        "times_plain": round(seconds["plain"] / seconds["extraction"], 2),
    }


def plain(paths: Sequence[Path], settings: params.Audio) -> list[np.ndarray]:
    """MFCC with differences [sum of T, 3 * mfcc] and prosody [n, 35], file by file."""
    import librosa
    import opensmile

    from pipeline.features import audio

    rate = settings.sampling_rate
    window, step = round(settings.window * rate), round(settings.step * rate)
    size = 1 << (window - 1).bit_length()
    highest = min(audio.HIGHEST_BAND, rate // 2)
    smile = opensmile.Smile(str(audio.CONFIGURATION), "contours", options={"highest": highest})
    shortest = round(audio.SHORTEST * rate)
    frames, prosody = [], []
    for path in paths:
        signal, _ = librosa.load(path, sr=rate)
        whole = librosa.util.fix_length(signal, size=max(len(signal), window))
        power = librosa.feature.melspectrogram(
            y=np.pad(whole, (size - window) // 2),  # the window is in the middle of the transform
            sr=rate,
            n_fft=size,
            win_length=window,
            hop_length=step,
            window="hamming",
            center=False,
            n_mels=max(settings.mfcc, audio.LEAST_BANDS),
        )
        decibels = librosa.power_to_db(power, top_db=None)
        mfcc = librosa.feature.mfcc(S=decibels, n_mfcc=settings.mfcc)
        deltas = [librosa.feature.delta(mfcc, order=order, mode="nearest") for order in (1, 2)]
        frames.append(np.concatenate([mfcc, *deltas]).T)
        whole = librosa.util.fix_length(signal, size=max(len(signal), shortest))
        contours = smile.process_signal(whole, rate).to_numpy(np.float64).T
        prosody.append(
            [
                functionals(contour, zero_counts=name not in audio.PARTIAL)
                for name, contour in zip(audio.CONTOURS, contours, strict=True)
            ]
        )
    return [np.concatenate(frames), np.array(prosody).reshape(len(paths), -1)]


def functionals(contour: np.ndarray, *, zero_counts: bool) -> np.ndarray:
    """The values of a contour that :data:`pipeline.features.audio.FUNCTIONALS` names."""
    from scipy.stats import skew

    from pipeline.features import audio

    counts = np.arange(len(contour)) if zero_counts else np.flatnonzero(contour)
    values = contour[counts]
    if not len(values):
        return np.zeros(len(audio.FUNCTIONALS))
    moments = [values.mean(), values.std(), skew(values) if np.ptp(values) else 0.0]
    slope = np.polyfit(counts * audio.CONTOUR_STEP, values, 1)[0] if np.ptp(values) else 0.0
    return np.array([*moments, *np.percentile(values, [5, 50, 95]), slope])


if __name__ == "__main__":
    main()
