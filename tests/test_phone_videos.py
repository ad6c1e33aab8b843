"""Five phone videos and a list of five lines, from the folder to the report, by the recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from pipeline import InputError, params
from pipeline.store import FeatureStore
from pipeline.system.torchvision_shim import torchvision_operators
from stages import audio, evaluate, parse, store, text, train, visual, weights
from tests.standins import make_phone

torchvision_operators()
from torchvision import models  # noqa: E402

ROOT = Path(__file__).parents[1]
STAGES = (parse, weights, audio, text, visual, store, train, evaluate)


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The recipe, with a network of random weights in a file, and short training."""
    monkeypatch.chdir(tmp_path)
    make_phone(tmp_path / "phone")
    torch.manual_seed(0)
    torch.save(models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    raw = yaml.safe_load((ROOT / "recipes/listed.yaml").read_text(encoding="utf-8"))
    raw["corpus"]["root"] = "phone"
    raw["text"]["streams"] = {}
    raw["visual"]["streams"]["resnet"]["weights"] = "resnet18.pth"
    raw["model"] |= {"modalities": ["audio", "video"], "hops": 2}
    raw["train"]["epochs"] = 2
    raw["compute"] |= {"workers": 1, "parallel_folds": 1}
    for folder in ("data/interim", "results"):
        (tmp_path / folder).mkdir(parents=True)
    return raw


def write(raw: dict) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")


@pytest.mark.slow
def test_from_a_folder_to_a_report(raw: dict) -> None:
    write(raw)
    for stage in STAGES:
        stage.main()
    report = json.loads(Path("data/interim/mine/parse.json").read_text())
    assert report["utterances"] == 5 and report["reasons"] == {}
    with FeatureStore("data/features/mine") as opened:
        assert opened.description.modalities == ("audio", "video")
        for name in ("mfcc", "prosody", "resnet"):
            stream = opened.stream(name)
            assert not stream.missing.any() and not list(stream.problems)
    page = Path("results/report.html").read_text(encoding="utf-8")
    assert "leave one group out; 3 folds: no speaker is in two parts of a fold" in page
    assert page.count("data:image") > 3  # waveforms and frames


@pytest.mark.slow
def test_a_model_of_what_the_list_lacks_is_refused(raw: dict) -> None:
    raw["visual"]["streams"] = {}
    # any stream will do, since it is not read
    raw["model"] |= {"modalities": ["audio", "text"]}
    raw["model"]["streams"]["text"] = "prosody"
    write(raw)
    refused = "names text, which the listed corpus lacks; it has audio"
    with pytest.raises(InputError, match=refused):
        parse.main()  # before anything is extracted
    raw["model"]["modalities"] = ["audio"]
    write(raw)
    for stage in STAGES[:6]:
        stage.main()
    raw["model"]["modalities"] = ["audio", "text"]  # changed since
    write(raw)
    with pytest.raises(InputError, match=refused):
        train.main()


@pytest.mark.parametrize(("recipe", "title", "has"), [("emodb", "EmoDB", "audio")])
def test_a_model_of_what_a_corpus_lacks_is_refused(recipe: str, title: str, has: str) -> None:
    raw = yaml.safe_load((ROOT / f"recipes/{recipe}.yaml").read_text(encoding="utf-8"))
    raw["model"]["modalities"] = ["audio", "text", "video"]
    message = f"model.modalities names text, video, which {title} lacks; it has {has}"
    with pytest.raises(params.ParamsError, match=message):
        params.parse(raw)
