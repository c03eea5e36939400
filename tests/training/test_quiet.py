"""training.quiet: what native code writes while TensorFlow is imported is not seen."""

import subprocess
import sys


def test_native_code_is_quiet_within_the_block_only():
    """What is written to file descriptor 2 inside the block is dropped; what is written before and after it is not."""
    code = (
        "import os; from training.quiet import quiet\n"
        "os.write(2, b'before ')\n"
        "with quiet(): os.write(2, b'within ')\n"
        "os.write(2, b'after ' + os.environ['CUDA_VISIBLE_DEVICES'].encode())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "before after -1"
