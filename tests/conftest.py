"""What holds for all tests."""

import torch
from hypothesis import settings

# the models of the tests are small, and threads only get in their way
torch.set_num_threads(1)

# no test depends on how fast or busy a machine is
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
