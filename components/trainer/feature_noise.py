"""How far apart two computations of the same features may be."""

import tensorflow as tf

# Of a vector's length: sums of float32 in another order on a CPU, and all else, such as 16 bits or
# a GPU's TensorFloat-32.
EXACT, ROUGH = 1e-3, 2e-2


def tolerance(is_float32: bool = True) -> float:
    """Returns the distance, as a share of a vector's length, that is still noise on this machine.

    Args:
        is_float32: whether the base computes in float32. Default: True.
    """
    return EXACT if is_float32 and not tf.config.list_logical_devices("GPU") else ROUGH
