"""For all tests: TensorFlow on the CPU and quiet, BLAS with one thread, as in a worker."""

import os

os.environ.update(
    CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1"
)  # before NumPy or TensorFlow is imported
