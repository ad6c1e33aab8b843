"""Every model against an independent float64 NumPy computation of its equations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.models.amh import AMH
from pipeline.models.encoders import Encoder, reverse
from pipeline.models.hopping import Hopping
from pipeline.models.mdre import MDRE
from pipeline.models.mha import MHA
from pipeline.registry import MODELS

ORDER = ("audio", "text", "video")
INPUTS = {"audio": 5, "text": 4, "video": 6}
HIDDEN = {"audio": 3, "text": 7, "video": 4}
PROSODY = 2
CLASSES = 7
RAGGED = {"audio": [9, 1, 4, 6], "text": [3, 5, 2, 2], "video": [3, 2, 6, 1]}
SETS = [set(chosen) for size in (1, 2, 3) for chosen in combinations(ORDER, size)]
# each model with each set of modalities it is defined for
CASES = [
    (name, sorted(modalities))
    for name, registered in MODELS.items()
    for modalities in SETS
    if len(modalities) in registered.modalities and not registered.pooled
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bidirectional": True},
    {"layers": 2},
    {"layers": 2, "bidirectional": True},
    {"joined": True},
    {"joined": True, "bidirectional": True},
    {"joined": True, "bidirectional": True, "summary": "statistics"},
    {"convolutions": {"audio": 2, "text": 1}, "batch_norm": True},
    {"input_statistics": True, "summary_dropout": 0.5},
]


def make(name: str, modalities: Sequence[str] = ORDER, hops: int = 3, **options: Any) -> Hopping:
    torch.manual_seed(hops)
    if MODELS[name].hops:
        options["hops"] = hops
    if options.pop("joined", False) and "audio" in modalities:
        options["joined"] = {"audio": PROSODY}
    inputs = {modality: INPUTS[modality] for modality in modalities}
    return MODELS[name].load()(inputs, HIDDEN, CLASSES, **options).eval()


def batch(lengths: dict[str, list[int]], seed: int = 0):
    """Random ragged sequences and prosody; the padding holds garbage on purpose."""
    random = np.random.default_rng(seed)
    sequences = {
        name: torch.tensor(
            random.normal(size=(len(n), max([*n, 1]), INPUTS[name])), dtype=torch.float32
        )
        for name, n in lengths.items()
    }
    counts = {name: torch.tensor(n) for name, n in lengths.items()}
    size = len(next(iter(lengths.values())))
    prosody = torch.tensor(random.normal(size=(size, PROSODY)), dtype=torch.float32)
    return sequences, counts, {"audio": prosody} if "audio" in lengths else {}


def feed(model: Hopping, lengths: dict[str, list[int]], **options: Any) -> Any:
    """The model's output on a random batch, with prosody if it was made for that."""
    sequences, counts, joined = batch({name: lengths[name] for name in model.modalities})
    states: Any = [encoder.width for encoder in model.encoders.values()]
    each = 2 if model.with_deviation else 1
    statistics = 2 * sum(INPUTS[name] for name in model.modalities)
    bare = each * sum(states) + (statistics if model.input_statistics else 0)
    takes_prosody = model.classifier.in_features > bare
    return model(sequences, counts, joined if takes_prosody else None, **options)


# --- the independent computation -----------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def one_way(module: Any, x: np.ndarray, suffix: str) -> np.ndarray:
    """[T, D] to the states [T, H], step by step, by the equations of the GRU."""
    w_in, w_state, b_in, b_state = (
        getattr(module, f"{name}_{suffix}").detach().double().numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    size = w_state.shape[1]
    state, states = np.zeros(size), []
    for step in x:
        a, c = w_in @ step + b_in, w_state @ state + b_state
        reset = sigmoid(a[:size] + c[:size])
        update = sigmoid(a[size : 2 * size] + c[size : 2 * size])
        new = np.tanh(a[2 * size :] + reset * c[2 * size :])
        state = (1 - update) * new + update * state
        states.append(state)
    return np.array(states).reshape(len(x), size)


def convolve(layer: Any, x: np.ndarray) -> np.ndarray:
    """[T, D] to [T, C]: a kernel of five steps, running statistics, ReLU."""
    weight, bias, scale, shift, mean, variance = (
        value.detach().double().numpy()
        for value in (
            *(layer.convolution.weight, layer.convolution.bias),
            *(layer.norm.weight, layer.norm.bias),
            *(layer.norm.running_mean, layer.norm.running_var),
        )
    )
    padded = np.pad(x, ((2, 2), (0, 0)))
    found = np.array([np.einsum("cdk,kd->c", weight, padded[t : t + 5]) for t in range(len(x))])
    normalised = (found + bias - mean) / np.sqrt(variance + 1e-5)
    return np.maximum(scale * normalised + shift, 0)


def gru(module: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[T, D] to the states [T, H] of all layers and directions, and the last state [H]."""
    for layer in range(module.num_layers):
        states = one_way(module, x, f"l{layer}")
        last = states[-1]
        if module.bidirectional:
            backwards = one_way(module, x[::-1], f"l{layer}_reverse")[::-1]
            last = np.concatenate([last, backwards[0]])
            states = np.concatenate([states, backwards], axis=1)
        x = states
    return x, last


def linear(module: Any, x: np.ndarray) -> np.ndarray:
    return module.weight.detach().double().numpy() @ x + module.bias.detach().double().numpy()


def route(name: str, modalities: list[str], hops: int) -> list[tuple[str, list[str]]]:
    """Target and context of each hop, as docs/models.md states them."""
    present = [modality for modality in ORDER if modality in modalities]
    if name == "mdre":
        return []
    if name == "mha":
        return [
            ((present[1], [present[0]]), (present[0], [present[1]]))[k % 2] for k in range(hops)
        ]
    turns = [modality for modality in ("video", "audio", "text") if modality in present]
    targets = [turns[k % len(turns)] for k in range(hops)]
    return [
        (target, [other for other in present if other != target] or [target]) for target in targets
    ]


def pool(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """[T] weights and [T, H] states to their weighted mean and standard deviation, [2 H]."""
    mean = weights @ x
    return np.concatenate([mean, np.sqrt(weights @ (x - mean) ** 2)])


def reference(
    name: str, model: Hopping, utterance: dict[str, np.ndarray], prosody: np.ndarray | None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits and hop weights of one utterance; prosody is joined to every state of the audio."""
    states, summary = {}, {}
    for modality, x in utterance.items():
        encoder: Any = model.encoders[modality]
        encoded = x
        for layer in encoder.convolutions:
            encoded = convolve(layer, encoded)
        states[modality], summary[modality] = gru(encoder.gru, encoded)
        if model.with_deviation:
            summary[modality] = pool(np.full(len(x), 1 / len(x)), states[modality])
        if modality == "audio" and prosody is not None:
            summary[modality] = np.concatenate([summary[modality], prosody])
            if not model.with_deviation:
                repeated = np.tile(prosody, (len(x), 1))
                states[modality] = np.concatenate([states[modality], repeated], axis=1)
    weights = []
    steps = route(name, model.modalities, len(model.hops))
    for hop, (target, context) in zip(model.hops, steps, strict=True):
        query = linear(hop.projection, np.concatenate([summary[other] for other in context]))
        score = states[target][:, : len(query)] @ query
        score = np.exp(score - score.max())
        weights.append(score / score.sum())
        summary[target] = weights[-1] @ states[target]
        if model.with_deviation:
            summary[target] = pool(weights[-1], states[target])
            if target == "audio" and prosody is not None:
                summary[target] = np.concatenate([summary[target], prosody])
    parts = [summary[modality] for modality in model.modalities]
    if model.input_statistics:
        inputs = [utterance[modality] for modality in model.modalities]
        parts += [pool(np.full(len(x), 1 / len(x)), x) for x in inputs]
    joined = np.concatenate(parts)
    if isinstance(model.norm, torch.nn.BatchNorm1d):  # running statistics of 0 and 1
        joined = joined / np.sqrt(1 + 1e-5)
    return linear(model.classifier, joined), weights


def compare(name: str, model: Hopping, with_prosody: bool = False) -> None:
    """The model on a ragged batch against the reference on each utterance alone."""
    sequences, lengths, joined = batch(
        {modality: RAGGED[modality] for modality in model.modalities}
    )
    given = joined if with_prosody and "audio" in model.modalities else None
    with torch.inference_mode():
        logits, weights = model(sequences, lengths, given, attention=True)
    assert len(weights) == len(model.targets)
    for row in range(4):
        utterance = {
            modality: x[row, : lengths[modality][row]].double().numpy()
            for modality, x in sequences.items()
        }
        prosody = given["audio"][row].double().numpy() if given else None
        expected, expected_weights = reference(name, model, utterance, prosody)
        np.testing.assert_allclose(logits[row].numpy(), expected, atol=1e-5)
        for found, wanted in zip(weights, expected_weights, strict=True):
            np.testing.assert_allclose(found[row, : len(wanted)].numpy(), wanted, atol=1e-5)
            assert (found[row, len(wanted) :] == 0).all()


@pytest.mark.parametrize(("name", "modalities"), CASES)
@pytest.mark.parametrize("options", OPTIONS)
def test_forward_equals_the_equations(
    name: str, modalities: list[str], options: dict[str, Any]
) -> None:
    compare(name, make(name, modalities, **options), options.get("joined", False))


@pytest.mark.parametrize("name", ["amh", "mha"])
@pytest.mark.parametrize("hops", [1, 2, 4, 7, 9])
@pytest.mark.parametrize("share_hops", [False, True])
def test_any_number_of_hops_own_or_shared(name: str, hops: int, share_hops: bool) -> None:
    modalities = ORDER if name == "amh" else ("audio", "text")
    compare(name, make(name, modalities, hops, share_hops=share_hops))


def test_batch_norm_standardises_the_summaries_over_the_batch() -> None:
    """In training by the batch's own statistics, a batch of one and evaluation by running ones."""
    model = make("amh", batch_norm=True)
    norm: Any = model.norm
    found: list[torch.Tensor] = []
    norm.register_forward_hook(lambda _, inputs, output: found.extend([*inputs, output]))
    model.train()
    feed(model, RAGGED)
    values, normalised = (tensor.detach().double().numpy() for tensor in found)
    variance = values.var(axis=0)
    expected = (values - values.mean(axis=0)) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(normalised, expected, atol=1e-4)
    np.testing.assert_allclose(norm.running_mean, 0.1 * values.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(norm.running_var, 0.9 + 0.1 * values.var(axis=0, ddof=1), atol=1e-5)
    one = torch.from_numpy(values[:1]).float()
    before = norm.running_mean.clone()
    in_training = norm(one)
    torch.testing.assert_close(norm.running_mean, before)
    torch.testing.assert_close(in_training, norm.eval()(one))


# --- behaviour -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2])
def test_a_two_way_encoder_equals_packed_sequences(layers: int) -> None:
    """Outputs, last states and gradients, against nn.GRU on packed sequences."""
    torch.manual_seed(0)
    encoder = Encoder(5, 4, layers=layers, bidirectional=True)
    sequence, lengths = torch.randn(4, 7, 5), torch.tensor([7, 3, 1, 5])
    steps, last = encoder(sequence, lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        sequence, lengths, batch_first=True, enforce_sorted=False
    )
    outputs, states = encoder.gru(packed)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    valid = (torch.arange(7) < lengths[:, None])[:, :, None]
    torch.testing.assert_close(steps * valid, expected)
    torch.testing.assert_close(last, torch.cat([states[-2], states[-1]], dim=1))
    found = torch.autograd.grad(
        (steps * valid).square().sum() + last.sum(), list(encoder.parameters())
    )
    wanted = torch.autograd.grad(
        expected.square().sum() + states[-2:].sum(), list(encoder.parameters())
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_reversal_stays_within_the_length() -> None:
    sequence = torch.arange(10.0).reshape(2, 5, 1)
    assert reverse(sequence, torch.tensor([3, 0])).squeeze(2).tolist() == [
        [2, 1, 0, 3, 4],
        [5, 6, 7, 8, 9],
    ]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("name", "modalities"), [("amh", ORDER), ("mha", ("audio", "video"))])
def test_padding_never_changes_a_result(
    name: str, modalities: tuple[str, ...], options: dict[str, Any]
) -> None:
    model = make(name, modalities, **options)
    sequences, lengths, joined = batch({modality: RAGGED[modality] for modality in modalities})
    given = joined if options.get("joined") else {}
    with torch.inference_mode():
        together = model(sequences, lengths, given)
        for row in range(4):
            alone = model(
                {key: x[row : row + 1, : lengths[key][row]] for key, x in sequences.items()},
                {key: n[row : row + 1] for key, n in lengths.items()},
                {key: p[row : row + 1] for key, p in given.items()},
            )
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)


def test_shared_hops_have_one_projection_a_target() -> None:
    assert len({id(hop) for hop in make("amh", hops=7, share_hops=True).hops}) == 3
    assert len({id(hop) for hop in make("amh", hops=7).hops}) == 7
    assert len({id(hop) for hop in make("mha", ("audio", "text"), 5, share_hops=True).hops}) == 2


@pytest.mark.parametrize(("name", "modalities"), CASES)
@pytest.mark.parametrize("options", OPTIONS)
def test_a_missing_modality_is_zeros_whatever_its_padding_and_never_nan(
    name: str, modalities: list[str], options: dict[str, Any]
) -> None:
    """Row 0 lacks one modality, row 1 has nothing at all."""
    model = make(name, modalities, **options)
    for missing in modalities:
        lengths = {key: [n[0], 0, *n[2:]] for key, n in RAGGED.items() if key in modalities}
        lengths[missing][0] = 0
        sequences, counts, joined = batch(lengths)
        given = joined if options.get("joined") else {}
        logits, weights = model(sequences, counts, given, attention=True)
        logits.square().sum().backward()
        assert torch.isfinite(logits).all()
        for target, weight in zip(model.targets, weights, strict=True):
            assert torch.isfinite(weight).all()
            assert (weight[counts[target] == 0] == 0).all()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        torch.testing.assert_close(logits[1], model.classifier.bias)
        sequences[missing][0] += 100.0
        if missing in given:
            given[missing][0] += 100.0
        torch.testing.assert_close(model(sequences, counts, given)[0], logits[0])


@pytest.mark.parametrize(("name", "modalities"), CASES)
@pytest.mark.parametrize("options", [*OPTIONS, {"share_hops": True}])
def test_every_parameter_gets_a_gradient(
    name: str, modalities: list[str], options: dict[str, Any]
) -> None:
    if "share_hops" in options and not MODELS[name].hops:
        options = {}
    model = make(name, modalities, hops=7, **options)
    torch.nn.functional.cross_entropy(feed(model, RAGGED), torch.tensor([0, 1, 2, 3])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), key


@pytest.mark.parametrize(("name", "modalities"), [case for case in CASES if len(case[1]) > 1])
def test_each_model_overfits_32_utterances(name: str, modalities: list[str]) -> None:
    """Noise, so that only memory can bring every one of them home."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    options = {"hops": 3} if MODELS[name].hops else {}
    inputs = {modality: INPUTS[modality] for modality in modalities}
    model = MODELS[name].load()(inputs, dict.fromkeys(ORDER, 24), CLASSES, **options)
    lengths = {modality: random.integers(1, 9, 32).tolist() for modality in modalities}
    sequences, counts, _ = batch(lengths)
    truth = torch.tensor(random.integers(0, CLASSES, 32))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        logits = model(sequences, counts)
        if (logits.argmax(dim=1) == truth).all():
            break
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, truth).backward()
        optimiser.step()
    assert (logits.argmax(dim=1) == truth).all()


def test_options_are_off_unless_asked_for() -> None:
    model: Any = AMH(INPUTS, HIDDEN, CLASSES, 4)
    assert not any(encoder.gru.bidirectional for encoder in model.encoders.values())
    assert isinstance(model.norm, torch.nn.Identity)
    assert len(set(map(id, model.hops))) == 4


def test_impossible_models_are_refused() -> None:
    with pytest.raises(ValueError, match="hops must be at least 1"):
        AMH(INPUTS, HIDDEN, 7, 0)
    with pytest.raises(ValueError, match="modalities must be some of"):
        AMH({"smell": 3}, {"smell": 3}, 7, 1)
    with pytest.raises(ValueError, match="modalities must be some of"):
        MDRE({}, {}, 7)
    with pytest.raises(ValueError, match="MHA is defined for two modalities, not 3"):
        MHA(INPUTS, HIDDEN, 7, 1)
