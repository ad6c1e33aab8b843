"""Hidden states of a pretrained speech encoder, such as wav2vec2, HuBERT, WavLM or Whisper.

Baevski et al., "wav2vec 2.0", NeurIPS 2020; Hsu et al., "HuBERT", TASLP 2021; Chen et al., "WavLM",
JSTSP 2022; Radford et al., "Robust speech recognition via large-scale weak supervision", ICML 2023.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from pipeline.corpus.utterance import Utterance
from pipeline.features import hub, recording
from pipeline.features.batching import batches
from pipeline.features.extractor import Context, State, Steps
from pipeline.features.pretrained import WeightsError
from pipeline.features.speech_network import SpeechNetwork, speech_network
from pipeline.features.transformer import Transformer
from pipeline.params.types import Positive

_BATCHES = 4  # per group of dialogs, if one layer is read
_SECONDS = 2.0  # of speech in a batch, with padding, for each of `batch_size`


class SpeechEncoder(Transformer):
    """Hidden states of a speech encoder: [T, D], or [T, L, D].

    Recordings are read at the sampling rate of the model and normalised as its preprocessor says.
    A signal that is shorter than what one step sees is padded with zeros to one step. A signal of
    more than 40 s (Whisper: 30 s) is read in overlapping windows, which are joined in the middle of
    the overlaps. Whisper's windows are filled up with silence, whose steps are left out.

    The time of a step is the middle of what its convolutions see: 0.02 i + 0.0125 s for step i of
    most models, and 0.02 i s for Whisper, whose spectrogram is centred.

    Attributes
    ----------
    pool
        Seconds of the windows over which steps are averaged; null for none. A step is in the window
        of its time. The time of the average is the middle of what its steps see together.
    batch_size
        Utterances per batch. A batch has at most 2 s of speech for each, so that long utterances
        need no more memory; an utterance of more than that is a batch of its own.
    """

    kind: ClassVar = "sequence"
    version: ClassVar = 1
    also: ClassVar = hub.PREPROCESSOR
    # of training, and of Whisper's other half
    optional: ClassVar = ("masked_spec_embed", "decoder.")
    libraries: ClassVar = ("torch", "transformers", *recording.LIBRARIES)

    pool: Positive | None = None

    @property
    def group(self) -> int:
        """Several full batches, so that a batch can consist of utterances of similar length."""
        return self.batch_size * max(1, _BATCHES // len(self.layers))

    def network_on(self, device: str) -> SpeechNetwork:
        """The network, loaded once per process.

        Raises
        ------
        WeightsError
            If it is no speech encoder, or if its steps are longer than `pool`.
        """
        network = speech_network(self.net(device), self.loaded("AutoFeatureExtractor"))
        step = network.stride / network.rate
        if self.pool is not None and self.pool < step:
            raise WeightsError(f"pool: is {self.pool} s, less than a step of the model, {step} s")
        return network

    def trial(self, utterances: Sequence[Utterance], context: Context) -> None:
        """A batch of noise as long as the longest recording may be."""
        network = self.network_on(context.device)
        seconds = max((one.end - one.start for one in utterances if one.audio), default=0.0)
        seconds += recording.SLACK + recording.SLACK_SHARE * seconds
        samples = min(math.ceil(seconds * network.rate), network.longest)
        count = min(self.batch_size, math.ceil(self._room(network) / network.computed(samples)))
        noise = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
        network.states([network.inputs(noise)] * count, self.layer_numbers())

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """The steps of each utterance; none without a usable recording."""
        network = self.network_on(context.device)
        heard = list(recording.signals(utterances, context.root, network.rate))
        found = self.states([signal for _, signal, _ in heard], network)
        return [
            Steps(values, times, problem=problem)
            for (values, times), (_, _, problem) in zip(found, heard, strict=True)
        ]

    def states(
        self, signals: Sequence[np.ndarray], network: SpeechNetwork
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The steps of each signal; none of an empty one.

        Batches consist of windows of similar length. The states of a signal depend on the rest of
        its batch in their last bits only.

        Parameters
        ----------
        signals
            [samples] each, at the sampling rate of the network.

        Returns
        -------
        list of tuple
            Values [T, D] float32, or [T, L, D] of several layers, and times [T] in seconds.
        """
        layers = self.layer_numbers()
        nothing = np.zeros((0, len(layers), self.config().hidden_size), np.float32)
        found = [self._finished(nothing, network) for _ in signals]
        starts = [network.windows(len(signal)) if len(signal) else [] for signal in signals]
        pieces = [(row, start) for row, own in enumerate(starts) for start in own]
        lengths = [
            network.computed(min(len(signals[row]) - start, network.longest))
            for row, start in pieces
        ]
        parts: dict[tuple[int, int], np.ndarray] = {}
        for batch in self.batches(lengths, network):
            chosen = [pieces[index] for index in batch]
            inputs = [
                network.inputs(signals[row])[start : start + network.longest]
                for row, start in chosen
            ]
            parts |= zip(chosen, network.states(inputs, layers), strict=True)
            for row in {row for row, _ in chosen}:
                own = [(row, start) for start in starts[row]]
                if all(piece in parts for piece in own):
                    whole = network.joined(starts[row], [parts.pop(piece) for piece in own])
                    found[row] = self._finished(whole, network)
        return found

    def batches(self, lengths: Sequence[int], network: SpeechNetwork) -> Iterator[list[int]]:
        """The indices of each batch of windows of `lengths` steps."""
        return batches(
            lengths, most=self.batch_size, room=self._room(network), padded=network.padded
        )

    def _room(self, network: SpeechNetwork) -> int:
        """Steps that a batch may have."""
        return round(self.batch_size * _SECONDS * network.rate / network.stride)

    def _finished(
        self, states: np.ndarray, network: SpeechNetwork
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values and times from the states [T, L, D] of an utterance."""
        values, times = states, network.times(len(states))
        if self.pool is not None and len(values):
            # in half samples, since in seconds a time at the edge of a window may round to either
            moments = 2 * network.stride * np.arange(len(values)) + round(2 * network.first)
            firsts = np.flatnonzero(
                np.diff(moments // round(2 * self.pool * network.rate), prepend=-1)
            )
            counts = np.diff(firsts, append=len(values))
            sums = np.add.reduceat(values, firsts, axis=0, dtype=np.float64)
            values = (sums / counts[:, None, None]).astype(np.float32)
            times = (times[firsts] + times[firsts + counts - 1]) / 2
        return values[:, 0] if len(self.layers) == 1 else values, times
