import pickle
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct

from pipeline import params
from pipeline.features import audio
from tests.test_recording import cut

RATE = 16000
SETTINGS = params.Audio(sampling_rate=RATE, mfcc=40, window=0.025, step=0.010)


def vowel(seconds: float, pitch: float = 150.0, loudness: float = 0.1) -> np.ndarray:
    """Make a voiced sound: harmonics of one pitch, falling with their number."""
    time = np.arange(round(seconds * RATE)) / RATE
    waves = [np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 15)]
    return (loudness * np.sum(waves, axis=0)).astype(np.float32)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


# MFCC


def savitzky_golay(values: np.ndarray, order: int) -> np.ndarray:
    """Differentiate a polynomial of degree `order` fitted to each nine rows."""
    offsets = np.arange(-4, 5.0)
    # row `order` of the pseudo-inverse gives that coefficient; its factorial the derivative
    weights = np.linalg.pinv(np.vander(offsets, order + 1, increasing=True))[order] * order
    padded = np.pad(values, ((4, 4), (0, 0)), mode="edge")
    return np.stack([weights @ padded[i : i + 9] for i in range(len(values))])


def reference_mfcc(signal: np.ndarray, window: int = 400, step: int = 160) -> np.ndarray:
    """MFCC in float64, from the definition."""
    signal = np.pad(signal.astype(np.float64), (0, max(window - len(signal), 0)))
    starts = range(0, len(signal) - window + 1, step)
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(window) / window)
    frames = np.stack([signal[i : i + window] * hamming for i in starts])
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    bands = power @ librosa.filters.mel(sr=RATE, n_fft=512, n_mels=40, dtype=np.float64).T
    decibels = 10 * np.log10(np.maximum(bands, 1e-10))
    static = dct(decibels, type=2, norm="ortho", axis=1)
    return np.hstack([static, savitzky_golay(static, 1), savitzky_golay(static, 2)])


@pytest.mark.parametrize("samples", [1, 399, 400, 559, 560, 1000, 8000])
def test_mfcc_equal_their_definition(samples: int) -> None:
    signal = noise(samples)
    values = audio.mfcc(signal, SETTINGS)
    assert values.dtype == np.float32
    assert values.shape == (max(1 + (samples - 400) // 160, 1), 120)
    np.testing.assert_allclose(values, reference_mfcc(signal), atol=2e-3)


def test_mfcc_frame_sees_its_own_window_only() -> None:
    signal = noise(RATE)
    changed = signal.copy()
    changed[4000:] = 0
    last = 1 + (4000 - 400) // 160  # frames that end before the change
    whole, cut = (audio.mfcc(x, SETTINGS)[:, :40] for x in (signal, changed))
    np.testing.assert_array_equal(whole[:last], cut[:last])
    assert not np.allclose(whole[last], cut[last])


def test_mfcc_of_silence_are_finite() -> None:
    values = audio.mfcc(np.zeros(1000, np.float32), SETTINGS)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values[:, 1:], 0, atol=1e-3)


@pytest.mark.parametrize(("rate", "coefficients"), [(8000, 13), (16000, 128), (44100, 80)])
@pytest.mark.filterwarnings("error")  # librosa warns of empty mel bands
def test_mfcc_at_other_settings(rate: int, coefficients: int) -> None:
    other = params.Audio(sampling_rate=rate, mfcc=coefficients, window=0.025, step=0.010)
    assert audio.mfcc(noise(rate), other).shape == (98, 3 * coefficients)


# Prosody


def value(signal: np.ndarray, name: str) -> float:
    return float(audio.prosody(signal, RATE)[audio.PROSODY_NAMES.index(name)])


def test_prosody_has_35_names_in_the_order_of_the_configuration() -> None:
    import opensmile

    assert len(audio.PROSODY_NAMES) == len(set(audio.PROSODY_NAMES)) == 35
    assert {"F0_mean", "voicing_deviation", "loudness_delta_p95"} <= set(audio.PROSODY_NAMES)
    contours = opensmile.Smile(str(audio.CONFIGURATION), "contours").feature_names
    assert [name.replace("_sma", "") for name in contours] == list(audio.CONTOURS)


@pytest.mark.parametrize("pitch", [90.0, 150.0, 280.0])
def test_pitch_is_found(pitch: float) -> None:
    assert value(vowel(1.0, pitch), "F0_median") == pytest.approx(pitch, rel=0.01)


def test_slope_of_pitch_is_hertz_a_second() -> None:
    time = np.arange(2 * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 40 * time) / RATE
    glide = 0.1 * np.sum([np.sin(k * phase) / k for k in range(1, 15)], axis=0)
    assert value(glide.astype(np.float32), "F0_slope") == pytest.approx(40, rel=0.05)


def test_louder_is_louder_and_voice_is_voiced() -> None:
    quiet, loud = vowel(0.5, loudness=0.02), vowel(0.5, loudness=0.2)
    assert value(loud, "loudness_mean") > 1.5 * value(quiet, "loudness_mean")
    assert value(loud, "voicing_mean") > value(noise(8000), "voicing_mean") + 0.2


def test_functionals_equal_numpy_over_the_contours() -> None:
    import opensmile

    signal = np.concatenate([vowel(0.6), noise(4000), vowel(0.5, 210)])
    contours = opensmile.Smile(str(audio.CONFIGURATION), "contours")(signal, RATE)[0].astype(float)
    voiced = contours[0] > 0
    assert 0 < voiced.sum() < len(voiced)
    expected: list[float] = []
    masks = [voiced, contours[1] != 0, *[voiced | True] * 3]
    for contour, counts in zip(contours, masks, strict=True):
        x, time = contour[counts], np.arange(len(contour))[counts] * 0.01
        third = ((x - x.mean()) ** 3).mean() / x.std() ** 3
        percentiles = np.percentile(x, [5, 50, 95])
        expected += [x.mean(), x.std(), third, *percentiles, np.polyfit(time, x, 1)[0]]
    np.testing.assert_allclose(audio.prosody(signal, RATE), expected, rtol=1e-5, atol=1e-6)


def test_full_scale_samples_do_not_wrap_around() -> None:
    square = np.where(vowel(0.5) > 0, 1.0, -1.0).astype(np.float32)
    expected = value(square * np.float32(0.999), "loudness_mean")
    assert value(square, "loudness_mean") == pytest.approx(expected, rel=0.01)


@given(st.integers(1, 3000), st.sampled_from(["silence", "noise", "vowel", "constant"]))
@settings(max_examples=25, deadline=None)
def test_prosody_of_any_short_sound_is_finite(samples: int, kind: str) -> None:
    sounds = {
        "silence": np.zeros(samples, np.float32),
        "noise": noise(samples),
        "vowel": vowel(0.2)[:samples],
        "constant": np.full(samples, 0.5, np.float32),
    }
    assert np.isfinite(audio.prosody(sounds[kind], RATE)).all()


def test_silence_has_no_pitch_and_no_spread() -> None:
    silence = np.zeros(8000, np.float32)
    values = dict(zip(audio.PROSODY_NAMES, audio.prosody(silence, RATE), strict=True))
    assert values["loudness_mean"] < 0.01
    assert {name for name, x in values.items() if x and not name.startswith("loudness_")} == set()
    assert values["loudness_deviation"] == values["loudness_slope"] == 0


def test_prosody_leaves_no_file_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    audio.prosody(vowel(0.3), 11025)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


# The extractor


@pytest.fixture
def rows(tmp_path: Path) -> pd.DataFrame:
    """Write a dialog: good, short, corrupt, no recording, good again, too long, a bit cut."""
    soundfile.write(tmp_path / "0.wav", vowel(0.5), RATE)
    soundfile.write(tmp_path / "1.wav", noise(100), RATE)
    (tmp_path / "2.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "4.wav", noise(4000), RATE)
    soundfile.write(tmp_path / "5.wav", noise(60 * RATE), RATE)
    soundfile.write(tmp_path / "6.wav", noise(RATE), RATE)
    cut(tmp_path / "6.wav", 44 + 31_000)
    names = [f"Ses01F_impro01_F{i:03}" for i in range(7)]
    files = ["0.wav", "1.wav", "2.wav", "", "4.wav", "5.wav", "6.wav"]
    starts = np.array([0.5, 2.0, 3.5, 5.0, 6.5, 8.0, 9.5])
    lengths = [0.5, 0.00625, 1.0, 1.0, 0.25, 1.4, 1.0]
    times = {"start": starts, "end": starts + lengths}
    return pd.DataFrame({"utterance": names, "dialog": "Ses01F_impro01", **times, "audio": files})


def test_a_dialog_with_bad_recordings(tmp_path: Path, rows: pd.DataFrame) -> None:
    arrays, problems = audio.AudioExtractor(SETTINGS, tmp_path).dialog(rows)
    assert arrays["mfcc/lengths"].tolist() == [48, 1, 0, 0, 23, 0, 95]
    assert arrays["mfcc/lengths"].dtype == np.int64
    assert arrays["mfcc/values"].shape == (167, 120)
    assert arrays["mfcc/values"].dtype == arrays["prosody/values"].dtype == np.float32
    assert arrays["prosody/values"].shape == (7, 35)
    assert arrays["prosody/values"].any(axis=1).tolist() == [
        True,
        True,
        *[False] * 2,
        True,
        False,
        True,
    ]
    signal, _ = soundfile.read(tmp_path / "4.wav", dtype="float32")
    np.testing.assert_array_equal(arrays["mfcc/values"][49:72], audio.mfcc(signal, SETTINGS))
    reasons = {problem.utterance[-3:]: problem.reason for problem in problems}
    assert list(reasons) == ["002", "003", "005", "006"]
    assert reasons["002"].startswith("2.wav: cannot be read as audio")
    assert reasons["005"] == "5.wav: lasts 60.00 s, its label says 1.40 s; left out"
    assert reasons["006"] == (
        "6.wav: its header promises 32,000 bytes of sound, 31,000 are there; "
        "kept, since its length is the label's"
    )
    assert str(tmp_path) not in str(reasons)


def test_a_copy_sent_to_another_process_gives_the_same_bytes(
    tmp_path: Path, rows: pd.DataFrame
) -> None:
    extractor = audio.AudioExtractor(SETTINGS, tmp_path)
    arrays, _ = extractor.dialog(rows)
    again, _ = pickle.loads(pickle.dumps(extractor)).dialog(rows)
    for name, array in arrays.items():
        assert array.tobytes() == again[name].tobytes()


def test_identity_knows_what_decides_the_values(tmp_path: Path) -> None:
    extractor = audio.AudioExtractor(SETTINGS, tmp_path)
    identity = extractor.identity()
    assert identity["parameters"]["mfcc"] == 40
    assert {"librosa", "opensmile", "soundfile", "soxr"} <= set(identity["versions"])
    assert len(identity["prosody.conf"]) == 64
    assert str(tmp_path) not in str(identity)
    other = SETTINGS.model_copy(update={"step": 0.02})
    assert audio.AudioExtractor(other, tmp_path).identity() != identity


def test_sources_and_constants(tmp_path: Path, rows: pd.DataFrame) -> None:
    extractor = audio.AudioExtractor(SETTINGS, tmp_path)
    expected = [tmp_path / name for name in rows["audio"] if name]
    assert extractor.sources(rows) == expected
    assert extractor.constants()["prosody/names"].tolist() == list(audio.PROSODY_NAMES)
