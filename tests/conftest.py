"""What holds for all tests."""

import torch
from hypothesis import settings

# the models of the tests are small, and threads only slow them down
torch.set_num_threads(1)

# No test depends on the speed of the machine. A failure prints the call of `reproduce_failure` that
# runs its example again; `pytest --hypothesis-seed=N` draws the same examples again.
settings.register_profile("quick", deadline=None, print_blob=True, max_examples=25)
settings.register_profile("thorough", deadline=None, print_blob=True)  # make test-all
settings.load_profile("quick")
