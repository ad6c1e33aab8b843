"""One thin file a stage of dvc.yaml: read parameters, call pipeline, write outputs."""

import sys
from collections.abc import Callable

from pipeline import InputError, compute
from pipeline.filesystem import refused


def run(main: Callable[[], None]) -> None:
    """Run a stage; an error that the user can mend ends it with its message alone."""
    compute.large_pages()
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno is None or error.filename is None:
            raise
        sys.exit(f"error: {refused(error)}")
