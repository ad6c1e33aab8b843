"""Speed of text extraction against one utterance per batch, in BERT tokens per second.

``python -m benchmarks.text`` runs on an embedded corpus and prints JSON and a Markdown table. It
times the extraction of the stage `text`, with GloVe ids, vocabulary and all that it writes; the
model is loaded before. Four dialogs of the embedded corpus are merged into one, since a dialog of
IEMOCAP has 67 utterances. The plain loop tokenizes one utterance at a time and runs the same model
on it. The hidden states of both are compared.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.extraction import RELEASE, Task, command, extracted, race, stream_of
from pipeline import params
from pipeline.features.extractor import Context
from pipeline.features.glove import Glove
from pipeline.features.text_encoder import TextEncoder
from pipeline.features.words import normalise
from pipeline.system import compute


def measure(rows: pd.DataFrame, corpus: Path, repeat: int) -> dict[str, float]:
    """Return the number of tokens in `rows`, and the tokens per second of both ways."""
    import torch

    settings = params.load()
    text, device = settings.text, str(compute.device(settings.compute.device))
    name, bert = stream_of(text.streams, TextEncoder)
    vectors, glove = stream_of(text.streams, Glove)
    glove = glove.model_copy(update={"vectors": str(corpus / "glove.embedded.300d.txt")})
    context = Context(corpus / RELEASE, device, text)
    streams = {name: bert, vectors: glove}
    bert.states(bert.encode(["so it is"], device), device)  # loads the model

    import transformers  # only now, since the extractor prepares its import

    folder = bert.pretrained.folder()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).to(device).eval()

    def one_by_one() -> list[np.ndarray]:
        states = []
        for words in rows["text"]:
            batch = tokenizer(normalise(words, text.marks), return_tensors="pt").to(device)
            hidden = model(**batch, output_hidden_states=True).hidden_states[bert.layers[0]]
            states.append(hidden[0, 1:-1].cpu().numpy())  # without [CLS] and [SEP]
        return [np.concatenate(states)]

    extraction = partial(extracted, "text", streams, rows, context)
    tasks: dict[str, Task] = {"one_by_one": one_by_one, "extraction": extraction}
    with torch.inference_mode():
        seconds, states = race(tasks, repeat)
    np.testing.assert_allclose(states["extraction"][0], states["one_by_one"][0], atol=1e-4)
    tokens = len(states["extraction"][0])
    return {
        "tokens": tokens,
        **{f"{name}_per_s": round(tokens / taken) for name, taken in seconds.items()},
        "times_one_by_one": round(seconds["one_by_one"] / seconds["extraction"], 2),
    }


main = partial(command, "text", __doc__, measure, dialogs=100, joined=4)

if __name__ == "__main__":
    main()
