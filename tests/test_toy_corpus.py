"""Another corpus is one short file and one line: from a folder to a report."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from pipeline import InputError, params
from pipeline.corpus.table import read_table
from pipeline.registry import CORPORA, Corpus
from pipeline.store import FeatureStore
from stages import audio, evaluate, parse, store, text, train, visual, weights

ROOT = Path(__file__).parents[1]
SPEAKERS = ("aF", "aM", "bF", "bM", "cF", "cM")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recordings, parameters of the toy corpus, and an entry in the registry."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CORPORA, "toy", Corpus("tests.toy:Toy"))
    noise = np.random.default_rng(0)
    (tmp_path / "corpus").mkdir()
    for speaker in SPEAKERS:
        for emotion, pitch in (("joy", 440), ("rage", 110)):
            for number in range(3):
                time = np.arange(8000) / 16000
                sound = 0.3 * np.sin(2 * np.pi * pitch * time) + noise.normal(0, 0.01, len(time))
                soundfile.write(f"corpus/{speaker}-{emotion}-{number}.wav", sound, 16000)
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw["corpus"] = {"name": "toy", "root": "corpus", "format": "toy"}
    raw["audio"]["streams"] = {"mfcc": raw["audio"]["streams"]["mfcc"]}
    raw["text"]["streams"] = raw["visual"]["streams"] = {}
    raw["labels"]["scheme"] = "both"
    raw["split"]["protocol"] = "pair"
    raw["model"] |= {"modalities": ["audio"], "hops": 1}
    raw["train"]["epochs"] = 2
    raw["compute"] |= {"workers": 1, "parallel_folds": 1}
    write(raw)
    (tmp_path / "data/interim").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    return tmp_path


def write(raw: dict) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")


def test_the_reader_is_short() -> None:
    assert len((ROOT / "tests/toy.py").read_text(encoding="utf-8").splitlines()) <= 40


@pytest.mark.slow
def test_from_a_folder_to_a_report(project: Path) -> None:
    for stage in (parse, weights, audio, text, visual, store, train, evaluate):
        stage.main()
    table = read_table("data/interim/toy/utterances.csv")
    assert table["group"].unique().tolist() == ["a", "b", "c"]
    assert json.loads(Path("data/interim/toy/parse.json").read_text())["by_group"] == {
        **{"a": 12, "b": 12, "c": 12}
    }
    with FeatureStore("data/features/toy") as opened:
        assert opened.description.title == "Toy" and opened.categories == []
    page = Path("results/report.html").read_text(encoding="utf-8")
    assert "leave one pair out; 3 folds: no speaker is in two parts of a fold" in page
    assert "Labelled utterances by pair and class." in page and "Speakers and pairs" in page
    assert re.search(r"36 utterances in 36 dialogs of 3 pairs", page)
    assert "session" not in page.lower()


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("labels", "scheme", "seven", "labels.scheme is seven; Toy has both, or write a mapping"),
        (
            "split",
            "protocol",
            "session",
            "there are pair, pairs, group, groups, speaker, speakers, official, random, file",
        ),
        ("corpus", "iemocap", {"marked_actor": "left"}, None),
        ("corpus", "toy", {"side": 1}, "corpus.toy.side: no such key; allowed are "),
    ],
)
def test_parameters_are_those_of_the_corpus(
    project: Path, group: str, key: str, value: object, message: str | None
) -> None:
    raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    raw[group][key] = value
    write(raw)
    if message is None:  # of another corpus, which may be the next one
        assert params.load().corpus.format == "toy"
    else:
        with pytest.raises(params.ParamsError, match=message):
            params.load()


def test_an_error_of_the_reader_is_the_stages(project: Path) -> None:
    shutil.rmtree("corpus")
    Path("corpus").mkdir()
    with pytest.raises(InputError, match="corpus: holds no <speaker>-<emotion>-<number>.wav"):
        parse.main()
