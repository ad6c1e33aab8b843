"""What holds for all tests."""

import torch
from hypothesis import settings

# the models of the tests are small, and threads only slow them down
torch.set_num_threads(1)

# No test depends on the speed of the machine. A failure prints a decorator that runs its example
# again; `pytest --hypothesis-seed=N` draws the same examples again.
settings.register_profile("any machine", deadline=None, print_blob=True, max_examples=50)
settings.load_profile("any machine")
