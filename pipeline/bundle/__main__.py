"""Command line: ``python -m pipeline.bundle MODELS OUT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline import InputError, bundle, params
from pipeline.bundle import pushing
from pipeline.store import FeatureStore


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.bundle",
        description="Write trained models, their configuration and a model card into one folder "
        "in the layout of the Hugging Face hub.",
    )
    parser.add_argument("models", type=Path, metavar="MODELS", help="folder of trained models")
    parser.add_argument("output", type=Path, metavar="OUT", help="the new folder")
    parser.add_argument("--fold", type=int, metavar="K", help="(default: the models of all folds)")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="their results (default: results)"
    )
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="(default: params.yaml)"
    )
    parser.add_argument(
        "--store", type=Path, help="feature store (default: data/features/<corpus.name>)"
    )
    parser.add_argument(
        "--push-to",
        metavar="NAME",
        help="upload the folder to the Hugging Face hub, as a private repository of this name",
    )
    parser.add_argument(
        "--public", action="store_true", help="make the repository of --push-to public"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a bundle, and upload it if a name is given."""
    options = _parser().parse_args(arguments)
    try:
        if options.public and not options.push_to:
            raise InputError("--public: is of --push-to, which is not given")
        if options.push_to:
            pushing.check_name(options.push_to)
        settings = params.load(options.params)
        path = options.store or Path("data/features", settings.corpus.name)
        with FeatureStore(path) as store:
            bundle.write(
                options.models,
                options.output,
                store,
                options.results,
                settings,
                fold=options.fold,
                name=options.push_to,
            )
        print(f"{options.output}: written; read README.md before you give it to anybody")
        if options.push_to:
            print(pushing.push(options.output, options.push_to, public=options.public))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
