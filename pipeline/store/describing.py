"""Saying what a feature store holds."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from pipeline.store.reading import SCHEMA_VERSION, FeatureStore, Stream


def describe(path: Path) -> str:
    """A table of what a store holds."""
    with FeatureStore(path) as opened:
        table, word = opened.utterances, opened.description.group
        attributes = opened.file.attrs
        storage = json.loads(attributes["storage"])
        text = "with" if storage["include_text"] else "without"
        lines = [
            f"corpus      {attributes['corpus']}, schema version {SCHEMA_VERSION}",
            f"utterances  {len(opened)} in {table['dialog'].nunique()} dialogs, "
            f"{table['group'].nunique()} {word.several}, {table['speaker'].nunique()} speakers",
            f"emotions    {_counts(table['emotion'])}",
            f"storage     {text} text",
            f"sha256      {opened.sha256}",
            "",
            f"{'stream':<10}{'width':>7}{'type':>9}{'steps':>10}{'shortest':>10}{'mean':>8}"
            f"{'longest':>9}{'empty':>7}{'MiB':>8}",
        ]
        lines += [_describe_stream(opened.stream(name)) for name in opened.streams]
        if opened.votes:
            lines.append(_describe_stream(opened.votes))
        lines += ["", f"parameters  {attributes['parameters']}"]
        for name, extractor in json.loads(attributes["extractors"]).items():
            lines.append(f"{name:<11} {json.dumps(extractor, sort_keys=True)}")
    return "\n".join(lines)


def _counts(emotions: pd.Series) -> str:
    return ", ".join(f"{name} {count}" for name, count in emotions.value_counts().items())


def _describe_stream(stream: Stream) -> str:
    values = stream.group["values"]
    size = values.id.get_storage_size() / 2**20
    row = f"{stream.name:<10}{stream.width:>7}{values.dtype.name:>9}"
    if not stream.is_sequence:
        return f"{row}{'one row an utterance':>44}{size:>8.1f}"
    n = stream.lengths
    row += f"{n.sum():>10}{n.min():>10}{n.mean():>8.1f}{n.max():>9}"
    return f"{row}{(n == 0).sum():>7}{size:>8.1f}"
