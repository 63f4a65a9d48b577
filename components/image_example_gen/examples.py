"""Writes accepted images as raw examples, the contract of `components.features`."""

from components import features
from components.image_example_gen.examine import Properties
from components.image_example_gen.listing import Candidate
from components.image_example_gen.quarantine import path_text


def to_example(
    candidate: Candidate, split_key: str, served: bytes, properties: Properties
) -> bytes:
    """Returns a serialized `tf.train.Example` of an image; the same input gives the same bytes.

    Args:
        candidate: the file; its path and label are stored as `path_text` writes them.
        split_key: what decides the split, 64 hexadecimal digits.
        served: what TensorFlow decodes, as `reencode.to_served` gives it.
        properties: what `examine` found in the file's own content.
    """
    import tensorflow as tf

    values: dict[str, bytes | int | float] = {
        features.IMAGE: served,
        features.LABEL: path_text(candidate.label).encode(),
        features.PATH: path_text(candidate.path).encode(),
        features.FORMAT: properties.format.encode(),
        features.ENCODING: properties.encoding.encode(),
        features.REENCODED: int(properties.reencoded),
        features.WIDTH: properties.width,
        features.HEIGHT: properties.height,
        features.ASPECT: properties.aspect,
        features.CHANNELS: properties.channels,
        features.BYTES: float(properties.bytes),
        features.BRIGHTNESS: properties.brightness,
        features.CONTRAST: properties.contrast,
        features.SHARPNESS: properties.sharpness,
        features.ENTROPY: properties.entropy,
        features.SHA256: properties.sha256.encode(),
        features.SPLIT_KEY: split_key.encode(),
    }
    example = tf.train.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return example.SerializeToString(deterministic=True)
