"""Speech networks of transformers, run so that an utterance does not depend on its batch.

There are two kinds. Networks of the wav2vec2 family (also HuBERT, WavLM, data2vec-audio, UniSpeech,
SEW) read samples by convolutions. Whisper's encoder reads the log-mel spectrogram of 30 s.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.features.pretrained import WeightsError
from pipeline.system.compute import inference

if TYPE_CHECKING:
    import torch

LONGEST = 40.0  # seconds that a network of the wav2vec2 family reads at once
OVERLAP = 10.0  # seconds at least that windows of a longer utterance share

# steps of noise that show whether a network sees padding; SEW does only after a part of a step
_TRIAL = (9.0, 5.0, 5.34, 5.67)
_SEES_PADDING = 1e-4  # of the deviation; rounding of float32 is about 1e-6 of it


class SpeechNetwork(ABC):
    """A speech network on a device.

    Attributes
    ----------
    network
        The encoder.
    rate
        Samples per second of its input.
    stride
        Samples from one step to the next.
    first
        The middle of what step 0 sees, in samples.
    longest
        Samples that it reads at once; a multiple of the stride.
    padded
        Whether utterances of a batch may differ in length.
    """

    rate: int
    stride: int
    first: float
    longest: int
    padded: bool

    def __init__(self, network: Any, prepare: Any) -> None:
        self.network = network
        self.prepare = prepare
        self.rate = prepare.sampling_rate

    @abstractmethod
    def steps(self, samples: int) -> int:
        """The number of steps of a signal of at least one sample."""

    def computed(self, samples: int) -> int:
        """The number of steps that it computes for a signal; some may be dropped."""
        return self.steps(samples)

    @abstractmethod
    def inputs(self, signal: np.ndarray) -> np.ndarray:
        """The input of the network for a whole signal, by the model's own normalisation."""

    @abstractmethod
    def states(self, inputs: Sequence[np.ndarray], layers: Sequence[int]) -> list[np.ndarray]:
        """Hidden states of some layers, [T, L, D] float32 for each input of a batch."""

    def times(self, count: int) -> np.ndarray:
        """The middle of what each of `count` steps sees, in seconds."""
        return (self.stride * np.arange(count) + self.first) / self.rate

    def windows(self, samples: int) -> list[int]:
        """The first sample of each window of a signal, at multiples of the stride.

        A signal of up to :attr:`longest` samples is one window. Windows of a longer one are
        equally spaced, the last one ends with the signal, and neighbours share at least
        :data:`OVERLAP` seconds.
        """
        more = samples - self.longest
        if more <= 0:
            return [0]
        gaps = math.ceil(more / (self.longest - OVERLAP * self.rate))
        return [math.ceil(n * more / (gaps * self.stride)) * self.stride for n in range(gaps + 1)]

    def joined(self, windows: Sequence[int], states: Sequence[np.ndarray]) -> np.ndarray:
        """The states of a signal from those of its windows, joined in the middle of overlaps."""
        firsts = [start // self.stride for start in windows]
        ends = [first + len(own) for first, own in zip(firsts, states, strict=True)]
        cuts = [(first + end) // 2 for first, end in zip(firsts[1:], ends[:-1], strict=True)]
        return np.concatenate(
            [
                own[begin - first : end - first]
                for own, first, begin, end in zip(
                    states, firsts, [0, *cuts], [*cuts, ends[-1]], strict=True
                )
            ]
        )

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        import torch

        return torch.from_numpy(array).to(self.network.device, self.network.dtype)

    def _hidden(self, values: torch.Tensor, layers: Sequence[int], **options: Any) -> np.ndarray:
        """Hidden states [B, T, L, D] float32 of the input of the network."""
        import torch

        with warnings.catch_warnings():
            # of WavLM's own attention, and torch: mask and bias are of different types
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            hidden = self.network(values, output_hidden_states=True, **options).hidden_states
        return torch.stack([hidden[layer] for layer in layers], dim=2).float().cpu().numpy()


class Convolutional(SpeechNetwork):
    """A network that reads samples by convolutions, such as wav2vec2.

    Convolutions run on each utterance alone: some normalise over time, and would see padding. The
    rest runs on padded batches with a mask, unless a trial shows that it sees padding in spite of
    the mask, as that of data2vec-audio does; its batches are of equal length.
    """

    def __init__(self, network: Any, prepare: Any) -> None:
        super().__init__(network, prepare)
        import torch

        config = network.config
        # what follows the convolutions in the network's own forward gets their results
        self.convolutions, network.feature_extractor = (
            network.feature_extractor,
            torch.nn.Identity(),
        )
        squeeze = getattr(config, "squeeze_factor", 1)  # of SEW: its layers see means of steps
        self.layers = [*zip(config.conv_kernel, config.conv_stride, strict=True)]
        self.layers += [(squeeze, squeeze)]
        field = self.stride = 1
        for kernel, stride in self.layers:
            field += (kernel - 1) * self.stride
            self.stride *= stride
        self.field, self.first = field, field / 2
        self.longest = round(LONGEST * self.rate) // self.stride * self.stride
        self.padded = not self._sees_padding()

    def steps(self, samples: int) -> int:
        return max(samples - self.field, 0) // self.stride + 1

    def inputs(self, signal: np.ndarray) -> np.ndarray:
        """[samples] float32, with zeros up to the length that one step sees."""
        whole = np.pad(signal, (0, max(self.field - len(signal), 0)))
        return self.prepare(whole, sampling_rate=self.rate, return_tensors="np").input_values[0]

    def states(self, inputs: Sequence[np.ndarray], layers: Sequence[int]) -> list[np.ndarray]:
        import torch

        with inference():
            features = [self.convolutions(self._tensor(own)[None])[0].T for own in inputs]
            samples = torch.tensor([len(own) for own in inputs], device=self.network.device)
            padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
            # the network itself counts steps by the sum of a mask of samples
            mask = None if len({*map(len, features)}) == 1 else samples[:, None]
            values = self._hidden(padded.transpose(1, 2), layers, attention_mask=mask)
        return [own[: self.steps(len(one))] for own, one in zip(values, inputs, strict=True)]

    def _sees_padding(self) -> bool:
        """Whether states of noise in a padded batch are other than those of the noise alone."""
        import torch

        network, dtype = self.network, self.network.dtype
        self._compute_in(torch.float32)  # rounding in half precision would hide it
        rng = np.random.default_rng(0)
        noise = [
            rng.standard_normal(self.field + int(self.stride * (steps - 1))).astype(np.float32)
            for steps in _TRIAL
        ]
        last = [network.config.num_hidden_layers]
        together = self.states(noise, last)
        alone = [self.states([one], last)[0] for one in noise]
        self._compute_in(dtype)
        return any(
            np.abs(one - other).max() > _SEES_PADDING * other.std()
            for one, other in zip(together, alone, strict=True)
        )

    def _compute_in(self, dtype: torch.dtype) -> None:
        self.network.to(dtype)
        self.convolutions.to(dtype)


class Whisper(SpeechNetwork):
    """Whisper's encoder: windows of 30 s of the log-mel spectrogram, filled up with silence.

    Step i sees the spectrogram around the sample i * stride. All inputs have the same length.
    """

    first = 0.0
    padded = True

    def __init__(self, network: Any, prepare: Any) -> None:
        super().__init__(network, prepare)
        self.stride = 2 * prepare.hop_length
        self.longest = network.config.max_source_positions * self.stride

    def steps(self, samples: int) -> int:
        return math.ceil(samples / self.stride)

    def computed(self, samples: int) -> int:
        return self.longest // self.stride

    def inputs(self, signal: np.ndarray) -> np.ndarray:
        return signal

    def states(self, inputs: Sequence[np.ndarray], layers: Sequence[int]) -> list[np.ndarray]:
        mel = self.prepare(
            list(inputs), sampling_rate=self.rate, max_length=self.longest, return_tensors="np"
        ).input_features
        with inference():
            values = self._hidden(self._tensor(mel), layers)
        return [own[: self.steps(len(one))] for own, one in zip(values, inputs, strict=True)]


@cache
def speech_network(network: Any, prepare: Any) -> SpeechNetwork:
    """A loaded network as a :class:`SpeechNetwork`.

    Raises
    ------
    WeightsError
        If it is of neither kind.
    """
    config = network.config
    if hasattr(config, "conv_kernel") and hasattr(network, "feature_extractor"):
        return Convolutional(network, prepare)
    if hasattr(config, "max_source_positions") and hasattr(prepare, "hop_length"):
        network.decoder = None  # not used, and half of the weights
        return Whisper(network.encoder, prepare)
    raise WeightsError(
        f"model: {config.model_type} is no speech encoder that is known here: neither one with "
        "convolutions over samples, such as wav2vec2, HuBERT and WavLM, nor Whisper"
    )
