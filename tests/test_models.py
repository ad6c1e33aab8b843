"""AMH against an independent float64 NumPy computation of its equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.models.amh import AMH

INPUTS = {"audio": 5, "text": 4, "video": 6}
HIDDEN = {"audio": 3, "text": 7, "video": 4}
CLASSES = 7


def make(hops: int, modalities: tuple[str, ...] = ("audio", "text", "video"), **options) -> AMH:
    torch.manual_seed(hops)
    model = AMH({name: INPUTS[name] for name in modalities}, HIDDEN, CLASSES, hops, **options)
    return model.eval()


def batch(lengths: dict[str, list[int]], seed: int = 0):
    """Random ragged sequences; the padding holds garbage on purpose."""
    random = np.random.default_rng(seed)
    sequences = {
        name: torch.tensor(
            random.normal(size=(len(n), max([*n, 1]), INPUTS[name])), dtype=torch.float32
        )
        for name, n in lengths.items()
    }
    return sequences, {name: torch.tensor(n) for name, n in lengths.items()}


RAGGED = {"audio": [9, 1, 4, 6], "text": [3, 5, 1, 2], "video": [1, 2, 6, 1]}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gru(module: Any, x: np.ndarray) -> np.ndarray:
    """[T, D] to the states [T, H], step by step, by the equations of the GRU."""
    w_in, w_state, b_in, b_state = (
        getattr(module, name).detach().double().numpy()
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
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


def linear(module: Any, x: np.ndarray) -> np.ndarray:
    return module.weight.detach().double().numpy() @ x + module.bias.detach().double().numpy()


def reference(model: AMH, utterance: dict[str, np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits and hop weights of one utterance of three modalities, as design and paper state it."""
    h = {name: gru(model.encoders[name].gru, x) for name, x in utterance.items()}
    summary = {name: states[-1] for name, states in h.items()}
    weights = []
    for number, hop in enumerate(model.hops):
        target = ("video", "audio", "text")[number % 3]
        others = [name for name in ("audio", "text", "video") if name != target]
        query = linear(hop.projection, np.concatenate([summary[name] for name in others]))
        score = np.exp(h[target] @ query - (h[target] @ query).max())
        weights.append(score / score.sum())
        summary[target] = weights[-1] @ h[target]
    joined = np.concatenate([summary[name] for name in ("audio", "text", "video")])
    return linear(model.classifier, joined), weights


@pytest.mark.parametrize("hops", range(1, 8))
@pytest.mark.parametrize("share_hops", [False, True])
def test_forward_equals_the_equations(hops: int, share_hops: bool) -> None:
    model = make(hops, share_hops=share_hops)
    sequences, lengths = batch(RAGGED)
    with torch.inference_mode():
        logits, weights = model(sequences, lengths, attention=True)
    assert len(weights) == hops
    for row in range(4):
        utterance = {
            name: sequences[name][row, : lengths[name][row]].double().numpy() for name in sequences
        }
        expected, expected_weights = reference(model, utterance)
        np.testing.assert_allclose(logits[row].numpy(), expected, atol=1e-5)
        for found, wanted in zip(weights, expected_weights, strict=True):
            np.testing.assert_allclose(found[row, : len(wanted)].numpy(), wanted, atol=1e-5)
            assert (found[row, len(wanted) :] == 0).all()


@pytest.mark.parametrize("hops", [1, 3, 7])
def test_padding_never_changes_a_result(hops: int) -> None:
    model = make(hops)
    sequences, lengths = batch(RAGGED)
    with torch.inference_mode():
        together = model(sequences, lengths)
        for row in range(4):
            alone = model(
                {name: x[row : row + 1, : lengths[name][row]] for name, x in sequences.items()},
                {name: n[row : row + 1] for name, n in lengths.items()},
            )
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)


def test_shared_hops_have_one_projection_a_target() -> None:
    model = make(7, share_hops=True)
    assert len({id(hop.projection) for hop in model.hops}) == 3
    assert len({id(hop.projection) for hop in make(7).hops}) == 7


@pytest.mark.parametrize("missing", ["audio", "text", "video"])
def test_a_missing_modality_gives_no_nan_and_does_not_depend_on_its_padding(missing: str) -> None:
    model = make(7)
    lengths = {**RAGGED, missing: [0, 0, 2, 1]}
    sequences, counts = batch(lengths)
    logits, weights = model(sequences, counts, attention=True)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(weight).all() for weight in weights)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    sequences[missing][0] += 100.0
    torch.testing.assert_close(model(sequences, counts)[0], logits[0])


@pytest.mark.parametrize("modalities", [("audio",), ("text", "video"), ("audio", "video")])
def test_fewer_modalities_hop_among_those(modalities: tuple[str, ...]) -> None:
    model = make(4, modalities)
    assert set(model.targets) == set(modalities)
    sequences, lengths = batch({name: RAGGED[name] for name in modalities})
    assert model(sequences, lengths).shape == (4, CLASSES)


def test_every_parameter_gets_a_gradient() -> None:
    model = make(7)
    torch.nn.functional.cross_entropy(model(*batch(RAGGED)), torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_impossible_models_are_refused() -> None:
    with pytest.raises(ValueError, match="hops must be at least 1"):
        make(0)
    with pytest.raises(ValueError, match="modalities must be some of"):
        AMH({"smell": 3}, {"smell": 3}, 7, 1)
