"""One thread for torch: the models of the tests are small, and threads only get in their way."""

import torch

torch.set_num_threads(1)
