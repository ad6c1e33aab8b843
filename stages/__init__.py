"""One short file per stage of dvc.yaml: read parameters, call the pipeline, write outputs.

Each ``main`` runs its stage in the current directory, the root of the repository.
"""

import shlex
import sys
from collections.abc import Callable

from pipeline import InputError
from pipeline.system import compute, unchanged
from pipeline.system.filesystem import refused

# the code as it is before a stage imports it
_CODE = unchanged.contents(unchanged.CODE)


def run(main: Callable[[], None]) -> None:
    """Run a stage; an error that the user can correct is printed without a traceback."""
    compute.large_pages()
    compute.few_kernels()
    # __name__ of a module that is run is "__main__"
    module = main.__globals__["__spec__"].name.removesuffix(".__main__")
    command = shlex.join(["python", "-m", module, *sys.argv[1:]])
    try:
        with unchanged.during(command, _CODE):
            main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno is None or error.filename is None:
            raise
        sys.exit(f"error: {refused(error)}")
