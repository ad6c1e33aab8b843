"""Speed of a text encoder against one utterance at a time, in subword tokens per second.

``python -m benchmarks.text`` runs on an embedded corpus and prints JSON and a Markdown table. It
times the extraction of the stage `text` on all cores, with GloVe ids, vocabulary and all that it
writes. The time in which its processes start and load the model (``start_s``) is measured on a few
short texts per process and subtracted, since a corpus pays it once. The encoder has the size of
BERT-base and random weights, and the texts have IEMOCAP's lengths. Four dialogs of the embedded
corpus are merged into one, since a dialog of IEMOCAP has 67 utterances. The plain loop tokenizes
one utterance at a time and runs the same model on it, with torch's default number of threads. The
hidden states of both are compared.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import release
from benchmarks.extraction import RELEASE, Task, command, extracted, race, stream_of
from pipeline import params
from pipeline.features.extractor import Context
from pipeline.features.glove import Glove
from pipeline.features.text_encoder import TextEncoder
from pipeline.features.transformer import library
from pipeline.features.words import normalise
from pipeline.system import compute


def measure(rows: pd.DataFrame, corpus: Path, repeat: int) -> dict[str, float]:
    """Return the number of tokens, the tokens per second of both ways, and the share of padding."""
    lengths = release.durations(np.random.default_rng(0), len(rows))
    rows = rows.assign(text=list(map(release.sentence, range(len(rows)), lengths)))
    with tempfile.TemporaryDirectory() as folder:
        return _measure(rows, corpus, repeat, folder)


def _measure(rows: pd.DataFrame, corpus: Path, repeat: int, folder: str) -> dict[str, float]:
    import torch

    settings = params.load()
    text, device = settings.text, str(compute.device(settings.compute.device))
    name, packaged = stream_of(text.streams, TextEncoder)
    vectors, glove = stream_of(text.streams, Glove)
    glove = glove.model_copy(update={"vectors": str(corpus / "glove.embedded.300d.txt")})
    context = Context(corpus / RELEASE, device, text)
    torch.manual_seed(0)
    library().BertModel(library().BertConfig()).save_pretrained(folder)
    packaged.tokenizer.save_pretrained(folder)
    bert = TextEncoder(model=folder)
    tokenizer, model, cores = bert.tokenizer, bert.net(device), compute.processes(0)

    def one_by_one() -> list[np.ndarray]:
        torch.set_num_threads(cores)  # the extraction sets one
        states = []
        for words in rows["text"]:
            batch = tokenizer(normalise(words, text.marks), return_tensors="pt").to(device)
            hidden = model(**batch, output_hidden_states=True).hidden_states[-1]
            states.append(hidden[0, 1:-1].cpu().numpy())  # without [CLS] and [SEP]
        return [np.concatenate(states)]

    smallest = bert.model_copy(update={"batch_size": 1})
    few = rows.iloc[: cores * smallest.group].assign(text="yes")
    few = few.assign(dialog=[f"{n // smallest.group:05d}" for n in range(len(few))])
    extraction = partial(extracted, "text", context=context, workers=cores)
    tasks: dict[str, Task] = {
        "one_by_one": one_by_one,
        "start": partial(extraction, {name: smallest}, few),
        "extraction": partial(extraction, {name: bert, vectors: glove}, rows),
    }
    with torch.inference_mode():
        seconds, states = race(tasks, repeat)
    np.testing.assert_allclose(states["extraction"][0], states["one_by_one"][0], atol=1e-4)
    tokens = len(states["extraction"][0])
    seconds["extraction"] -= (start := seconds.pop("start"))
    return {
        "cores": cores,
        "tokens": tokens,
        "start_s": round(start, 1),
        **{f"{name}_per_s": round(tokens / taken) for name, taken in seconds.items()},
        "times_one_by_one": round(seconds["one_by_one"] / seconds["extraction"], 2),
        "% padding": round(100 * _padding(bert, rows, context), 1),
    }


def _padding(bert: TextEncoder, rows: pd.DataFrame, context: Context) -> float:
    """The share of tokens in batches that is padding, in groups as of the extraction."""
    texts = [normalise(words, context.shared.marks) for words in rows["text"]]
    tokens = in_batches = 0
    for first in range(0, len(texts), bert.group):
        encoded = bert.encode(texts[first : first + bert.group], context.device)
        for batch in bert.batches(encoded):
            lengths = [len(encoded[i].ids) for i in batch]
            tokens += sum(lengths)
            in_batches += max(lengths) * len(lengths)
    return 1 - tokens / in_batches


main = partial(command, "text", __doc__, measure, dialogs=60, joined=4)

if __name__ == "__main__":
    main()
