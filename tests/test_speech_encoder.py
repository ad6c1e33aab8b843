"""Speech encoders: the states of each family, against those of transformers, one at a time."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.corpus.utterance import Source, Utterance
from pipeline.features.batching import batches
from pipeline.features.extractor import Steps
from pipeline.features.pretrained import WeightsError
from pipeline.features.speech_encoder import SpeechEncoder
from pipeline.features.speech_network import LONGEST
from pipeline.features.transformer import library
from tests.extractors import audio_context, noise, recorded
from tests.speech import FAMILIES, LAYERS, PADDED, RATE, SIZE, WINDOW, save

FIELD, STRIDE = 400, 320  # samples that a step of wav2vec2 sees, and from one to the next
ALL = list(range(LAYERS + 1))
# one sample, 0.02 s, one step, of like and unlike lengths; SEW sees half a step of some
SAMPLES = (1, 320, 400, 16000, 16310, 15999, 9000, 32000, 17777, 24321, 9000)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of the small model of a family, saved on first use."""
    return cache(lambda family: save(tmp_path_factory.mktemp(family), family))


def signals(*samples: int) -> list[np.ndarray]:
    return [noise(count, seed) for seed, count in enumerate(samples)]


def states(model: str, heard: list[np.ndarray], **parameters: Any) -> list[Any]:
    """Values and times of signals."""
    extractor = SpeechEncoder(model=model, **{"layers": ALL, **parameters})
    return extractor.states(heard, extractor.network_on("cpu"))


def by_script(model: str, signal: np.ndarray) -> np.ndarray:
    """All hidden states of one signal as of a plain script, [T, L, D]."""
    import torch

    prepare = library().AutoFeatureExtractor.from_pretrained(model)
    network = library().AutoModel.from_pretrained(model).eval()
    network = getattr(network, "get_encoder", lambda: network)() if "whisper" in model else network
    with torch.inference_mode():
        inputs = prepare(signal, sampling_rate=RATE, return_tensors="pt")
        hidden = network(**inputs, output_hidden_states=True).hidden_states
    return torch.stack(hidden, dim=2)[0].numpy()


def field_of(model: str) -> int:
    return getattr(SpeechEncoder(model=model).network_on("cpu"), "field", 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_is_that_of_a_plain_script_in_any_batch(models: Any, family: str) -> None:
    model, heard = models(family), signals(*SAMPLES)
    short = field_of(model)
    expected = [by_script(model, np.pad(own, (0, max(0, short - len(own))))) for own in heard]
    for batch_size in (1, 4, 32):
        found = states(model, heard, batch_size=batch_size)
        for (values, times), whole in zip(found, expected, strict=True):
            assert values.dtype == np.float32 and len(values) == len(times) > 0
            if family != "whisper":
                assert len(values) == len(whole)
            np.testing.assert_allclose(values, whole[: len(values)], atol=1e-4)
    assert np.abs(np.diff(expected[3], axis=1)).max() > 0.1  # the layers differ


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_padded_unless_the_network_sees_it(models: Any, family: str) -> None:
    network = SpeechEncoder(model=models(family)).network_on("cpu")
    assert network.padded is PADDED.get(family, True)


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm-large", "data2vec"])
def test_34_seconds_are_read_in_one_go(models: Any, family: str) -> None:
    (long,) = signals(34 * RATE)
    (values, times), _ = states(models(family), [long, long[:RATE]])
    np.testing.assert_allclose(values, by_script(models(family), long), atol=1e-4)
    assert len(times) == 1699 and times[-1] == pytest.approx(1698 * 0.02 + 0.0125)


def test_layers_are_those_asked_for_and_one_alone_has_no_axis(models: Any) -> None:
    heard = signals(16000, 9000)
    everything = states(models("wavlm"), heard)
    some = states(models("wavlm"), heard, layers=[-1, 0])
    one = states(models("wavlm"), heard, layers=[1])
    for (whole, _), (two, _), (single, _) in zip(everything, some, one, strict=True):
        assert whole.shape[1:] == (LAYERS + 1, SIZE) and single.shape == (len(whole), SIZE)
        np.testing.assert_array_equal(two, whole[:, [LAYERS, 0]])
        np.testing.assert_array_equal(single, whole[:, 1])


# --- times ---------------------------------------------------------------------------------------


def test_a_step_is_at_the_middle_of_what_its_convolutions_see(models: Any) -> None:
    """Measured: the samples whose change changes a step before attention."""
    import torch

    network = SpeechEncoder(model=models("wav2vec2-large")).network_on("cpu")
    signal = torch.zeros(1, 4000)
    signal.requires_grad_()
    features = network.convolutions(signal)  # type: ignore[attr-defined]
    for step in (0, 7):
        (gradient,) = torch.autograd.grad(features[0, :, step].sum(), signal, retain_graph=True)
        seen = gradient[0].nonzero()[:, 0]
        middle = (int(seen[0]) + int(seen[-1]) + 1) / 2 / RATE
        assert network.times(8)[step] == pytest.approx(middle, abs=1e-12)
    assert network.times(2).tolist() == [FIELD / 2 / RATE, (STRIDE + FIELD / 2) / RATE]


def test_steps_of_sew_see_two_of_its_convolutions(models: Any) -> None:
    network = SpeechEncoder(model=models("sew")).network_on("cpu")
    assert network.stride == 640
    assert np.diff(network.times(3)).tolist() == pytest.approx([0.04, 0.04])


def test_a_click_is_at_the_time_of_whispers_steps(models: Any) -> None:
    """The spectrogram and both convolutions are centred, so step i sees around 0.02 i s."""
    silence = np.zeros(2 * RATE, np.float32)
    click = silence.copy()
    click[RATE] = 0.5
    (with_it, times), (without, _) = states(models("whisper"), [click, silence], layers=[0])
    changed = np.abs(with_it - without).max(axis=1)
    # the floor of the spectrogram, 8 below its maximum, changes everywhere
    own = np.abs(changed - np.median(changed)) > 1e-3
    assert 1 <= own.sum() <= 5
    assert times[own].mean() == pytest.approx(1.0, abs=1e-9)
    assert len(times) == 100 and times[-1] == pytest.approx(1.98)


# --- long utterances -----------------------------------------------------------------------------


def test_windows_of_whisper_are_joined_in_the_middle_of_overlaps(
    models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.features.speech_network.OVERLAP", 2.0)
    (long,) = signals(round(9.5 * RATE) + 7)
    window = round(WINDOW * RATE)
    ((values, times),) = states(models("whisper"), [long])
    assert len(values) == len(times) == 476  # a part of a step at the end is a step
    # the second window begins at 3.52 s, the first multiple of 0.02 s that reaches the end
    begin = 176
    first = by_script(models("whisper"), long[:window])
    second = by_script(models("whisper"), long[begin * STRIDE :])
    cut = (begin + 300) // 2
    np.testing.assert_allclose(values[:cut], first[:cut], atol=1e-4)
    np.testing.assert_allclose(values[cut:], second[cut - begin : 476 - begin], atol=1e-4)
    np.testing.assert_allclose(np.diff(times), 0.02)


def test_long_utterances_of_other_families_are_read_in_windows_of_40_s(models: Any) -> None:
    network = SpeechEncoder(model=models("hubert")).network_on("cpu")
    assert network.longest == LONGEST * RATE
    (long,) = signals(round(75.3 * RATE))
    ((values, _),) = states(models("hubert"), [long], layers=[-1])
    assert len(values) == (len(long) - FIELD) // STRIDE + 1
    begins = network.windows(len(long))
    assert len(begins) == 3 and all(begin % STRIDE == 0 for begin in begins)
    prepared = network.inputs(long)  # normalised as a whole
    middle = network.states([prepared[begins[1] :][: network.longest]], [LAYERS])[0][:, 0]
    at = begins[1] // STRIDE
    np.testing.assert_allclose(values[at + 900 : at + 1100], middle[900:1100], atol=1e-4)


@pytest.mark.parametrize("seconds", [40.0, 40.001, 55.0, 70.0, 70.001, 130.0, 3600.0])
def test_windows_cover_a_signal_and_overlap(models: Any, seconds: float) -> None:
    network = SpeechEncoder(model=models("hubert")).network_on("cpu")
    samples = round(seconds * RATE)
    begins = network.windows(samples)
    ends = [min(begin + network.longest, samples) for begin in begins]
    assert begins[0] == 0 and ends[-1] == samples
    assert all(
        end - begin >= 10 * RATE - 2 * STRIDE
        for begin, end in zip(begins[1:], ends[:-1], strict=True)
    )
    assert len(begins) == max(1, int(np.ceil((samples / RATE - 10) / 30)))


# --- pooling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "first"), [("wavlm", FIELD), ("whisper", 0)])
@pytest.mark.parametrize("pool", [0.02, 0.1, 0.25, 0.0333, 7.0])
def test_pooled_steps_are_means_of_windows(
    models: Any, family: str, first: int, pool: float
) -> None:
    heard = signals(1, 16000, 32123)
    plain, pooled = states(models(family), heard), states(models(family), heard, pool=pool)
    for (values, _), (found, times) in zip(plain, pooled, strict=True):
        windows: dict[int, list[int]] = {}
        for step in range(len(values)):  # in whole numbers: twice the sample in the middle
            middle = 2 * STRIDE * step + first
            windows.setdefault(middle // round(2 * pool * RATE), []).append(step)
        means = [values[steps].astype(np.float64).mean(axis=0) for steps in windows.values()]
        np.testing.assert_allclose(found, np.array(means), atol=1e-6)
        begins = [STRIDE * steps[0] for steps in windows.values()]
        ends = [STRIDE * steps[-1] + first for steps in windows.values()]
        expected = (np.array(begins) + np.array(ends)) / 2 / RATE
        np.testing.assert_allclose(times, expected, atol=1e-12)
        assert found.dtype == np.float32


def test_windows_shorter_than_a_step_are_an_error(models: Any) -> None:
    with pytest.raises(WeightsError, match=r"^pool: is 0.03 s, less than a step .*, 0.04 s"):
        states(models("sew"), [], pool=0.03)


# --- batches -------------------------------------------------------------------------------------


def test_batches_have_little_padding_and_bounded_size() -> None:
    lengths = (np.random.default_rng(0).lognormal(5, 0.8, 300)).astype(int).tolist()
    chosen = list(batches(lengths, most=16, room=2000, padded=True))
    assert sorted(index for batch in chosen for index in batch) == list(range(300))
    for batch in chosen:
        own = [lengths[index] for index in batch]
        whole = max(own) * len(own)
        assert len(batch) <= 16 and (whole <= 2000 or len(batch) == 1)
        assert whole - sum(own) <= 0.05 * whole
    assert len(chosen) < 150
    equal = list(batches(lengths, most=16, room=2000, padded=False))
    assert all(len({lengths[index] for index in batch}) == 1 for batch in equal)
    assert len(equal) < 300


def test_the_largest_batch_is_tried_at_its_length(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utterances = [recorded(tmp_path, noise(RATE * seconds)) for seconds in (1, 4, 2)]
    extractor = SpeechEncoder(model=models("hubert"), batch_size=8)
    network = extractor.network_on("cpu")
    tried: list[list[int]] = []

    def record(inputs: list[np.ndarray], layers: list[int]) -> list[np.ndarray]:
        tried.append([len(own) for own in inputs])
        return []

    monkeypatch.setattr(network, "states", record)
    extractor.trial(utterances, audio_context(tmp_path))
    # 16 s of a recording that is longer than its label by as much as is allowed
    assert tried == [[round(4.5 * RATE)] * 4]


def test_batches_of_whisper_are_of_whole_windows(
    models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second of speech takes as much memory as six of them: 16 s are two windows."""
    network = SpeechEncoder(model=models("whisper")).network_on("cpu")
    whole, sizes = network.states, []

    def counted(inputs: list[np.ndarray], layers: list[int]) -> list[np.ndarray]:
        sizes.append(len(inputs))
        return whole(inputs, layers)

    monkeypatch.setattr(network, "states", counted)
    assert len(states(models("whisper"), signals(*[RATE] * 5), batch_size=8)) == 5
    assert sizes == [2, 2, 1]


# --- the extractor -------------------------------------------------------------------------------


def read(extractor: SpeechEncoder, utterances: list[Utterance], root: Path) -> list[Steps]:
    return extractor.extract(utterances, {}, audio_context(root, rate=44100))


def test_recordings_are_read_at_the_rate_of_the_model(models: Any, tmp_path: Path) -> None:
    signal = noise(16000)
    utterances = [
        recorded(tmp_path, signal, start=3.0),
        Utterance("V", "D", 0.0, 1.0),
        Utterance("W", "D", 0.0, 1.0, audio=Source("gone.wav")),
        recorded(tmp_path, noise(8000), 8000),
    ]
    found = read(SpeechEncoder(model=models("wavlm"), layers=ALL), utterances, tmp_path)
    np.testing.assert_allclose(found[0].values, by_script(models("wavlm"), signal), atol=1e-4)
    shapes = [(49, LAYERS + 1, SIZE), (0, LAYERS + 1, SIZE), (0, LAYERS + 1, SIZE)]
    assert [steps.values.shape for steps in found] == [*shapes, shapes[0]]
    assert [len(steps.times) for steps in found if steps.times is not None] == [49, 0, 0, 49]
    assert found[0].times is not None and found[0].times[0] == 0.0125
    assert found[1].problem == "there is no recording of it"
    assert "gone.wav" in found[2].problem and not found[3].problem


def test_a_copy_sent_to_another_process_gives_the_same_bytes(models: Any, tmp_path: Path) -> None:
    utterances = [recorded(tmp_path, own) for own in signals(16000, 9000, 15000)]
    extractor = SpeechEncoder(model=models("wavlm"), pool=0.1)
    copy = pickle.loads(pickle.dumps(extractor))
    for one, other in zip(
        read(extractor, utterances, tmp_path), read(copy, utterances, tmp_path), strict=True
    ):
        assert one.values.tobytes() == other.values.tobytes()


def test_identity_names_what_decides_the_values_and_no_more(models: Any, tmp_path: Path) -> None:
    context = audio_context(tmp_path)
    extractor = SpeechEncoder(model=models("hubert"), layers=[1])
    identity = extractor.identity(context)
    assert identity["parameters"]["pool"] is None and identity["parameters"]["layers"] == [1]
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} == set(
        identity["weights"]
    )
    assert str(Path(models("hubert")).parent) not in str(identity)
    assert SpeechEncoder(model=models("hubert"), layers=[1], pool=0.1).identity(context) != identity
    # it reads at the rate of the model
    assert extractor.identity(audio_context(tmp_path, 8000)) == identity
    fewer = SpeechEncoder(model=models("hubert"), layers=[1], batch_size=4)
    assert fewer.identity(context) == identity
    assert fewer.provenance(context) != extractor.provenance(context)
    assert {"soxr", "torch", "transformers"} <= set(extractor.provenance(context)["versions"])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_close(models: Any, precision: str) -> None:
    heard = signals(16000, 15500, 9000)
    exact = states(models("hubert"), heard)
    for (values, _), (whole, _) in zip(
        states(models("hubert"), heard, precision=precision), exact, strict=True
    ):
        assert values.dtype == np.float32
        assert 0 < np.abs(values - whole).mean() < 0.1


# --- weights -------------------------------------------------------------------------------------


def tensors_of(model: str, folder: Path, change: Any) -> str:
    """A copy of a model whose tensors, by name, a function has changed."""
    from safetensors.torch import load_file, save_file

    for path in Path(model).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return str(folder)


def without(part: str) -> Any:
    return lambda tensors: {name: own for name, own in tensors.items() if part not in name}


@pytest.mark.parametrize(
    ("family", "part"), [("wavlm", "masked_spec_embed"), ("whisper", "decoder.")]
)
def test_weights_that_hidden_states_do_not_need_may_be_missing(
    models: Any, tmp_path: Path, family: str, part: str
) -> None:
    model = tensors_of(models(family), tmp_path, without(part))
    heard = signals(16000)
    np.testing.assert_array_equal(states(model, heard)[0][0], states(models(family), heard)[0][0])


def test_older_names_of_normalised_weights_are_read(models: Any, tmp_path: Path) -> None:
    """Of checkpoints that were saved before torch 2."""
    old = {"parametrizations.weight.original0": "weight_g"}
    old |= {"parametrizations.weight.original1": "weight_v"}

    def renamed(tensors: dict[str, Any]) -> dict[str, Any]:
        assert any(new in name for name in tensors for new in old)
        for new, name in old.items():
            tensors = {key.replace(new, name): own for key, own in tensors.items()}
        return tensors

    model = tensors_of(models("wavlm"), tmp_path, renamed)
    heard = signals(16000)
    np.testing.assert_array_equal(states(model, heard)[0][0], states(models("wavlm"), heard)[0][0])


@pytest.mark.parametrize("part", ["encoder.layers.1", "feature_extractor", "pos_conv_embed"])
def test_missing_weights_are_an_error_and_no_random_numbers(
    models: Any, tmp_path: Path, part: str
) -> None:
    model = tensors_of(models("wavlm"), tmp_path, without(part))
    with pytest.raises(WeightsError, match=rf"(?s)^model: the weights in {tmp_path} lack .*{part}"):
        states(model, [])


def test_a_model_that_is_no_speech_encoder_is_an_error(tmp_path: Path) -> None:
    import torch

    transformers = library()
    torch.manual_seed(0)
    transformers.ASTModel(
        transformers.ASTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    ).save_pretrained(tmp_path)
    transformers.ASTFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"^model: audio-spectrogram-transformer is no speech"):
        states(str(tmp_path), [], layers=[-1])


def test_a_layer_that_is_not_there_is_an_error(models: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"^layers: is 3, .* to {LAYERS}"):
        SpeechEncoder(model=models("whisper"), layers=[3]).prepare([], audio_context(tmp_path))


def test_a_model_without_a_preprocessor_is_an_error(models: Any, tmp_path: Path) -> None:
    tensors_of(models("hubert"), tmp_path, lambda tensors: tensors)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"^model: .* lacks preprocessor_config.json"):
        SpeechEncoder(model=str(tmp_path)).files()


def test_stereo_at_another_rate_is_mixed_and_resampled(models: Any, tmp_path: Path) -> None:
    time = np.arange(44100) / 44100
    tone = 0.2 * np.sin(2 * np.pi * 300 * time)
    soundfile.write(tmp_path / "a.wav", np.outer(tone, [1.5, 0.5]), 44100, subtype="FLOAT")
    utterance = Utterance("U", "D", 0.0, 1.0, audio=Source("a.wav"))
    (found,) = read(SpeechEncoder(model=models("hubert")), [utterance], tmp_path)
    same = (0.2 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)).astype(np.float32)
    expected = by_script(models("hubert"), same)[:, -1]
    np.testing.assert_allclose(found.values[5:-5], expected[5:-5], atol=0.05)
