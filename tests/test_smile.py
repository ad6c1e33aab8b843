"""openSMILE's standard sets: names, shapes, times, and signals at the edges."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import opensmile
import pytest

from pipeline import params
from pipeline.corpus.utterance import Source, Utterance
from pipeline.features.smile import Smile, prepared
from tests.extractors import DIALOG, RATE, audio_context, heard, vowel

SETS = {"eGeMAPSv02": (88, 25), "ComParE_2016": (6373, 65)}
LEVELS = ("Functionals", "LowLevelDescriptors")


def smile(feature_set: str = "eGeMAPSv02", level: str = "Functionals") -> Smile:
    chosen: Any = {"feature_set": feature_set, "feature_level": level}
    return Smile(**chosen)


@pytest.mark.parametrize("feature_set", SETS)
def test_values_are_those_of_opensmile_itself(tmp_path: Path, feature_set: str) -> None:
    signal = vowel(1.0)
    own = opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel.Functionals)
    steps = heard(tmp_path, smile(feature_set), signal)
    np.testing.assert_array_equal(steps.values, own(signal, RATE).ravel())
    assert smile(feature_set).names() == own.feature_names
    assert len(steps.values) == SETS[feature_set][0] and not steps.problem


@pytest.mark.parametrize("feature_set", SETS)
def test_low_level_descriptors_are_a_sequence_with_times(tmp_path: Path, feature_set: str) -> None:
    steps = heard(tmp_path, smile(feature_set, LEVELS[1]), vowel(1.0))
    assert steps.values.shape[1] == SETS[feature_set][1]
    assert 90 < len(steps.values) <= 100
    assert steps.times is not None
    np.testing.assert_allclose(steps.times, 0.03 + 0.01 * np.arange(len(steps.values)))
    assert steps.times[-1] < 1.0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("samples", [1, 400, 959, 1600])
def test_the_shortest_signals_have_finite_values(tmp_path: Path, level: str, samples: int) -> None:
    steps = heard(tmp_path, smile(level=level), vowel(0.2)[:samples])
    assert len(steps.values) and np.isfinite(steps.values).all()


@pytest.mark.parametrize("level", LEVELS)
def test_silence_and_full_scale_have_finite_values(tmp_path: Path, level: str) -> None:
    for signal in (np.zeros(RATE, np.float32), 3 * np.sign(vowel(0.5))):
        steps = heard(tmp_path, smile(level=level), signal)
        assert np.isfinite(steps.values).all() and steps.values.dtype == np.float32


def test_a_signal_is_filled_up_and_kept_within_16_bits() -> None:
    found = prepared(np.array([2.0, -2.0, 0.5], np.float32), RATE)
    assert len(found) == RATE // 10
    np.testing.assert_array_equal(found[:4], np.array([32767 / 32768, -1, 0.5, 0], np.float32))


@pytest.mark.parametrize("level", LEVELS)
def test_without_a_recording_there_is_nothing(tmp_path: Path, level: str) -> None:
    lost = Utterance("U", DIALOG, 0.0, 1.0, audio=Source("gone.wav"))
    (steps,) = smile(level=level).extract([lost], {}, audio_context(tmp_path))
    assert "gone.wav" in steps.problem
    if level == "Functionals":
        assert steps.values.shape == (88,) and np.isnan(steps.values).all()
    else:
        assert steps.values.shape == (0, 25)


def test_it_is_sent_to_another_process(tmp_path: Path) -> None:
    signal = vowel(0.3)
    again = pickle.loads(pickle.dumps(smile()))
    np.testing.assert_array_equal(
        heard(tmp_path, smile(), signal).values, heard(tmp_path, again, signal).values
    )


def test_other_names_are_refused_with_those_there_are() -> None:
    raw = params.read_yaml(Path(__file__).parents[1] / "params.yaml")
    raw["audio"]["streams"]["own"] = {"extractor": "opensmile", "feature_set": "IS09"}
    with pytest.raises(params.ParamsError, match=r"own.feature_set: .*'eGeMAPSv02' or 'ComParE"):
        params.parse(raw)
