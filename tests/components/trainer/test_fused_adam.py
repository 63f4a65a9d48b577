import keras
import numpy as np
import pytest

from components.trainer.fitting import warm_up_and_decay
from components.trainer.fused_adam import FusedAdam


@pytest.mark.parametrize("rate", [0.01, warm_up_and_decay(0.01, 8, 0.25)])
@pytest.mark.parametrize("scaled", [False, True])
def test_steps_are_those_of_keras(rate: object, scaled: bool) -> None:
    def train(optimizer: keras.optimizers.Optimizer) -> list[np.ndarray]:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, activation="softmax")])
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, loss="sparse_categorical_crossentropy")
        random = np.random.default_rng(2)
        images, labels = random.normal(size=(32, 6)).astype(np.float32), random.integers(3, size=32)
        model.fit(images, labels, batch_size=4, shuffle=False, verbose=0)
        return [np.asarray(one) for one in (*model.variables, *optimizer.variables)]

    ours, theirs = train(FusedAdam(rate)), train(keras.optimizers.Adam(rate))
    assert len(ours) == len(theirs)
    for array, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=2e-6)
