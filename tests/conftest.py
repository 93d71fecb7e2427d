import os

# Tests run side by side; two threads each would wait for one another. Kernels and programs that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

import matplotlib
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)
