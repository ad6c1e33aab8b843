"""Pretrained weights: recorded by their hashes, and checked against the record."""

import errno
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import stages.audio
import stages.text
import stages.visual
import stages.weights
from pipeline import InputError
from pipeline.corpus.table import CorpusError
from pipeline.features import pretrained
from pipeline.features.extractor import Extractor
from pipeline.features.glove import Glove
from pipeline.features.mfcc import Mfcc
from pipeline.features.pretrained import WeightsError
from pipeline.features.prosody import CONFIGURATION, Prosody
from pipeline.features.text_encoder import TextEncoder
from pipeline.features.visual import Torchvision
from pipeline.system.filesystem import unreadable

BERT_FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "README.md": b"not loaded",
}


@pytest.fixture
def bert(tmp_path) -> Path:
    """Make a folder with all that a BERT has but sense; the files are only hashed here."""
    folder = tmp_path / "bert"
    folder.mkdir()
    for name, content in BERT_FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def glove(tmp_path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_bytes(b"so 0.5 1.5\nit 2.5 -1\n")
    return path


@pytest.fixture
def resnet(tmp_path) -> Path:
    path = tmp_path / "resnet.pth"
    path.write_bytes(b"a state dict")
    return path


def visual(resnet: Path | str, network: str = "resnet18") -> Torchvision:
    return Torchvision.model_validate({"network": network, "weights": str(resnet)})


Streams = dict[str, dict[str, Extractor]]


def streams_of(bert: Path, glove: Path, resnet: Path) -> Streams:
    return {
        "audio": {"mfcc": Mfcc(), "prosody": Prosody()},
        "text": {"glove": Glove(vectors=str(glove)), "bert": TextEncoder(model=str(bert))},
        "visual": {"resnet": visual(resnet)},
    }


@pytest.fixture
def streams(bert, glove, resnet) -> Streams:
    return streams_of(bert, glove, resnet)


def record(tmp_path: Path, streams: Streams) -> Path:
    folder = tmp_path / "weights"
    pretrained.record(streams, folder)
    return folder


# --- the record ------------------------------------------------------------------------------


def test_the_record_holds_the_hash_of_each_file_by_stream_and_name(tmp_path, streams, glove):
    folder = record(tmp_path, streams)
    recorded = {path.stem: json.loads(path.read_text()) for path in folder.iterdir()}
    assert sorted(recorded) == ["audio", "text", "visual"]
    loaded = {name: BERT_FILES[name] for name in sorted(BERT_FILES) if name != "README.md"}
    assert recorded["text"] == {
        "bert": {name: hashlib.sha256(content).hexdigest() for name, content in loaded.items()},
        "glove": {"glove.txt": hashlib.sha256(glove.read_bytes()).hexdigest()},
    }
    assert recorded["visual"] == {
        "resnet": {"resnet.pth": hashlib.sha256(b"a state dict").hexdigest()}
    }
    configuration = hashlib.sha256(CONFIGURATION.read_bytes()).hexdigest()
    assert recorded["audio"] == {"mfcc": {}, "prosody": {CONFIGURATION.name: configuration}}


def test_random_weights_are_recorded_with_the_network(tmp_path):
    pretrained.record({"visual": {"resnet": visual("random")}}, tmp_path)
    assert json.loads((tmp_path / "visual.json").read_text()) == {"resnet": {"resnet18": "random"}}


def test_the_same_weights_elsewhere_give_the_same_bytes(tmp_path, streams, bert, glove, resnet):
    first = contents(record(tmp_path, streams))
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    others = streams_of(
        bert.rename(moved / "other"),
        glove.rename(moved / glove.name),
        resnet.rename(moved / resnet.name),
    )
    assert contents(record(tmp_path, others)) == first


def test_other_weights_of_one_modality_leave_the_record_of_the_others(tmp_path, streams, resnet):
    first = contents(record(tmp_path, streams))
    resnet.write_bytes(b"another state dict")
    again = contents(record(tmp_path, streams))
    assert {name for name in first if first[name] != again[name]} == {"visual.json"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_files_have_the_same_hash_if_and_only_if_they_are_the_same(tmp_path_factory, one, other):
    folder = tmp_path_factory.mktemp("files")
    (folder / "one").write_bytes(one)
    (folder / "other").write_bytes(other)
    hashes = {pretrained.sha256(folder / name) for name in ("one", "other")}
    assert (len(hashes) == 1) == (one == other)


def test_a_file_that_changes_has_another_hash(tmp_path):
    path = tmp_path / "file"
    for content in (b"weights", b"other weights"):
        path.write_bytes(content)
        assert pretrained.sha256(path) == hashlib.sha256(content).hexdigest()


def test_all_that_is_missing_is_named_at_once(tmp_path):
    with pytest.raises(WeightsError) as caught:
        record(tmp_path, streams_of(tmp_path, tmp_path / "no.txt", tmp_path / "no.pth"))
    for part in (
        "text.streams.bert.model: ",
        "text.streams.glove.vectors: ",
        "visual.streams.resnet.weights: ",
    ):
        assert part in str(caught.value)
    assert not (tmp_path / "weights").exists()


def test_a_file_that_cannot_be_read_names_its_stream_and_parameter(tmp_path, monkeypatch, streams):
    def refused(path: Path) -> str:
        raise InputError(unreadable(path, PermissionError(errno.EACCES, "Permission denied")))

    monkeypatch.setattr(pretrained, "sha256", refused)
    with pytest.raises(WeightsError) as caught:
        record(tmp_path, streams)
    for parameter, file in (
        ("text.streams.bert.model", "bert/config.json"),
        ("text.streams.glove.vectors", "glove.txt"),
        ("visual.streams.resnet.weights", "resnet.pth"),
    ):
        assert f"{parameter}: {tmp_path / file}: cannot be read: Permission" in str(caught.value)


def test_nothing_heavy_is_loaded_for_local_files(bert, glove, resnet):
    script = (
        "import sys\n"
        "from pipeline.registry import EXTRACTORS\n"
        "for of, name, keywords in (('text', 'glove', {'vectors': sys.argv[1]}),"
        " ('text', 'transformers', {'model': sys.argv[2]}),"
        " ('visual', 'torchvision', {'network': 'resnet18', 'weights': sys.argv[3]})):\n"
        "    EXTRACTORS[of][name].load()(**keywords).files()\n"
        "print([name for name in ('torch', 'torchvision', 'transformers', 'huggingface_hub')"
        " if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", script, str(glove), str(bert), str(resnet)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- the check -------------------------------------------------------------------------------


def test_the_recorded_weights_pass(tmp_path, streams):
    folder = record(tmp_path, streams)
    for modality, extractors in streams.items():
        pretrained.check(folder / f"{modality}.json", extractors)


@pytest.mark.parametrize(
    ("modality", "stream", "file"),
    [
        ("text", "bert", "bert/model.safetensors"),
        ("text", "glove", "glove.txt"),
        ("visual", "resnet", "resnet.pth"),
    ],
)
def test_a_file_replaced_in_place_is_refused(tmp_path, streams, modality, stream, file):
    folder = record(tmp_path, streams)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes() + b"so 0.5 1.5\n")
    remedy = "dvc repro --force --single-item weights"
    message = rf"weights of {stream} are not.*: {Path(file).name} was \w+, is .*{remedy}"
    with pytest.raises(WeightsError, match=message):
        pretrained.check(folder / f"{modality}.json", streams[modality])


def test_a_file_more_or_less_is_refused(tmp_path, streams, bert):
    path = record(tmp_path, streams) / "text.json"
    (bert / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(WeightsError, match=r"vocab\.txt was missing, is \w+"):
        pretrained.check(path, streams["text"])
    (bert / "vocab.txt").unlink()
    (bert / "tokenizer.json").rename(bert / "vocab.json")
    with pytest.raises(WeightsError, match=r"tokenizer\.json was \w+, is missing"):
        pretrained.check(path, streams["text"])


def test_a_stream_more_or_less_is_refused(tmp_path):
    one, two = ({name: visual("random") for name in names} for names in ("a", "ab"))
    for recorded, now, message in ((one, two, "was missing"), (two, one, "is missing")):
        pretrained.record({"visual": recorded}, tmp_path)
        with pytest.raises(WeightsError, match=f"weights of b are not those recorded: .*{message}"):
            pretrained.check(tmp_path / "visual.json", now)


def test_another_random_network_is_refused(tmp_path):
    pretrained.record({"visual": {"resnet": visual("random")}}, tmp_path)
    with pytest.raises(WeightsError, match="resnet18 was random, is missing"):
        pretrained.check(tmp_path / "visual.json", {"resnet": visual("random", "resnet34")})


def test_weights_that_are_gone_name_the_stream_and_the_parameter(tmp_path, resnet):
    pretrained.record({"visual": {"resnet": visual(resnet)}}, tmp_path)
    resnet.unlink()
    with pytest.raises(WeightsError, match=r"^visual\.streams\.resnet\.weights: .* is missing"):
        pretrained.check(tmp_path / "visual.json", {"resnet": visual(resnet)})


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", "{", "1", "[[]]", '{"resnet": 1}', '{"resnet": {"a": 1}}']
)
def test_without_a_record_the_error_says_how_to_make_it(tmp_path, content):
    path = tmp_path / "visual.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(WeightsError, match=r"visual\.json: .*--single-item weights"):
        pretrained.check(path, {"resnet": visual("random")})


# --- the stages ------------------------------------------------------------------------------

PARAMS = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def checkout(tmp_path, monkeypatch, bert, glove, resnet) -> Path:
    """Stand in a folder with a params.yaml that names the made-up files."""
    content = yaml.safe_load(PARAMS.read_text())
    content["text"]["streams"]["bert"]["model"] = str(bert)
    content["text"]["streams"]["glove"]["vectors"] = str(glove)
    content["visual"]["streams"]["resnet"]["weights"] = str(resnet)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_writes_the_record(checkout, streams):
    stages.weights.main()
    expected = contents(record(checkout, streams))
    assert contents(checkout / "data/interim/weights") == expected


def test_the_stage_looks_for_vectors(checkout, glove):
    glove.unlink()
    with pytest.raises(
        WeightsError,
        match=r"text\.streams\.glove\.vectors: .*2\.2 GB.*data/weights.*set vectors",
    ):
        stages.weights.main()


@pytest.mark.parametrize("stage", [stages.audio, stages.text, stages.visual])
def test_extraction_refuses_other_weights_before_any_work(checkout, stage):
    stages.weights.main()
    with pytest.raises(CorpusError):  # no table here: the next that the stages need
        stage.main()
    path = Path("data/interim/weights") / f"{stage.__name__.removeprefix('stages.')}.json"
    recorded = json.loads(path.read_text())
    (name,) = [name for name in ("prosody", "bert", "resnet") if name in recorded]
    recorded[name][min(recorded[name])] = "0" * 64
    path.write_text(json.dumps(recorded))
    with pytest.raises(WeightsError, match=rf"json: the weights of {name} are not those recorded"):
        stage.main()
