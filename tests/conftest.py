import os
import signal

# Tests run side by side; two threads each would wait for one another. Kernels and programs that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

import matplotlib
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)

# A shell starts what runs in the background deaf to Ctrl-C; tests of interrupts need to hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)
