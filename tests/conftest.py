"""What holds for all tests."""

import pytest
import torch
from hypothesis import settings

# the models of the tests are small, and threads only slow them down
torch.set_num_threads(1)

# No test depends on the speed of the machine. A failure prints a decorator that runs its example
# again; `pytest --hypothesis-seed=N` draws the same examples again.
settings.register_profile("any machine", deadline=None, print_blob=True, max_examples=50)
settings.load_profile("any machine")

# Files with the most work, which begin first: a process that gets one at the end works alone.
_LONGEST = (
    *("test_pipeline.py", "test_kill_repro.py", "test_cluster_kills.py", "test_experiments.py"),
    *("test_demo.py", "test_kept_models.py", "test_context.py", "test_speech_encoder.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))
