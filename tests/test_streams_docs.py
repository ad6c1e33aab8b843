"""The extractor of docs/streams.md: its file and its line of the registry, taken from the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from pipeline import params
from pipeline.corpus.utterance import Source, Utterance
from pipeline.features.extractor import Context
from pipeline.registry import EXTRACTORS, Extractor
from tests.documented import register

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/streams.md").read_text(encoding="utf-8")


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The documented file as a module of that name, and the documented line in the registry."""
    return register(
        PAGE,
        "pipeline.features",
        tmp_path,
        monkeypatch,
        kind=Extractor,
        registry=EXTRACTORS["audio"],
    )


def test_the_documented_extractor_is_a_stream(registered: str, tmp_path: Path) -> None:
    raw = params.read_yaml(ROOT / "params.yaml")
    raw["audio"]["streams"]["loud"] = {"extractor": registered, "window": 0.25}
    settings = params.parse(raw)
    rate = settings.audio.sampling_rate
    levels = np.repeat([0.1, 0.5, 0.2], rate // 4)
    soundfile.write(tmp_path / "a.wav", levels, rate, subtype="FLOAT")
    utterance = Utterance("a", "d", start=2.0, end=2.75, audio=Source("a.wav"))
    silent = Utterance("b", "d", start=3.0, end=4.0)
    context = Context(tmp_path, "cpu", settings.audio)
    stream = settings.audio.streams["loud"]
    heard, missing = stream.extract([utterance, silent], {}, context)
    np.testing.assert_allclose(heard.values, [[0.1], [0.5], [0.2]], rtol=1e-5)
    np.testing.assert_allclose(heard.times, [0.125, 0.375, 0.625])
    assert missing.values.shape == (0, 1) and "no recording" in missing.problem
    assert stream.identity(context)["parameters"]["window"] == 0.25
    raw["audio"]["streams"]["loud"] = {"extractor": registered, "windows": 1}
    with pytest.raises(params.ParamsError, match=r"streams.loud.windows: no such key \(did you"):
        params.parse(raw)


def test_the_page_lists_every_extractor_with_its_parameters() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|(.*)\|$", PAGE, re.MULTILINE)
    described = {(of, name): text for name, of, text in rows}
    for modality, extractors in EXTRACTORS.items():
        for name, entry in extractors.items():
            text = described.get((modality, name)) or described["any", name]
            own = set(entry.load().model_fields) - {"extractor", "dtype", "compression"}
            assert own <= set(re.findall(r"`(\w+)`", text))
    there = {(of, name) for of, extractors in EXTRACTORS.items() for name in extractors}
    assert set(described) <= there | {("any", "external")}


def test_the_settings_of_the_page_are_valid() -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    raw = params.read_yaml(ROOT / "params.yaml")
    for group, values in yaml.safe_load(shown).items():
        raw[group] |= values
    assert params.parse(raw).audio.streams["coarse"].coefficients == 13
