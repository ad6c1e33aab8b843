"""One thin file a stage of dvc.yaml: read parameters, call pipeline, write outputs."""

import sys
from collections.abc import Callable

from pipeline import InputError, compute


def run(main: Callable[[], None]) -> None:
    """Run a stage; an error that the user can mend ends it with its message alone."""
    compute.large_pages()
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
