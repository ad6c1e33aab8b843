"""Speed of audio extraction against a plain loop, in seconds of speech per second.

``python -m benchmarks.audio`` runs on an embedded corpus and prints JSON and a Markdown table. It
times the extraction of the stage `audio` on all cores, including the start of its processes. The
plain loop calls librosa (MFCC with deltas) and openSMILE (prosodic contours) on one file after the
other. The values of both are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.extraction import RELEASE, command, extracted, race, stream_of
from pipeline import params
from pipeline.features import mfcc, prosody
from pipeline.features.extractor import Context
from pipeline.features.smile import SHORTEST
from pipeline.system import compute


def measure(rows: pd.DataFrame, corpus: Path, repeat: int) -> dict[str, float]:
    """Return the seconds of speech in `rows`, and the speed of both ways."""
    import soundfile

    settings = params.load().audio
    mfcc_name, mfcc_extractor = stream_of(settings.streams, mfcc.Mfcc)
    prosody_name, prosody_extractor = stream_of(settings.streams, prosody.Prosody)
    context = Context(corpus / RELEASE, "cpu", settings)
    streams = {mfcc_name: mfcc_extractor, prosody_name: prosody_extractor}
    # one per row: a dialog may occur several times
    paths = [context.root / name for name in rows["audio"] if name]
    speech = sum(soundfile.info(path).duration for path in paths)
    cores = compute.processes(0)
    tasks = {
        "extraction": partial(extracted, "audio", streams, rows, context, workers=cores),
        "plain": partial(plain, paths, settings.sampling_rate, mfcc_extractor),
    }
    seconds, values = race(tasks, repeat)
    for values_of_stream, expected in zip(values["extraction"], values["plain"], strict=True):
        np.testing.assert_allclose(values_of_stream, expected, rtol=1e-4, atol=1e-4)
    return {
        "cores": cores,
        "speech_s": round(speech),
        "plain_s_per_s": round(speech / seconds["plain"], 1),
        "extraction_s_per_s": round(speech / seconds["extraction"], 1),
        "times_plain": round(seconds["plain"] / seconds["extraction"], 2),
    }


def plain(paths: Sequence[Path], rate: int, settings: mfcc.Mfcc) -> list[np.ndarray]:
    """MFCC with deltas [sum of T, 3 * coefficients] and prosody [n, 35], file by file."""
    import librosa
    import opensmile

    window, step = round(settings.window * rate), round(settings.step * rate)
    size = 1 << (window - 1).bit_length()
    highest = min(prosody.HIGHEST_BAND, rate // 2)
    smile = opensmile.Smile(str(prosody.CONFIGURATION), "contours", options={"highest": highest})
    shortest = round(SHORTEST * rate)
    frames, rows = [], []
    for path in paths:
        signal, _ = librosa.load(path, sr=rate)
        whole = librosa.util.fix_length(signal, size=max(len(signal), window))
        power = librosa.feature.melspectrogram(
            y=np.pad(whole, (size - window) // 2),  # centres the window in the FFT
            sr=rate,
            n_fft=size,
            win_length=window,
            hop_length=step,
            window="hamming",
            center=False,
            n_mels=max(settings.coefficients, mfcc.MIN_BANDS),
        )
        decibels = librosa.power_to_db(power, top_db=None)
        values = librosa.feature.mfcc(S=decibels, n_mfcc=settings.coefficients)
        deltas = [librosa.feature.delta(values, order=order, mode="nearest") for order in (1, 2)]
        frames.append(np.concatenate([values, *deltas]).T)
        whole = librosa.util.fix_length(signal, size=max(len(signal), shortest))
        contours = smile.process_signal(whole, rate).to_numpy(np.float64).T
        rows.append(
            [
                functionals(contour, zero_counts=name not in prosody.PARTIAL)
                for name, contour in zip(prosody.CONTOURS, contours, strict=True)
            ]
        )
    return [np.concatenate(frames), np.array(rows).reshape(len(paths), -1)]


def functionals(contour: np.ndarray, *, zero_counts: bool) -> np.ndarray:
    """The functionals of a contour, as in :data:`pipeline.features.prosody.FUNCTIONALS`."""
    from scipy.stats import skew

    counts = np.arange(len(contour)) if zero_counts else np.flatnonzero(contour)
    values = contour[counts]
    if not len(values):
        return np.zeros(len(prosody.FUNCTIONALS))
    moments = [values.mean(), values.std(), skew(values) if np.ptp(values) else 0.0]
    slope = np.polyfit(counts * prosody.CONTOUR_STEP, values, 1)[0] if np.ptp(values) else 0.0
    return np.array([*moments, *np.percentile(values, [5, 50, 95]), slope])


main = partial(command, "audio", __doc__, measure, dialogs=200)

if __name__ == "__main__":
    main()
