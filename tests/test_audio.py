"""MFCC and prosody of recordings, against their definitions."""

from __future__ import annotations

import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct

from pipeline.corpus.utterance import Source, Utterance
from pipeline.features.extractor import Extractor
from pipeline.features.mfcc import Mfcc
from pipeline.features.prosody import CONFIGURATION, CONTOURS, NAMES, Prosody
from tests.extractors import DIALOG, RATE, audio_context, heard, noise, recorded, vowel
from tests.test_recording import cut

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
def test_mfcc_equal_their_definition(tmp_path: Path, samples: int) -> None:
    signal = noise(samples)
    values = heard(tmp_path, Mfcc(), signal).values
    assert values.dtype == np.float32
    assert values.shape == (max(1 + (samples - 400) // 160, 1), 120)
    np.testing.assert_allclose(values, reference_mfcc(signal), atol=2e-3)


def test_mfcc_frame_sees_its_own_window_only(tmp_path: Path) -> None:
    signal = noise(RATE)
    changed = signal.copy()
    changed[4000:] = 0
    last = 1 + (4000 - 400) // 160  # frames that end before the change
    whole, cut = (heard(tmp_path, Mfcc(), x).values[:, :40] for x in (signal, changed))
    np.testing.assert_array_equal(whole[:last], cut[:last])
    assert not np.allclose(whole[last], cut[last])


def test_mfcc_of_silence_are_finite(tmp_path: Path) -> None:
    values = heard(tmp_path, Mfcc(), np.zeros(1000, np.float32)).values
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values[:, 0], -100 * np.sqrt(40), rtol=1e-5)  # the floor in dB
    np.testing.assert_allclose(values[:, 1:], 0, atol=1e-3)


@pytest.mark.parametrize(("rate", "coefficients"), [(8000, 13), (16000, 128), (44100, 80)])
@pytest.mark.filterwarnings("error")  # librosa warns of empty mel bands
def test_mfcc_at_other_settings(tmp_path: Path, rate: int, coefficients: int) -> None:
    steps = heard(tmp_path, Mfcc(coefficients=coefficients), noise(rate), rate)
    assert steps.values.shape == (98, 3 * coefficients)


@pytest.mark.filterwarnings("error")
def test_short_windows_leave_no_mel_band_empty(tmp_path: Path) -> None:
    steps = heard(tmp_path, Mfcc(window=0.004, step=0.004), noise(640))
    assert steps.values.shape == (10, 120) and np.isfinite(steps.values).all()


def test_mfcc_times_are_the_middles_of_the_windows_in_the_utterance(tmp_path: Path) -> None:
    utterance = recorded(tmp_path, noise(RATE), start=61.5)
    extractor = Mfcc(window=0.05, step=0.02)
    (steps,) = extractor.extract([utterance], {}, audio_context(tmp_path))
    assert steps.times is not None and steps.times.dtype == np.float64
    np.testing.assert_allclose(steps.times, 0.025 + 0.02 * np.arange(len(steps.values)))
    assert 0.9 < steps.times[-1] < utterance.end - utterance.start


def test_a_step_may_be_a_window_but_no_longer() -> None:
    assert Mfcc(window=0.02, step=0.02).step == 0.02
    with pytest.raises(ValueError, match=r"step \(0.03\) must not exceed window \(0.02\)"):
        Mfcc(window=0.02, step=0.03)


# Prosody


def prosody(folder: Path, signal: np.ndarray, rate: int = RATE) -> np.ndarray:
    return heard(folder, Prosody(), signal, rate).values


def value(folder: Path, signal: np.ndarray, name: str) -> float:
    return float(prosody(folder, signal)[NAMES.index(name)])


def test_prosody_has_35_names_in_the_order_of_the_configuration() -> None:
    import opensmile

    names = Prosody().names()
    assert len(names) == len(set(names)) == 35
    assert {"F0_mean", "voicing_deviation", "loudness_delta_p95"} <= set(names)
    contours = opensmile.Smile(str(CONFIGURATION), "contours").feature_names
    assert [name.replace("_sma", "") for name in contours] == list(CONTOURS)


@pytest.mark.parametrize("pitch", [90.0, 150.0, 280.0])
def test_pitch_is_found(tmp_path: Path, pitch: float) -> None:
    assert value(tmp_path, vowel(1.0, pitch), "F0_median") == pytest.approx(pitch, rel=0.01)


def test_slope_of_pitch_is_hertz_per_second(tmp_path: Path) -> None:
    rising = vowel(2.0, 120, glide=40)
    assert value(tmp_path, rising, "F0_slope") == pytest.approx(40, rel=0.05)


def test_louder_is_louder_and_voice_is_voiced(tmp_path: Path) -> None:
    quiet, loud = vowel(0.5, loudness=0.02), vowel(0.5, loudness=0.2)
    loudness = [value(tmp_path, sound, "loudness_mean") for sound in (quiet, loud)]
    assert loudness[1] > 1.5 * loudness[0]
    voicing = [value(tmp_path, sound, "voicing_mean") for sound in (noise(8000), loud)]
    assert voicing[1] > voicing[0] + 0.2


def test_functionals_equal_numpy_over_the_contours(tmp_path: Path) -> None:
    import opensmile

    signal = np.concatenate([vowel(0.6), noise(4000), vowel(0.5, 210)])
    contours = opensmile.Smile(str(CONFIGURATION), "contours")(signal, RATE)[0].astype(float)
    voiced = contours[0] > 0
    assert 0 < voiced.sum() < len(voiced)
    expected: list[float] = []
    masks = [voiced, contours[1] != 0, *[voiced | True] * 3]
    for contour, counts in zip(contours, masks, strict=True):
        x, time = contour[counts], np.arange(len(contour))[counts] * 0.01
        third = ((x - x.mean()) ** 3).mean() / x.std() ** 3
        percentiles = np.percentile(x, [5, 50, 95])
        expected += [x.mean(), x.std(), third, *percentiles, np.polyfit(time, x, 1)[0]]
    np.testing.assert_allclose(prosody(tmp_path, signal), expected, rtol=1e-5, atol=1e-6)


def test_full_scale_samples_do_not_wrap_around(tmp_path: Path) -> None:
    square = np.where(vowel(0.5) > 0, 1.0, -1.0).astype(np.float32)
    expected = value(tmp_path, square * np.float32(0.999), "loudness_mean")
    assert value(tmp_path, square, "loudness_mean") == pytest.approx(expected, rel=0.01)


@given(st.integers(1, 3000), st.sampled_from(["silence", "noise", "vowel", "constant"]))
@settings(max_examples=25, deadline=None)
def test_prosody_of_any_short_sound_is_finite(samples: int, kind: str) -> None:
    sounds = {
        "silence": np.zeros(samples, np.float32),
        "noise": noise(samples),
        "vowel": vowel(0.2)[:samples],
        "constant": np.full(samples, 0.5, np.float32),
    }
    with TemporaryDirectory() as folder:
        steps = heard(Path(folder), Prosody(), sounds[kind])
    assert np.isfinite(steps.values).all()
    assert not steps.problem or "nothing but silence" in steps.problem


def test_silence_has_no_pitch_and_no_spread(tmp_path: Path) -> None:
    silence = np.zeros(8000, np.float32)
    values = dict(zip(NAMES, prosody(tmp_path, silence), strict=True))
    assert values["loudness_mean"] < 0.01
    assert {name for name, x in values.items() if x and not name.startswith("loudness_")} == set()
    assert values["loudness_deviation"] == values["loudness_slope"] == 0


def test_prosody_leaves_no_file_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("sounds", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    prosody(tmp_path / "sounds", vowel(0.3), 11025)
    assert not list((tmp_path / "here").iterdir())
    assert capfd.readouterr() == ("", "")


# Both


@pytest.fixture
def dialog(tmp_path: Path) -> list[Utterance]:
    """Write a dialog: good, short, corrupt, no recording, good again, too long, a bit cut."""
    soundfile.write(tmp_path / "0.wav", vowel(0.5), RATE)
    soundfile.write(tmp_path / "1.wav", noise(100), RATE)
    (tmp_path / "2.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "4.wav", noise(4000), RATE)
    soundfile.write(tmp_path / "5.wav", noise(60 * RATE), RATE)
    soundfile.write(tmp_path / "6.wav", noise(RATE), RATE)
    cut(tmp_path / "6.wav", 44 + 31_000)
    lengths = [0.5, 0.00625, 1.0, 1.0, 0.25, 1.4, 1.0]
    starts = [0.5 + 1.5 * number for number in range(len(lengths))]
    return [
        Utterance(
            id=f"{DIALOG}_F{number:03}",
            dialog=DIALOG,
            start=start,
            end=start + length,
            audio=None if number == 3 else Source(f"{number}.wav"),
        )
        for number, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]


EXTRACTORS = [Mfcc(), Prosody()]
both = pytest.mark.parametrize("extractor", EXTRACTORS, ids=["mfcc", "prosody"])


@both
def test_bad_recordings_are_told_and_have_no_values(
    tmp_path: Path, dialog: list[Utterance], extractor: Extractor
) -> None:
    found = extractor.extract(dialog, {}, audio_context(tmp_path))
    assert {steps.values.dtype for steps in found} == {np.dtype(np.float32)}
    if extractor.kind == "sequence":
        assert [steps.values.shape for steps in found] == [
            (length, 120) for length in (48, 1, 0, 0, 23, 0, 95)
        ]
    else:
        assert [steps.values.shape for steps in found] == [(35,)] * 7
        missing = [bool(np.isnan(steps.values).all()) for steps in found]
        assert missing == [False, False, True, True, False, True, False]
        assert np.isfinite([found[i].values for i in (0, 1, 4, 6)]).all()
    reasons = {number: steps.problem for number, steps in enumerate(found) if steps.problem}
    assert list(reasons) == [2, 3, 5, 6]
    assert reasons[2].startswith("2.wav: cannot be read as audio")
    assert reasons[3] == "there is no recording of it"
    assert reasons[5] == "5.wav: lasts 60.00 s, its label says 1.40 s; left out"
    assert reasons[6] == (
        "6.wav: its header promises 32,000 bytes of sound, 31,000 are there; "
        "kept, since its length is the label's"
    )
    assert str(tmp_path) not in str(reasons)


@both
def test_an_utterance_is_the_same_alone_and_beside_others(
    tmp_path: Path, dialog: list[Utterance], extractor: Extractor
) -> None:
    context = audio_context(tmp_path)
    together = extractor.extract(dialog, {}, context)
    for utterance, steps in zip(dialog, together, strict=True):
        (alone,) = extractor.extract([utterance], {}, context)
        assert alone.values.tobytes() == steps.values.tobytes()


@both
def test_a_copy_sent_to_another_process_gives_the_same_bytes(
    tmp_path: Path, dialog: list[Utterance], extractor: Extractor
) -> None:
    context = audio_context(tmp_path)
    first = extractor.extract(dialog, {}, context)
    again = pickle.loads(pickle.dumps(extractor)).extract(dialog, {}, context)
    for one, other in zip(first, again, strict=True):
        assert one.values.tobytes() == other.values.tobytes()


@both
def test_identity_knows_what_decides_the_values(tmp_path: Path, extractor: Extractor) -> None:
    context = audio_context(tmp_path)
    identity = extractor.identity(context)
    assert identity["extractor"] == extractor.extractor
    assert identity["version"] == extractor.version
    assert identity["parameters"]["sampling_rate"] == RATE
    assert str(tmp_path) not in str(identity)
    assert extractor.identity(audio_context(tmp_path, 8000)) != identity
    packed = extractor.model_copy(update={"compression": "gzip"})
    assert packed.identity(context) == identity
    versions = extractor.provenance(context)["versions"]
    library = "librosa" if extractor.extractor == "mfcc" else "opensmile"
    assert {library, "soundfile", "soxr"} <= set(versions)


def test_identity_of_each_has_its_own(tmp_path: Path) -> None:
    context = audio_context(tmp_path)
    assert Mfcc().identity(context)["parameters"]["coefficients"] == 40
    assert Mfcc(step=0.02).identity(context) != Mfcc().identity(context)
    assert len(Prosody().identity(context)["weights"]["prosody.conf"]) == 64
