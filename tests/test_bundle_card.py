"""The card of a bundle says only what is recorded, and its code runs, as does that of the page."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pandas as pd
import pytest

from pipeline import params
from pipeline.bundle.card import render, title
from pipeline.bundle.evaluated import Evaluated
from pipeline.bundle.writing import CARD
from pipeline.evaluation import metrics
from pipeline.predict import Predictor
from pipeline.predict.__main__ import main as predict
from pipeline.predict.loading import CONFIG
from pipeline.store import FeatureStore
from tests.bundled import ROOT, Trained


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    yield Trained(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def card(world: Trained) -> str:
    return (world.bundle / CARD).read_text(encoding="utf-8")


@pytest.fixture
def workplace(world: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the card and the page speak of."""
    (tmp_path / "data/weights").mkdir(parents=True)
    places: dict[str, Path | str] = {
        "bundle": world.bundle,
        "models": world.models,
        "clip.mp4": world.media / "0.mp4",
        f"data/weights/{Path(world.bert).name}": world.bert,
    }
    for name, target in places.items():
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_code_of_the_card_runs(
    card: str, world: Trained, workplace: Path, capsys: pytest.CaptureFixture
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", card, re.DOTALL | re.MULTILINE)
    variables: dict[str, Any] = {}
    exec(code, variables)
    found = variables["found"]
    assert found.emotion in capsys.readouterr().out and not found.missing
    (commands,) = re.findall(r"^```sh\n(.*?)^```", card, re.DOTALL | re.MULTILINE)
    python, option, module, *arguments = shlex.split(commands.splitlines()[1])
    assert (python, option, module) == ("python", "-m", "pipeline.predict")
    assert predict(arguments) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert printed["probabilities"] == pytest.approx(found.probabilities, abs=1e-6)
    assert "| `bert` | `model` | `bert` |" in card and "random" not in card
    (given,) = re.findall(r"`(Predictor\.load\(\"bundle\", streams=.*?\))`", card)
    given = given.replace("/path/to/it", world.bert)
    assert eval(given, {"Predictor": Predictor}).classes == list(found.probabilities)


def test_the_code_of_the_page_runs(
    world: Trained, workplace: Path, capsys: pytest.CaptureFixture
) -> None:
    page = (ROOT / "docs/predict.md").read_text(encoding="utf-8")
    for name in ("1.mp4", "2.mp4"):
        shutil.copy(workplace / "clip.mp4", workplace / name)
    found: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        exec(code, found)
    assert "video" in capsys.readouterr().out
    assert [one.utterance.speaker for one in found["found"]] == ["Ada", "Bob"]
    (workplace / "clips.csv").write_text("clip,text\nclip.mp4,ang\n", encoding="utf-8")
    ran = set()
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", "").splitlines():
            program, *arguments = shlex.split(line, comments=True)
            if program in ("hf", "make", "pip") or {"--transcribe", "--long"} & set(arguments):
                continue  # tests/test_transcribing.py and tests/test_demo.py run these
            _, module, *arguments = arguments
            if module == "pipeline.bundle":
                models, output, *options = arguments
                assert world.run(workplace / f"out-{output}", *options, models=Path(models)) == 0
            else:
                if "--end" in arguments:  # the clip lasts a second
                    arguments[arguments.index("--start") + 1] = "0.3"
                    arguments[arguments.index("--end") + 1] = "0.9"
                assert predict(arguments) == 0
            ran.add(module)
    assert ran == {"pipeline.bundle", "pipeline.predict"}


def test_every_figure_of_the_card_is_recorded(card: str, world: Trained) -> None:
    recorded, missing = world.read("metrics"), world.read("missing")
    tested = pd.read_csv(world.models / "folds.csv").query("part == 'test'")
    share = tested["emotion"].value_counts(normalize=True)
    shown = 0
    for line in card.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in recorded:
            figure = recorded[cells[0]]
            keys = ("mean", "deviation", "deviation_seeds", "ensemble")
            assert cells[1] == metrics.METRICS[cells[0]]
            assert cells[2:6] == [f"{figure[key]:.3f}" for key in keys]
            if cells[0] == "weighted_accuracy":
                assert float(cells[6]) == pytest.approx(share.max(), abs=5e-4)
        elif (key := cells[0].replace(" ", "_")) in missing:
            means = [missing[key][name]["mean"] for name in metrics.METRICS]
            assert cells[1:] == [f"{mean:.3f}" for mean in means]
        else:
            continue
        shown += 1
    assert shown == len(recorded) + len(missing) == 9
    assert f"`{share.idxmax()}`, {100 * share.max():.1f} % of the test" in card


def test_the_hub_reads_the_header(world: Trained) -> None:
    data = huggingface_hub.ModelCard.load(world.bundle / CARD).data
    recorded = world.read("metrics")
    assert [result.metric_value for result in data.eval_results] == [
        recorded[name]["mean"] for name in metrics.METRICS
    ]
    assert [result.metric_type for result in data.eval_results][:3] == [
        *("accuracy", "recall", "precision")
    ]
    assert (data.license, data.library_name) == ("other", "modality-hopping")
    assert {result.dataset_name for result in data.eval_results} == {
        "the synthetic embedded corpus"
    }
    assert data.pipeline_tag == "video-classification"
    assert {"emotion-recognition", "audio", "text", "video"} <= set(data.tags)


def test_the_card_says_what_it_stands_on(card: str) -> None:
    said = " ".join(card.split())
    for sentence in (
        "leave one session out; 5 folds: no speaker is in two parts of a fold",
        "features standardised by the training part",
        "Training stops when the development score no longer improves",
        "There is no figure of the average of all models here",
        "The corpus is synthetic. The model is a test of the program",
        "`vocabulary.json`: 4 entries, the words of the transcripts",
        "Voices and faces are personal data.",
        "Licence of the corpus: It is synthetic",
        "`hap` (happiness)",
        "trained on the synthetic embedded corpus It predicts the emotion of one utterance",
        "from its sound, words and pictures, as one of 7 classes",
        "10 utterances of 10 speakers",
    ):
        assert sentence in said, sentence
    assert "<" not in re.sub(r"```.*?```", "", card, flags=re.DOTALL)


def _rendered(world: Trained, corpus: dict[str, Any], **changed: dict[str, Any]) -> str:
    """The card with other parameters, of a corpus that is not the embedded one."""
    raw = params.read_yaml(world.params)
    raw["corpus"] = {"name": "real", "root": "data/raw/real", **corpus}
    raw["labels"]["scheme"] = {"ang": "ang", "exc": "exc"}  # every corpus takes a mapping
    raw["split"]["protocol"] = "group"
    raw["visual"]["streams"]["resnet"]["weights"] = "IMAGENET1K_V1"
    config = json.loads((world.bundle / CONFIG).read_text())
    with FeatureStore(world.store) as store:
        evaluated = Evaluated.read(world.models, world.results, store)
        for group, values in changed.items():
            evaluated.parameters[group] |= values
        config["classes"] = list(dict.fromkeys(evaluated.folds["emotion"]))
        chosen = params.parse(raw)
        config["corpus"] = title(store, chosen)
        return render(config, {}, evaluated, store, settings=chosen, name="lab/emotion")


def test_the_card_of_a_real_corpus(world: Trained) -> None:
    scheme = {"ang": "ang", "hap": "exc", "exc": "exc"}
    changed: dict[str, Any] = {"model": {"normalise": "speaker"}, "labels": {"scheme": scheme}}
    text = _rendered(world, {"format": "iemocap"}, **changed)
    assert "synthetic" not in text and "nobody" not in text
    assert "belongs to the SAIL laboratory" in text
    assert "hf download lab/emotion --local-dir bundle" in text
    assert "The speaker of a clip is unknown" in text
    assert "`exc` (happiness, excitement)" in text
    assert "- No words of the transcripts." in text


def test_a_corpus_without_a_known_licence(world: Trained) -> None:
    text = _rendered(world, {"format": "listed"})
    assert "Licence of the corpus: It is not recorded here; ask those" in text
