"""The recipes: the same keys as params.yaml, each with its source, and the published setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import params

ROOT = Path(__file__).parents[1]
IEMOCAP = ("iemocap", "iemocap-bert")
RECIPES = (*IEMOCAP, "iemocap-frozen", "emodb", "meld", "meld-words", "crema_d", "listed")
OWN = {"iemocap", "crema_d", "listed"}  # groups of formats that have parameters


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))


def keys(group: dict[str, Any], prefix: str = "") -> list[str]:
    """All keys with their groups, in the file's order."""
    found = []
    for key, value in group.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += keys(value, f"{prefix}{key}.")
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_keys_of_the_default_in_its_order(name: str) -> None:
    default = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    del default["embedded"]  # which no other corpus reads
    recipe = read(name)
    for each in (default, recipe):
        for format in OWN & each["corpus"].keys():
            assert each is default or format == recipe["corpus"]["format"]
            del each["corpus"][format]
        for group in params.FEATURES:  # other streams
            del each[group]["streams"]
    assert keys(recipe) == keys(default)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_loses_nothing(name: str) -> None:
    settings = params.load(ROOT / "recipes" / f"{name}.yaml")
    assert settings.model_dump(exclude_unset=True) == read(name)


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_has_its_source(name: str) -> None:
    lines = (ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    values = [line for line in lines if line.startswith(" ")]
    assert len(values) > 40
    for line in values:
        source = line.partition("# ")[2]
        assert source.startswith(("paper", "code", "ours")), line


def test_the_recipe_is_the_authors_setting() -> None:
    recipe = params.load(ROOT / "recipes" / "iemocap.yaml")
    audio, visual, split, model, train = (
        *(recipe.audio, recipe.visual, recipe.split, recipe.model, recipe.train),
    )
    mfcc, resnet = audio.streams["mfcc"], visual.streams["resnet"]
    assert (mfcc.coefficients, mfcc.window, mfcc.step) == (40, 0.025, 0.010)
    assert recipe.text.streams["glove"].vectors.endswith("glove.840B.300d.txt")
    assert (resnet.network, resnet.weights) == ("resnet101", "IMAGENET1K_V2")
    assert (visual.frames_per_second, visual.max_frames, resnet.crop) == (3.0, 32, 224)
    assert recipe.labels.scheme == "seven"
    assert (split.protocol, split.list, split.folds) == ("random", None, 10)
    assert model.modalities == ["audio", "text", "video"]
    assert model.streams.model_dump() == {"audio": "mfcc", "text": "glove", "video": "resnet"}
    assert (model.name, model.hops, model.share_hops, model.tune_embeddings) == (
        *("amh", 7, False, True),
    )
    assert model.hidden.model_dump() == {"audio": 200, "text": 200, "video": 128}
    keep = {name: round(1 - share, 9) for name, share in model.dropout.model_dump().items()}
    assert keep == {"audio": 0.7, "text": 0.3, "video": 0.7}
    assert train.max_steps.model_dump() == {"audio": 750, "text": 128, "video": 25}
    assert (train.learning_rate, train.clip_norm, train.batch_size) == (0.001, 1.0, 128)
    assert (train.validate_every, train.patience, train.targets) == (0.3, 15, "majority")
    assert train.weight_decay == 0


def test_the_second_recipe_changes_text_and_split_only() -> None:
    first, second = read("iemocap"), read("iemocap-bert")
    assert second["model"]["streams"].pop("text") == "bert"
    assert second["split"].pop("protocol") == "speaker"
    del first["model"]["streams"]["text"], first["split"]["protocol"]
    assert second == first


def test_recipes_share_one_feature_store() -> None:
    first, second = (params.load(ROOT / "recipes" / f"{name}.yaml") for name in IEMOCAP)
    assert first.corpus == second.corpus
    for group in params.FEATURES:
        assert getattr(first, group) == getattr(second, group)
