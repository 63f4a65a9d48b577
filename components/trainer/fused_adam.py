"""Keras's Adam in one kernel a variable: on kept features its small ones are most of a step."""

from typing import Any

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam as `keras.optimizers.Adam` computes it, by TensorFlow's own kernel.

    Source: Kingma and Ba, https://arxiv.org/abs/1412.6980, in the form before section 2.1.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes a variable and its two moments; see `keras.optimizers.Optimizer.update_step`."""
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = (tf.cast(beta, dtype) for beta in (self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=tf.cast(learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


def _handle(variable: Any) -> Any:
    """Returns what TensorFlow's kernels know a variable of Keras or of TensorFlow by."""
    return getattr(variable, "_value", variable).handle
