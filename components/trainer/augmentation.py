"""Random changes of training images, as Keras layers; they are never part of what is served.

Keras's layers do not take an amount alike: one number means "only more" for contrast, "from grey"
for saturation and half a turn of the circle for hue. Each is given both ends here, so that an
amount is what `components.augmentations.AMOUNTS` says it is.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.augmentations import Amount, Augment, resolve_augment
from components.transform import image_ops

# Numbers that a layer may draw for one image without meeting those of the next number.
DRAWS = 256
VALUES = (0.0, 1.0)  # what the layers see: outside it colours have no hue or saturation
FILL = "reflect"  # what moves in from outside is the image mirrored, as a border would be learnt

Options = Mapping[str, Any]


def _rotation(amount: float, options: Options) -> Any:
    return keras.layers.RandomRotation(amount, fill_mode=FILL, **options)


def _zoom(amount: float, options: Options) -> Any:
    return keras.layers.RandomZoom(amount, fill_mode=FILL, **options)


def _translation(amount: float, options: Options) -> Any:
    return keras.layers.RandomTranslation(amount, amount, fill_mode=FILL, **options)


def _brightness(amount: float, options: Options) -> Any:
    return keras.layers.RandomBrightness(amount, value_range=VALUES, **options)


def _contrast(amount: float, options: Options) -> Any:
    # The factor is drawn from 1 less the first to 1 plus the second.
    return keras.layers.RandomContrast((amount, amount), value_range=VALUES, **options)


def _saturation(amount: float, options: Options) -> Any:
    # Keras multiplies by f / (1 - f): these ends give 1 - amount and 1 + amount.
    ends = ((1 - amount) / (2 - amount), (1 + amount) / (2 + amount))
    return keras.layers.RandomSaturation(ends, value_range=VALUES, **options)


def _hue(amount: float, options: Options) -> Any:
    # Keras's 1 is half of the circle.
    return keras.layers.RandomHue((-2 * amount, 2 * amount), value_range=VALUES, **options)


LAYERS: Mapping[str, Callable[[float, Options], Any]] = {
    "rotation": _rotation,
    "zoom": _zoom,
    "translation": _translation,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}


class Augmenter(keras.Model):
    """Changes images at random, each on its own; unchanged where `training` is false.

    There are two ways to use it, and both run in graph mode without Python for an image:

    - `augmenter(pixels, training=True)` draws from a state that moves on with every call. The
      state is in its variables (`[variable.numpy() for variable in augmenter.variables]`, set again
      by `assign`). Two augmenters of one seed that are called alike give equal sequences, up to
      the last bits of rounding. In a `tf.data` map with parallel calls the order in which batches
      draw is left to chance, and what is drawn ahead is in the state too. Under
      `MirroredStrategy` every device draws the same numbers for its part of a batch.
    - `augmenter.at(pixels, numbers)` has no state: what an image becomes depends on the seed, the
      image and its number alone, not on its batch, on order or on parallel calls. A training that
      resumes needs nothing but the numbers, and a kept copy can be made again and compared,
      again up to rounding (seen: below 0.001 of 255).

    XLA has no kernel of what turns, zooms and moves (`ImageProjectiveTransformV3`): a step that is
    compiled by it must be given images that were changed before, in `tf.data`.

    Args:
        changes: Keras's layers in order, each of values in [0, 1] and with `seed` and `generator`.
        size: height and width of the images, pixels.
        preprocessing: how pixels are scaled, one of `components.bases.PREPROCESSINGS`.
    """

    def __init__(self, changes: list[Any], size: int, preprocessing: str):
        # Hue and a quarter of a turn do not survive float16, whatever the base computes in.
        super().__init__(name="augmenter", dtype="float32")
        self.changes = changes
        self.size = size
        self.preprocessing = preprocessing

    def build(self, input_shape: Any) -> None:
        """Builds the layers, which have no weights, for [batch, size, size, 3]."""
        for change in self.changes:
            change.build(input_shape)
        self.built = True

    def call(self, pixels: Any, training: bool = False) -> Any:
        """Returns float32 [batch, size, size, 3] changed; the same tensor outside training."""
        if not training or not self.changes:
            return pixels
        values = image_ops.unscale(pixels, self.preprocessing) / 255.0
        for change in self.changes:
            values = change(values, training=True)
        values = keras.ops.clip(values, *VALUES)
        return image_ops.scale(values * 255.0, self.preprocessing)

    @tf.function(autograph=False, reduce_retracing=True)
    def at(self, pixels: Any, numbers: Any) -> Any:
        """Changes each image as its number says, without state; for `tf.data`.

        Args:
            pixels: float32 [batch, size, size, 3], scaled for the base.
            numbers: int64 [batch], which variant: the same gives the same. Numbers that
                `variant_numbers` makes are of an image and an epoch or copy.

        Returns:
            float32 [batch, size, size, 3] in the same scale.
        """
        if not self.changes:
            return pixels
        return tf.map_fn(
            lambda pair: self._change_one(*pair),
            (pixels, tf.cast(numbers, tf.int64)),
            fn_output_signature=tf.TensorSpec((self.size, self.size, 3), tf.float32),
        )

    def _change_one(self, image: Any, number: Any) -> Any:
        states = [
            (change.generator.state, tf.stack([tf.constant(change.seed, tf.int64), number * DRAWS]))
            for change in self.changes
        ]
        with keras.StatelessScope(state_mapping=states):
            return self.call(image[None], training=True)[0]


def new_augmenter(augment: Augment, size: int, preprocessing: str, seed: int) -> Augmenter:
    """Builds what changes training images.

    Args:
        augment: a preset's name or a list of one name and amount each, in which order they are
            applied; see `components.augmentations`.
        size: height and width of the images, pixels.
        preprocessing: how pixels are scaled for the base, one of
            `components.bases.PREPROCESSINGS`; it is undone before and done again after.
        seed: of everything random, at least 0.

    Returns:
        A model from float32 [batch, size, size, 3] to the same shape and scale, with pixels from 0
        to 255 before they are scaled again. It changes with `training=True` only.
    """
    pairs = [pair for given in resolve_augment(augment) for pair in _split_flip(*given)]
    seeds = np.random.SeedSequence(seed).generate_state(len(pairs))
    changes = [
        _new_layer(name, amount, int(own), f"{index}_{name}")
        for index, ((name, amount), own) in enumerate(zip(pairs, seeds, strict=True))
    ]
    return Augmenter(changes, size, preprocessing)


def variant_numbers(keys: Any, variant: int | Any) -> Any:
    """Returns a number for each image and variant, int64 [batch], for `Augmenter.at`.

    Args:
        keys: content keys of the images, string [batch].
        variant: which epoch or kept copy, integer scalar.
    """
    joined = tf.strings.join([keys, tf.strings.as_string(variant)], separator="/")
    # Below 2**48, so that the draws of a number stay within int64.
    return tf.strings.to_hash_bucket_fast(joined, 2**48)


def _split_flip(name: str, amount: Amount) -> list[tuple[str, Amount]]:
    """Returns both flips as two augmentations: Keras's one layer would only turn by half a turn."""
    if name == "flip" and amount == "horizontal_and_vertical":
        return [("flip", "horizontal"), ("flip", "vertical")]
    return [(name, amount)]


def _new_layer(name: str, amount: Amount, seed: int, layer_name: str) -> Any:
    options = {"seed": seed, "name": layer_name, "dtype": "float32"}
    if name == "flip":
        return keras.layers.RandomFlip(amount, **options)
    return LAYERS[name](float(amount), options)
