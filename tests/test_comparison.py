"""The rows of the comparison, what they predict, and the table."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks.synthetic import make_store
from pipeline import params
from pipeline.comparison import rows, table, writing
from pipeline.evaluation import metrics
from stages import compare as compare_stage
from stages import run
from stages import table as table_stage
from tests.test_training import settings
from tests.trained import in_this_process

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "comparison"
COMMON = params.load(ROOT / "params.yaml")
OWN = {"name", "modalities", "prosody", "hops", "context"}  # never taken from params.yaml

AMH = {"name": "amh", "modalities": ["audio", "text", "video"]}
LISTED: dict[str, Any] = {
    "reference": "amh-2",
    "rows": {
        "amh-1": {"model": {**AMH, "hops": 1}},
        "amh-2": {"model": {**AMH, "hops": 2}},
        "mdre-tv": {"model": {"name": "mdre", "modalities": ["text", "video"]}},
        "mine": {"model": {**AMH, "hops": 2, "layers": 2}, "train": {"seeds": [1, 2]}},
    },
}


def listed(folder: Path, raw: Any = LISTED) -> rows.Rows:
    path = folder / "rows.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return rows.read(path)


# rows


@pytest.mark.parametrize(
    ("parameters", "context"),
    [("params.yaml", True), ("recipes/iemocap.yaml", False), ("recipes/iemocap-bert.yaml", False)],
)
def test_every_row_goes_with_every_configuration(parameters: str, context: bool) -> None:
    """Those with context go with folds that keep dialogs whole."""
    shipped = rows.read(FOLDER / "rows.yaml")
    common = params.load(ROOT / parameters)
    left_out = {key for key in shipped.overrides if shipped.left_out(key, common)}
    with_context = {"amh-7-past", "amh-7-both"}
    assert left_out == {"linear-egemaps", "linear-compare"} | (set() if context else with_context)
    there = [key for key in shipped.overrides if key not in left_out]
    labels = {key: shipped.settings(key, common).model.label for key in there}
    assert {labels[f"amh-{hops}"] for hops in range(1, 10)} == {f"AMH-{n}" for n in range(1, 10)}
    assert set(labels.values()) - {f"AMH-{n}" for n in range(1, 10)} == {
        *("MDRE", "MHA-2", "linear"),
        *(["AMH-7, context past", "AMH-7, context both"] if context else []),
    }
    assert set(table.published(FOLDER / "published.csv", shipped)) <= set(labels)


def test_a_row_sets_its_own_and_follows_the_parameter_file_in_the_rest(tmp_path: Path) -> None:
    raw = COMMON.model_dump()
    raw["model"] |= {"hops": 5, "prosody": "prosody", "layers": 3}
    raw["train"] |= {"epochs": 9}
    mine = listed(tmp_path).settings("mdre-tv", params.parse(raw))
    assert mine.model.modalities == ["text", "video"]
    assert mine.model.prosody is None
    assert (mine.model.layers, mine.train.epochs, mine.train.seeds) == (3, 9, [0])
    assert listed(tmp_path).settings("mine", COMMON).train.seeds == [1, 2]
    assert listed(tmp_path).settings("mine", COMMON).model.hidden == COMMON.model.hidden


def test_rows_that_a_corpus_or_its_streams_do_not_allow_are_left_out_with_the_reason(
    tmp_path: Path,
) -> None:
    shipped = rows.read(FOLDER / "rows.yaml")
    sound_only = params.load(ROOT / "recipes" / "emodb.yaml")
    reasons = {key: shipped.left_out(key, sound_only) for key in shipped.overrides}
    assert all("EmoDB lacks" in reasons[key] for key in ("linear-t", "amh-7"))
    assert not any(reasons[key] for key in ("linear-a", "mdre-a", "amh-1-a"))
    raw = params.read_yaml(ROOT / "recipes" / "emodb.yaml")
    del raw["audio"]["streams"]["prosody"]
    raw["model"]["prosody"] = None
    bare = params.parse(raw)
    assert shipped.left_out("linear-a", bare) == "no stream prosody is extracted"
    with pytest.raises(params.ParamsError, match="row linear-a: is left out here: no stream pros"):
        shipped.settings("linear-a", bare)
    rows.skip("linear-a", "no sound", tmp_path)
    assert "no sound" in (tmp_path / "row.json").read_text()


def test_a_row_with_context_needs_whole_dialogs(tmp_path: Path) -> None:
    chosen = listed(tmp_path, {"reference": "a", "rows": {
        "a": {"model": {"name": "mdre", "modalities": ["audio"], "context": "past"}},
        "b": {"model": {"name": "mdre", "modalities": ["audio"]}},
    }})  # fmt: skip
    assert chosen.left_out("a", params.load(ROOT / "recipes" / "emodb.yaml")) == (
        "EmoDB has no dialogs as context"
    )
    raw = COMMON.model_dump()
    raw["model"]["context"] = "both"
    raw["split"]["protocol"] = "speaker"
    divided = params.parse(raw)
    assert chosen.left_out("a", divided) == (
        "split.protocol speaker divides dialogs, which are context"
    )
    assert chosen.settings("b", divided).model.context == "none"
    raw["split"]["protocol"] = "session"
    assert chosen.settings("a", params.parse(raw)).model.context == "past"


def test_a_row_that_was_left_out_and_can_be_trained_now_is_asked_for(tmp_path: Path) -> None:
    chosen = listed(tmp_path)
    for key in chosen.overrides:
        rows.skip(key, "no sound", tmp_path / key)
        (tmp_path / key / "predictions.csv").write_text("utterance\n")
    with pytest.raises(table.ComparisonError, match="row@amh-1"):
        table.results(chosen, COMMON, tmp_path, tmp_path / "store")


def test_the_table_names_what_is_left_out_and_takes_the_next_reference() -> None:
    found = {"half": made("half", HALF), "all": made("all", [True] * 12)}
    built = table.build(found, ["amh-7", "all"], {}, {"amh-7": "EmoDB has no text"})
    assert built.rows.set_index("key")["difference"].isna().to_dict() == {
        "half": False,
        "all": True,
    }
    assert "Left out:\n\n- amh-7: EmoDB has no text\n" in writing.markdown(built)


def test_the_parameter_file_decides_nothing_that_a_row_must_set(tmp_path: Path) -> None:
    raw = COMMON.model_dump()
    raw["model"] |= {"name": "mdre", "modalities": ["audio"], "prosody": "prosody", "hops": 4}
    other = params.parse(raw)
    found = listed(tmp_path)
    for key in LISTED["rows"]:
        assert found.settings(key, other) == found.settings(key, COMMON)


def test_dvc_watches_what_rows_take_from_the_parameter_file() -> None:
    stage = yaml.safe_load((FOLDER / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["row"]["do"]
    watched = {name for name in stage["params"] if isinstance(name, str)}
    model = {f"model.{name}" for name in set(params.Model.model_fields) - OWN}
    assert watched == {"corpus.name", "labels", "split", "train", *model}
    missing = [dep for dep in stage["deps"] if "$" not in dep and not (ROOT / dep).exists()]
    assert missing == []


def row_with(**values: Any) -> dict[str, Any]:
    return {"reference": "mine", "rows": {"mine": values}}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([1], "two keys, reference and rows"),
        ({"reference": "a", "rows": {}}, "mapping of names to rows"),
        ({**LISTED, "reference": "amh-3"}, "reference is 'amh-3', which is no row"),
        ({"reference": "a b", "rows": {"a b": {"model": {}}}}, "row a b: a row's name"),
        (row_with(train={}), "row mine: must be a mapping with the key model"),
        (row_with(model=[]), "row mine: model: must be a mapping"),
        (row_with(model={}, split={}), "row mine: split: a row sets model and train only"),
        (row_with(model={"name": "amh", "hops": 2}), "row mine:\n  model.modalities: is missing"),
        (row_with(model=AMH), "row mine:\n  model.hops: is missing"),
        (row_with(model={**AMH, "hops": 0}), "row mine:\n  model.hops: .* got 0"),
        (row_with(model={**AMH, "hops": 1, "layer": 2}), r"model.layer: no such key .*layers\?"),
        (row_with(model={**AMH, "name": "amg"}), "row mine:\n.*no model amg"),
        (
            row_with(model={**AMH, "hops": 1}, train={"seeds": [0, 0]}),
            "train.seeds: has a seed twice",
        ),
    ],
)
def test_a_wrong_row_names_itself_and_its_key(tmp_path: Path, raw: Any, message: str) -> None:
    with pytest.raises(params.ParamsError, match=f"(?s)rows.yaml.*{message}"):
        listed(tmp_path, raw).settings("mine", COMMON)


def test_a_row_that_is_not_there_says_which_are(tmp_path: Path) -> None:
    with pytest.raises(params.ParamsError, match=r"no row amh_1 \(did you mean amh-1\?\)"):
        listed(tmp_path).settings("amh_1", COMMON)
    with pytest.raises(params.ParamsError, match="cannot be read"):
        rows.read(tmp_path / "other.yaml")
    (tmp_path / "rows.yaml").write_text("rows: [", encoding="utf-8")
    with pytest.raises(params.ParamsError, match="not valid YAML"):
        rows.read(tmp_path / "rows.yaml")


# results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of all rows of :data:`LISTED`, trained on a synthetic store, in ``results``."""
    folder = tmp_path_factory.mktemp("comparison")
    store = make_store(folder)
    found = listed(folder)
    for key in LISTED["rows"]:
        make(found, key, store, folder / "results" / key)
    return folder / "results"


def common() -> params.Params:
    raw = settings().model_dump()
    raw["split"] |= {"protocol": "random", "folds": 3}
    raw["train"]["epochs"] = 2
    return params.parse(raw)


def make(found: rows.Rows, key: str, store: Path, output: Path) -> None:
    with in_this_process():
        rows.run(
            key,
            found.settings(key, common()),
            store=store,
            lists=ROOT / "splits",
            parts=output.parent.parent / "parts" / key,
            output=output,
            device="cpu",
            parallel=1,
        )


def test_a_row_leaves_predictions_of_every_test_part_and_nothing_else(results: Path) -> None:
    for key, overrides in LISTED["rows"].items():
        assert sorted(path.name for path in (results / key).iterdir()) == [
            "predictions.csv",
            "row.json",
        ]
        predictions = pd.read_csv(results / key / "predictions.csv")
        seeds = overrides.get("train", {}).get("seeds", [0])
        assert sorted(predictions["seed"].unique()) == seeds
        assert not predictions.duplicated(["utterance", "seed"]).any()
        assert predictions["fold"].nunique() == 3
    # kept for the next run, which trains nothing that has not changed
    for kept in (results.parent / "parts").iterdir():
        assert [path.name for path in kept.iterdir()] == ["checkpoints"]


def test_what_is_kept_of_a_row_goes_with_it(tmp_path: Path) -> None:
    for name in ("amh-1", "amh-9"):
        (tmp_path / "parts" / name / "checkpoints").mkdir(parents=True)
    only = {"reference": "amh-1", "rows": {"amh-1": LISTED["rows"]["amh-1"]}}
    rows.forget(tmp_path / "parts", listed(tmp_path, only))
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["amh-1"]


def test_a_row_repeats_itself(results: Path, tmp_path: Path) -> None:
    output = tmp_path / "again" / "mdre-tv"
    make(listed(tmp_path), "mdre-tv", results.parent / "store", output)
    for name in ("predictions.csv", "row.json"):
        assert (output / name).read_bytes() == (results / "mdre-tv" / name).read_bytes()


def test_the_table_has_each_rows_own_figures(results: Path, tmp_path: Path) -> None:
    shown = {"amh-2": {"weighted_accuracy": 0.617, "weighted_accuracy_deviation": 0.016}}
    found = table.results(listed(tmp_path), common(), results, results.parent / "store")
    built = table.build(found, ["amh-2"], shown).rows.set_index("key")
    assert list(built.index) == list(LISTED["rows"])
    assert list(built["model"]) == ["AMH-1", "AMH-2", "MDRE", "AMH-2"]
    assert list(built["modalities"]) == ["A+T+V", "A+T+V", "T+V", "A+T+V"]
    assert list(built["seeds"]) == [1, 1, 1, 2]
    assert (built["utterances"] == 35).all()
    smaller, larger = built["parameters"].tolist()[:2]
    assert smaller < larger
    for key, result in found.items():
        row = built.loc[key]
        folds = metrics.by_fold(result.predictions)
        for name, figure in metrics.summary(folds).items():
            assert row[name] == figure["mean"]
            assert row[f"{name}_deviation"] == figure["deviation"]
    assert built["weighted_accuracy_deviation_seeds"].notna().tolist() == [False] * 3 + [True]
    assert built["published_weighted_accuracy"].dropna().to_dict() == {"amh-2": 0.617}
    assert built["p"].isna().tolist() == [False, True, False, False]


def test_rows_that_differ_in_hops_alone_are_compared_by_hops(results: Path, tmp_path: Path) -> None:
    found = table.results(listed(tmp_path), common(), results, results.parent / "store")
    assert table.build(found, ["amh-2"], {}).hops == {1: "amh-1", 2: "amh-2"}
    assert table.build(found, ["mine"], {}).hops == {2: "mine"}


def test_stale_and_missing_rows_name_the_command(results: Path, tmp_path: Path) -> None:
    more = copy.deepcopy(LISTED)
    more["rows"]["new-one"] = LISTED["rows"]["amh-1"]
    with pytest.raises(table.ComparisonError, match=r"new-one.*not there.*:row@new-one`.*make ta"):
        table.results(listed(tmp_path, more), common(), results, results.parent / "store")
    changed = copy.deepcopy(LISTED)
    changed["rows"]["mdre-tv"]["model"]["layers"] = 2
    with pytest.raises(table.ComparisonError, match=r"mdre-tv: was made with model .*:row@mdre-tv"):
        table.results(listed(tmp_path, changed), common(), results, results.parent / "store")


# tables of made-up predictions


def made(key: str, right: list[bool], *, store: str = "0" * 64, hops: int = 2) -> table.Result:
    """Predictions of twelve utterances of two classes, eight and four, in two folds."""
    true = np.array(["ang"] * 8 + ["sad"] * 4)
    predicted = np.where(right, true, np.where(true == "ang", "sad", "ang"))
    predictions = pd.DataFrame(
        {
            "utterance": [f"u{number:02d}" for number in range(12)],
            "fold": [1, 2] * 6,
            "seed": 0,
            "true": true,
            "predicted": predicted,
        }
    )
    raw = COMMON.model_dump()
    raw["model"] |= {**AMH, "hops": hops}
    chosen = params.parse(raw)
    record = {
        **rows.description(key, chosen),
        "label": chosen.model.label,
        "classes": ["ang", "sad"],
        "parameters": {"trained": 10, "all": 1234},
        "store": store,
    }
    return table.Result(record, predictions)


HALF = [True, False] * 6


def test_differences_by_hand() -> None:
    """Against half of each class: six of eight and three of four, 0.25 more of each class."""
    better = [True, True, False, True, True, True, False, True, True, True, False, True]
    found = table.differences(made("mine", better), made("half", HALF))
    assert found["weighted_accuracy"].value == pytest.approx(0.25)
    assert found["unweighted_accuracy"].value == pytest.approx(0.25)
    rare = [*HALF[:8], True, True, True, True]
    found = table.differences(made("mine", rare), made("half", HALF))
    assert found["weighted_accuracy"].value == pytest.approx(2 / 12)
    assert found["unweighted_accuracy"].value == pytest.approx((0 + 0.5) / 2)


def test_seeds_are_averaged_before_the_test() -> None:
    always, never = made("a", [True] * 12), made("b", [False] * 12)
    both = pd.concat([always.predictions, never.predictions.assign(seed=1)], ignore_index=True)
    found = table.differences(table.Result(always.record, both), never)
    assert found["weighted_accuracy"].value == pytest.approx(0.5)


def test_tests_are_adjusted_together() -> None:
    found = {
        "half": made("half", HALF),
        "all": made("all", [True] * 12, hops=3),
        "none": made("none", [False] * 12, hops=4),
    }
    built = table.build(found, ["half"], {}).rows.set_index("key")
    np.testing.assert_allclose(built["difference"].astype(float), [np.nan, 0.5, -0.5])
    p = built.loc[["all", "none"], "p"].astype(float)
    assert (p < 0.06).all()
    np.testing.assert_allclose(
        built.loc[["all", "none"], "p_holm"].astype(float), [2 * p.min(), 2 * p.min()], atol=2e-6
    )


def test_rows_of_other_utterances_or_stores_are_not_compared(tmp_path: Path) -> None:
    fewer = made("fewer", HALF)
    fewer = table.Result(fewer.record, fewer.predictions[:-1])
    with pytest.raises(table.ComparisonError, match="fewer and half were tested on different"):
        table.build({"half": made("half", HALF), "fewer": fewer}, ["half"], {})


def test_published_figures_are_named_by_their_definition(tmp_path: Path) -> None:
    shown = table.published(FOLDER / "published.csv", rows.read(FOLDER / "rows.yaml"))
    assert len(shown) == 8
    assert shown["amh-7"]["weighted_accuracy"] == 0.617
    assert shown["amh-7"]["precision_weighted"] == 0.624
    assert shown["mdre-av"]["unweighted_accuracy_deviation"] == 0.024
    (tmp_path / "published.csv").write_text("row,accuracy\namh-7,0.6\n", encoding="utf-8")
    with pytest.raises(table.ComparisonError, match="column accuracy is no metric"):
        table.published(tmp_path / "published.csv", rows.read(FOLDER / "rows.yaml"))
    with pytest.raises(table.ComparisonError, match="cannot be read"):
        table.published(tmp_path / "none.csv", rows.read(FOLDER / "rows.yaml"))


# writing


def built() -> table.Table:
    found = {
        "amh-1": made("amh-1", [True] * 12, hops=1),
        "amh-2": made("amh-2", HALF),
        "idea": made("idea", HALF[::-1], hops=3),
    }
    shown = {
        "amh-2": {
            "weighted_accuracy": 0.617,
            "weighted_accuracy_deviation": 0.016,
            "unweighted_accuracy": 0.547,
            "unweighted_accuracy_deviation": 0.025,
        }
    }
    return table.build(found, ["amh-2"], shown)


def test_the_page_says_what_is_needed_to_read_it(tmp_path: Path) -> None:
    writing.write(built(), tmp_path)
    page = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "Corpus `embedded`, feature store `000000000000`; 12 test utterances" in page
    assert "split protocol session, 2 folds, 1 seed" in page
    assert "| AMH-1 | A+T+V | 1,234 | 1.000 ± 0.000 | 1.000 ± 0.000 |  |  | +0.500 (" in page
    assert "| AMH-2 | A+T+V | 1,234 | 0.500 ± 0.707 |" in page
    assert "0.617 ± 0.016 | 0.547 ± 0.025 |  |  |  |  |" in page
    assert "AMH-3 (idea)" in page
    assert "mean ± standard deviation over folds. Published" in page
    assert "permutation test" in page
    assert "independent" in page
    assert page.count("nan") == 0


def test_scenarios_have_columns_and_a_table_of_their_own(tmp_path: Path) -> None:
    found = {key: made(key, right) for key, right in (("amh-2", HALF), ("idea", [True] * 12))}
    names = found["amh-2"].predictions["utterance"]
    scenarios = dict(zip(names, ["improvised", "scripted"] * 6, strict=True))
    found = {key: replace(result, scenarios=scenarios) for key, result in found.items()}
    whole = table.build(found, ["amh-2"], {})
    assert whole.scenarios == ("improvised", "scripted")
    for scenario in whole.scenarios:
        for figure in ("weighted_accuracy", "unweighted_accuracy"):
            assert whole.rows.set_index("key").loc["idea", f"{scenario}_{figure}"] == 1.0
    writing.write(whole, tmp_path)
    page = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "## By scenario" in page and "| improvised WA | improvised UA | scripted WA" in page
    assert "scenario" not in writing.markdown(built())


def test_the_report_finds_its_columns(tmp_path: Path) -> None:
    writing.write(built(), tmp_path)
    found = pd.read_csv(tmp_path / "comparison.csv", keep_default_na=False)
    (reference,) = found[found["p"] == ""].to_dict("records")
    assert (reference["model"], reference["difference"]) == ("AMH-2", "")
    assert reference["published_weighted_accuracy_deviation"] == "0.016"
    assert set(found["corpus"]) == {"embedded"}
    assert set(found["p_holm"]) > {""}


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    names = ["comparison.csv", "comparison.md", "comparison.png", "hops.png"]
    for folder in ("one", "two"):
        writing.write(built(), tmp_path / folder)
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_hops_of_an_earlier_comparison_do_not_stay(tmp_path: Path) -> None:
    (tmp_path / "hops.png").write_bytes(b"old")
    alone = table.build({"half": made("half", HALF)}, ["half"], {})
    writing.write(alone, tmp_path)
    assert not (tmp_path / "hops.png").exists()
    assert "hops.png" not in (tmp_path / "comparison.md").read_text(encoding="utf-8")


# stages


def test_stages_end_with_a_message_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "comparison").symlink_to(FOLDER)
    (tmp_path / "params.yaml").symlink_to(ROOT / "params.yaml")
    with pytest.raises(SystemExit, match=r"error: .*linear-a.*is not there; run `dvc repro"):
        run(table_stage.main)
    monkeypatch.setattr("sys.argv", ["compare", "amh-77"])
    with pytest.raises(SystemExit, match=r"error: .*no row amh-77 \(did you mean amh-7\?\)"):
        run(compare_stage.main)
