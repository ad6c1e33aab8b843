"""Outputs may be hard links to DVC's cache: stages replace them, and never open them in place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from benchmarks import release
from benchmarks.synthetic import make_store
from pipeline import params
from pipeline.features import pretrained
from pipeline.system.filesystem import replacing
from pipeline.training import folds
from stages import compare, evaluate, parse, table, train
from tests.test_training import settings

AMH = {"name": "amh", "modalities": ["audio", "text", "video"]}
ROWS = {"amh-1": {"model": {**AMH, "hops": 1}}, "amh-2": {"model": {**AMH, "hops": 2}}}
OUTPUTS = ("data/interim", "data/comparison", "models", "results")


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


# --- the helper ----------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path: Path) -> tuple[Path, Path]:
    """An output, and the file of a cache that it is a link to."""
    cached, output = tmp_path / "cached", tmp_path / "out/output.csv"
    cached.write_text("former")
    output.parent.mkdir()
    output.hardlink_to(cached)
    cached.chmod(0o444)
    return output, cached


def test_a_link_is_replaced_and_what_it_links_to_stays(linked: tuple[Path, Path]) -> None:
    output, cached = linked
    with replacing(output) as partial:
        assert partial.parent == output.parent and not partial.exists()
        partial.write_text("new, and not yet whole")
        assert output.read_text() == "former"
    assert (output.read_text(), cached.read_text()) == ("new, and not yet whole", "former")
    assert list(output.parent.iterdir()) == [output]


def test_after_an_error_everything_is_as_before(linked: tuple[Path, Path]) -> None:
    output, cached = linked
    with pytest.raises(ZeroDivisionError), replacing(output) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert output.samefile(cached) and cached.read_text() == "former"
    assert list(output.parent.iterdir()) == [output]


def test_what_a_killed_run_left_is_not_opened(linked: tuple[Path, Path]) -> None:
    """DVC may have taken it for a part of a folder that is an output, and linked it too."""
    output, cached = linked
    with replacing(output) as partial:
        partial.write_text("new")
    partial.hardlink_to(cached)
    with replacing(output) as partial:
        partial.write_text("newer")
    assert (output.read_text(), cached.read_text()) == ("newer", "former")


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    output = tmp_path / "above/folder"

    def write(last: str) -> None:
        with replacing(output) as partial:
            partial.mkdir()
            (partial / "a").touch()
            (partial / last).touch()

    with pytest.raises(FileNotFoundError):
        write("none/b")
    assert list(output.parent.iterdir()) == []
    write("b")
    assert files(output) == {Path("a"), Path("b")}


# --- the stages ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which stages run: a store of random numbers, and a release for `parse`."""
    folder = tmp_path_factory.mktemp("project")
    raw = settings(hops=1).model_dump()
    raw["corpus"] |= {"root": "release"}
    raw["train"] |= {"epochs": 1}
    (folder / "params.yaml").write_text(params.as_yaml(raw), encoding="utf-8")
    release.make(folder / "release")
    shutil.move(make_store(tmp_path_factory.mktemp("made")), folder / "data/features/embedded")
    (folder / "comparison").mkdir()
    rows = yaml.safe_dump({"reference": "amh-2", "rows": ROWS})
    (folder / "comparison/rows.yaml").write_text(rows, encoding="utf-8")
    (folder / "comparison/published.csv").write_text("row\n", encoding="utf-8")
    return folder


def run_compare() -> None:
    for row in ROWS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["compare", row])
            compare.main()


def run_weights() -> None:
    found = SimpleNamespace(files=lambda: {"weights.pt": "0" * 64}, origin=lambda: {})
    pretrained.record({"visual": {"resnet": found}}, Path("data/interim/weights"))


# in the order of the pipeline, each with its last output
STAGES: dict[Callable[[], None], str] = {
    parse.main: "data/interim/embedded/parse.json",
    run_weights: "data/interim/weights/visual.json",
    train.main: "models/fold-5.safetensors",
    run_compare: "data/comparison/amh-2/row.json",
    table.main: "results/hops.png",
    evaluate.main: "results/missing.json",
}


def outputs() -> set[Path]:
    found = {top / path for top in map(Path, OUTPUTS) for path in files(top)}
    return {path for path in found if "kept" not in path.parts}  # DVC does not know of


def test_stages_replace_linked_outputs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but those of features, which take a real corpus; see tests/test_pipeline.py."""

    def in_this_process(jobs: list[folds.Job], parallel: int) -> None:
        for job in jobs:
            folds.train_fold(job)

    monkeypatch.setattr(folds, "_train", in_this_process)
    monkeypatch.chdir(project)
    for stage in STAGES:
        stage()
    first = outputs()
    assert set(map(Path, STAGES.values())) <= first
    cached = {}
    for path in first:
        link = tmp_path / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(path)
        cached[link] = link.read_bytes()
    Path("results/training/fold-6").mkdir()  # of a run that had more folds

    for stage in STAGES:
        stage()
    assert outputs() == first and not Path("results/training/fold-6").exists()
    for path in first:
        assert not path.samefile(tmp_path / path), f"{path} is opened in place"
    assert {link: link.read_bytes() for link in cached} == cached
