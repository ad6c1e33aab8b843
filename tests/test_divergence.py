"""Training that diverges stops and says so; nothing not finite is kept, evaluated or drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.synthetic import make_store
from pipeline import InputError
from pipeline.evaluation import prediction
from pipeline.models.classifier import Classifier
from pipeline.report import drawing, examples, figures
from pipeline.store import FeatureStore
from pipeline.store.inputs import of_model
from pipeline.training import fitting, folds
from pipeline.training.fitting import DivergedError
from tests.test_report import heights
from tests.test_training import fitted, of, planned, settings
from tests.trained import make_models


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with FeatureStore(make_store(tmp_path_factory.mktemp("divergence"))) as opened:
        yield opened


def test_training_stops_where_it_diverges_and_keeps_nothing_of_it(
    store: FeatureStore, tmp_path: Path
) -> None:
    """The first step is taken with sound weights; the second cannot be."""
    chosen = of("train", learning_rate=1e30, seeds=[0, 4])
    job = planned(store.path, tmp_path, chosen)[3]
    words = r"fold 2 seed 4: the training loss is (nan|inf) at step [2-4] \(learning rate 1e\+30\)"
    with pytest.raises(DivergedError, match=f"{words}.*lower train.learning_rate"):
        folds.train_fold(job)
    assert not job.weights.exists()
    assert job.checkpoint.load() is None
    assert list(job.curves.rglob("*.tsv")) == []


def test_an_epoch_that_diverges_leaves_the_checkpoint_before_it(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = of("train", schedule="plateau", patience=3)
    job = planned(store.path, tmp_path, chosen)[0]
    rates = iter([0.01] * 12)  # three batches an epoch
    monkeypatch.setattr(fitting, "learning_rate", lambda *_: next(rates, 1e30))
    said = []
    for _ in range(2):  # the second time from the checkpoint
        with pytest.raises(DivergedError, match=r"fold 1: the .* at step 1[345] ") as error:
            folds.train_fold(job)
        said.append(str(error.value))
        rates = iter([])
        state = job.checkpoint.load()
        assert state is not None and state["progress"]["step"] == 12
        assert all(torch.isfinite(value).all() for value in state["weights"].values())
    assert said[0] == said[1]


@pytest.mark.parametrize(("name", "words"), [("glove", "inputs.glove.weight"), ("resnet", "loss")])
def test_weights_that_no_training_loss_shows_are_seen_at_the_validation(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    """The last step of an epoch spoils a word that no utterance has, or what all depends on."""
    learn = fitting.Run.learn

    def spoilt(self: fitting.Run, *arguments) -> float:
        loss = learn(self, *arguments)
        with torch.no_grad():
            if name == "glove":
                self.classifier.get_parameter("inputs.glove.weight")[0, 0] = torch.nan
            elif self.progress.step == 2:
                next(self.classifier.model.parameters()).fill_(torch.inf)
        return loss

    monkeypatch.setattr(fitting.Run, "learn", spoilt)
    dataset = of_model(store, settings().model, settings().train.max_steps)
    with pytest.raises(DivergedError, match=rf"{words} is .* at step 3 "):
        fitted(dataset, settings(), np.arange(21), np.arange(21, 28))


def test_a_model_that_diverges_ends_the_run_and_loses_no_other(
    store: FeatureStore, tmp_path: Path
) -> None:
    """In real processes; the second of three models diverges, the third is not begun."""
    first, second, third = planned(store.path, tmp_path, of("train", epochs=2))[:3]
    second = dataclasses.replace(second, train=of("train", learning_rate=1e30).train)
    with pytest.raises(InputError, match=r"^fold 2: the training loss is"):
        folds.train_folds([first, second, third], 1)
    assert first.weights.is_file()
    state = first.checkpoint.load()
    assert state is not None and state["progress"]["finished"]
    assert not third.curves.exists()


def test_a_model_of_an_older_version_that_is_not_finite_is_not_evaluated(
    store: FeatureStore, tmp_path: Path
) -> None:
    make_models(store, tmp_path)
    path = tmp_path / "fold-3.safetensors"
    classifier = Classifier.load(path)
    with torch.no_grad():
        classifier.model.classifier.bias.fill_(torch.nan)
    classifier.save(path)
    with pytest.raises(
        InputError, match=r"fold-3.safetensors: .*Ses0\dF.* not finite; lower train"
    ):
        prediction.test_folds(store, tmp_path, torch.device("cpu"))


def test_a_hop_that_is_not_finite_is_not_drawn() -> None:
    track = examples.Track("text", "glove", 0, words=["so", "it", "is"])
    hops = [("text", np.array([0.2, np.nan, 0.5])), ("text", np.array([0.2, 0.3, 0.5]))]
    drawn = drawing.figure(examples.AttentionView(1.0, hops, [track]))
    assert drawn is not None
    assert heights(drawn.axes[0]) == [0.2, 0.3, 0.5]
    assert drawn.axes[0].get_legend_handles_labels()[1] == ["hop 2"]
    assert drawing.figure(examples.AttentionView(1.0, hops[:1], [track])) is None


def test_an_emotion_without_attention_has_no_number() -> None:
    """Its utterances have one step each, so nothing says where a hop looked."""
    rows = [
        {"hop": 1, "target": "text", "emotion": name, "entropy": value, "position": value}
        for name, value in (("all", 0.5), ("ang", 0.5), ("sad", np.nan))
    ]
    profile = pd.DataFrame({"hop": 1, "emotion": "all", "bin": [0, 1], "weight": [0.4, 0.6]})
    drawn = figures.attention(pd.DataFrame(rows), profile, ["ang", "sad"])
    assert [text.get_text() for text in drawn.axes[0].texts] == ["0.50", "0.50"]


def test_losses_that_are_not_finite_are_not_drawn(tmp_path: Path) -> None:
    lines = pd.DataFrame(
        {
            "fold": 1,
            "epoch": [1.0, 2.0],
            "train/loss": [np.nan, np.nan],
            "development/loss": [1.0, np.inf],
            "development/weighted_accuracy": [0.5, 0.4],
        }
    )
    drawn = figures.curves(lines)
    figures.save(drawn, tmp_path / "curves.png")
    assert np.isfinite([axes.get_ylim() for axes in drawn.axes]).all()
