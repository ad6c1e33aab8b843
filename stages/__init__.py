"""One thin file a stage of dvc.yaml: read parameters, call pipeline, write outputs."""

import shlex
import sys
from collections.abc import Callable

from pipeline import InputError
from pipeline.system import compute, unchanged
from pipeline.system.filesystem import refused

# as it is before a stage imports it
_CODE = unchanged.contents(unchanged.CODE)


def run(main: Callable[[], None]) -> None:
    """Run a stage; an error that the user can mend ends it with its message alone."""
    compute.large_pages()
    # of a module that is run it is not __name__
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
