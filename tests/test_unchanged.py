"""A stage fails if what it depends on changes while it runs, and DVC records nothing of it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from pipeline import InputError
from pipeline.system import graph, unchanged
from tests.clone import ROOT, Clone, stages_run

MIB = 1 << 20
TOY = {
    "dvc.yaml": """
stages:
  other:
    cmd: [echo, of several]
  train:
    cmd: python -m stages.train
    deps:
      - ${corpus.root}/wav
      - data/${corpus.name}.h5
      - data/table.csv
      - pipeline/models
      - pipeline/training/fitting.py
      - splits
    params: [model, train.epochs, other.yaml: [speed]]
""",
    "comparison/dvc.yaml": """
vars: [rows.yaml, "../params.yaml:corpus"]
stages:
  row:
    foreach: ${rows}
    do:
      wdir: ..
      cmd: python -m stages.compare ${key}
      deps: ["data/${corpus.name}.h5", "pipeline/models/${item.model.name}.py"]
      params: [train, comparison/rows.yaml: ["rows.${key}"]]
""",
    "comparison/rows.yaml": "rows: {one: {model: {name: amh}}, two: {model: {name: mha}}}\n",
    "params.yaml": """
corpus: {name: toy, root: recordings}
model: {hops: 2, hidden: {audio: 64}}
train: {epochs: 3, seeds: [0]}
""",
    "other.yaml": "speed: 1\n",
    "data/table.csv": "utterance\n",
    "pipeline/models/amh.py": "HOPS = 1\n",
    "pipeline/models/mha.py": "HOPS = 2\n",
    "pipeline/training/fitting.py": "",
    "pipeline/drawing.py": "",
    "recordings/wav/one.wav": "sound",
    "splits/mine.csv": "fold\n",
}
TRAIN = "python -m stages.train"
ROW = "python -m stages.compare two"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a small project."""
    for name, text in TOY.items():
        write(tmp_path / name, text)
    (tmp_path / "data/toy.h5").write_bytes(bytes(5 * MIB))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def replace(path: str, old: str, new: str) -> None:
    """Edit a file as many editors do: beside it, and renamed."""
    text = Path(path).read_text(encoding="utf-8")
    assert old in text
    Path(f"{path}~").write_text(text.replace(old, new), encoding="utf-8")
    Path(f"{path}~").replace(path)


def run(command: str, work: Callable[[], object]) -> None:
    with unchanged.during(command, unchanged.contents(unchanged.CODE)):
        work()


EDITS: dict[str, tuple[str, Callable[[], object], str]] = {
    "parameter": (
        *(TRAIN, lambda: replace("params.yaml", "hops: 2", "hops: 5")),
        "params.yaml: model.hops was 2, is 5",
    ),
    "nested": (
        *(TRAIN, lambda: replace("params.yaml", "audio: 64", "audio: 8")),
        "params.yaml: model.hidden.audio was 64, is 8",
    ),
    "key": (
        *(TRAIN, lambda: replace("params.yaml", "hops: 2, ", "")),
        "params.yaml: model.hops was 2, is absent",
    ),
    "file": (TRAIN, lambda: replace("other.yaml", "1", "2"), "other.yaml: speed was 1, is 2"),
    "code": (
        TRAIN,
        lambda: write(Path("pipeline/training/fitting.py"), "x = 1"),
        "pipeline/training/fitting.py ",
    ),
    "added": (TRAIN, lambda: write(Path("pipeline/models/x.py"), ""), "pipeline/models/x.py "),
    "deleted": (TRAIN, Path("pipeline/models/amh.py").unlink, "pipeline/models/amh.py "),
    "table": (TRAIN, lambda: write(Path("data/table.csv"), ""), "data/table.csv "),
    "list": (TRAIN, lambda: write(Path("splits/mine.csv"), ""), "splits/mine.csv "),
    "large": (TRAIN, lambda: os.utime("data/toy.h5", (1, 1)), "data/toy.h5 "),
    "row": (
        *(ROW, lambda: replace("comparison/rows.yaml", "mha", "mdre")),
        'comparison/rows.yaml: rows.two.model.name was "mha", is "mdre"',
    ),
    "model": (ROW, lambda: write(Path("pipeline/models/mha.py"), ""), "pipeline/models/mha.py "),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_change_is_an_error_that_names_it(here: Path, edit: str) -> None:
    command, work, message = EDITS[edit]
    with pytest.raises(InputError) as caught:
        run(command, work)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{graph.find(command).name}: what it depends on changed")  # type: ignore[union-attr]
    assert lines[1].startswith(f"  {message}") and len(lines) == 3


OTHERS: dict[str, tuple[str, Callable[[], object]]] = {
    "nothing": (TRAIN, lambda: None),
    "saved": (TRAIN, lambda: replace("params.yaml", "hops", "hops")),
    "comment": (TRAIN, lambda: replace("params.yaml", "\nmodel", "  # other\nmodel")),
    "saved code": (TRAIN, lambda: replace("pipeline/models/amh.py", "1", "1")),
    "parameter": (TRAIN, lambda: replace("params.yaml", "[0]", "[1]")),
    "code": (TRAIN, lambda: write(Path("pipeline/drawing.py"), "x = 1")),
    "compiled": (TRAIN, lambda: write(Path("pipeline/models/__pycache__/amh.pyc"), "")),
    "open in an editor": (TRAIN, lambda: write(Path("pipeline/models/.amh.py.swp"), "")),
    "corpus": (TRAIN, lambda: write(Path("recordings/wav/two.wav"), "")),
    "row": (ROW, lambda: replace("comparison/rows.yaml", "amh", "mdre")),
    "model": (ROW, lambda: write(Path("pipeline/models/amh.py"), "")),
    "no stage": ("python -m stages.table", lambda: replace("params.yaml", "hops: 2", "hops: 5")),
}


@pytest.mark.parametrize("edit", OTHERS)
def test_what_the_stage_does_not_depend_on_may_change(here: Path, edit: str) -> None:
    run(*OTHERS[edit])


def test_work_can_be_kept_only_where_all_of_it_was_done_with_one_state(here: Path) -> None:
    """Parameters are read at the start; worker processes import code at any time."""
    with pytest.raises(InputError, match="train` again; or undo .*`dvc commit --force train`"):
        run(TRAIN, EDITS["parameter"][1])
    with pytest.raises(InputError, match="`dvc repro train` again$"):
        run(TRAIN, EDITS["code"][1])
    with pytest.raises(InputError, match="`dvc repro comparison/dvc.yaml:row@two` again"):
        run(ROW, EDITS["row"][1])


def test_many_changes_are_counted(here: Path) -> None:
    def work() -> None:
        for n in range(15):
            write(Path(f"splits/{n:02}.csv"), "")

    with pytest.raises(InputError, match=r"splits/09.csv [^\n]*\n  and 5 more\n"):
        run(TRAIN, work)


def test_an_error_of_the_stage_is_told_and_not_what_changed_meanwhile(here: Path) -> None:
    def work() -> None:
        EDITS["parameter"][1]()
        raise InputError("no such recording")

    with pytest.raises(InputError, match="no such recording"):
        run(TRAIN, work)


def test_code_that_was_edited_while_the_stage_imported_it_counts(here: Path) -> None:
    before = unchanged.contents(unchanged.CODE)
    write(Path("pipeline/training/fitting.py"), "x = 1")
    with (
        pytest.raises(InputError, match="pipeline/training/fitting.py"),
        unchanged.during(TRAIN, before),
    ):
        pass


def test_a_parameter_file_that_can_no_longer_be_read_is_an_error(here: Path) -> None:
    with pytest.raises(InputError, match="params.yaml: is not valid YAML"):
        run(TRAIN, lambda: write(Path("params.yaml"), "model: ["))
    write(Path("params.yaml"), TOY["params.yaml"])
    with pytest.raises(InputError, match="params.yaml: cannot be read: No such file"):
        run(TRAIN, Path("params.yaml").unlink)


@pytest.mark.parametrize("folder", ["", "comparison/"])
def test_every_stage_is_found_with_all_that_dvc_records(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    resolved = Repo(ROOT).index.stages
    own = [stage for stage in resolved if stage.path_in_repo == f"{folder}dvc.yaml"]
    assert own
    for stage in own:
        found = graph.find(stage.cmd)
        assert found is not None and found.name == stage.addressing
        keys, paths = set(), set()
        for dependency in stage.deps:
            if isinstance(dependency, ParamsDependency):
                path = Path(dependency.fs_path).relative_to(ROOT)
                keys |= {(path, key) for key in dependency.params}
            elif "IEMOCAP_full_release" not in dependency.fs_path:
                paths.add(Path(dependency.fs_path).relative_to(ROOT))
        assert set(found.parameters) == keys
        assert set(found.dependencies) == paths


def test_what_is_no_part_of_a_folder_is_none_for_dvc_either() -> None:
    lines = (ROOT / ".dvcignore").read_text(encoding="utf-8").splitlines()
    # what begins with / is a folder of a corpus, and at no other place
    assert tuple(line for line in lines if line[:2] != "# " and line[0] != "/") == unchanged.IGNORED


# --- stages in processes -------------------------------------------------------------------------

STAGE = '''
"""Stage `toy`: writes the number of hops, and edits what it is told to while it runs."""

import json
from pathlib import Path

from pipeline import params
from pipeline.system import hdf5
from stages import run


def main() -> None:
    """Run the stage."""
    hops = params.load().model.hops
    edit = Path("edit.json")
    if edit.exists():
        path, old, new = json.loads(edit.read_text())
        edit.unlink()
        Path(path).write_text(Path(path).read_text().replace(old, new))
    Path("toy.txt").write_text(f"{hops}")


if __name__ == "__main__":
    run(main)
'''


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone with one stage, which takes a moment and has been run with 2 hops."""
    clone = Clone(tmp_path)
    stage = {
        "cmd": "python -m stages.toy",
        "deps": ["stages/toy.py", "pipeline/system/hdf5.py"],
        "params": ["model.hops"],
        "outs": ["toy.txt"],
    }
    write(clone.folder / "dvc.yaml", yaml.safe_dump({"stages": {"toy": stage}}))
    write(clone.folder / "stages/toy.py", STAGE)
    (clone.folder / "dvc.lock").unlink()
    clone.run("dvc", "repro", "toy")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "toy")
    assert outcome(clone) == (2, "2")
    return clone


def edits(clone: Clone, path: str, old: str, new: str) -> None:
    """Have the next run of the stage edit a file."""
    write(clone.folder / "edit.json", json.dumps([path, old, new]))


def outcome(clone: Clone) -> tuple[int, str]:
    """The number of hops that the lock says, and that of the output."""
    lock = yaml.safe_load((clone.folder / "dvc.lock").read_text(encoding="utf-8"))
    hops = lock["stages"]["toy"]["params"]["params.yaml"]["model.hops"]
    return hops, (clone.folder / "toy.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_dvc_records_nothing_of_a_stage_whose_parameters_were_edited(clone: Clone) -> None:
    """Unchecked, the lock says 5 hops of what was made with 3, and all is up to date."""
    lock = (clone.folder / "dvc.lock").read_bytes()
    edits(clone, "params.yaml", "hops: 3", "hops: 5")
    printed = clone.run("dvc", "exp", "run", "-S", "model.hops=3", "toy", fails=True)
    assert "error: toy: what it depends on changed while it ran" in printed
    assert "\n  params.yaml: model.hops was 3, is 5\n" in printed and "Traceback" not in printed
    assert (clone.folder / "dvc.lock").read_bytes() == lock
    # nor does the former output come back from DVC's cache under the wrong parameters
    assert stages_run(clone.run("dvc", "repro", "toy")) == ["toy"]
    assert outcome(clone) == (5, "5")
    clone.run("dvc", "exp", "run", "-S", "model.hops=3", "toy")
    assert outcome(clone) == (3, "3")


@pytest.mark.slow
def test_what_was_made_with_the_former_parameters_can_be_kept(clone: Clone) -> None:
    replace(str(clone.folder / "params.yaml"), "hops: 2", "hops: 3")
    edits(clone, "params.yaml", "hops: 3", "hops: 5")
    printed = clone.run("dvc", "repro", "toy", fails=True)
    replace(str(clone.folder / "params.yaml"), "hops: 5", "hops: 3")
    (command,) = re.findall(r"`(dvc commit [^`]*)`", printed)
    clone.run(*command.split())
    assert outcome(clone) == (3, "3")
    assert "up to date" in clone.run("dvc", "repro", "toy")


@pytest.mark.slow
def test_a_stage_whose_code_was_edited_fails_by_hand_too(clone: Clone) -> None:
    edits(clone, "pipeline/system/hdf5.py", "_BLOCK = 1 << 22", "_BLOCK = 1 << 21")
    printed = clone.run(sys.executable, "-m", "stages.toy", fails=True)
    assert "pipeline/system/hdf5.py was edited" in printed and "dvc commit" not in printed
    clone.run(sys.executable, "-m", "stages.toy")
