"""Writes accepted images as raw examples, the contract of `components.features`."""

from components import features
from components.image_example_gen.examine import Properties
from components.image_example_gen.quarantine import path_text


def to_example(path: str, label: str, content: bytes, properties: Properties) -> bytes:
    """Returns a serialized `tf.train.Example` of an image; the same input gives the same bytes.

    Args:
        path: relative to the source; stored as `path_text` writes it.
        label: the class; stored likewise.
        content: the file's bytes, stored as they are.
        properties: what `examine` measured.
    """
    import tensorflow as tf

    digest = properties.sha256.encode()
    values: dict[str, bytes | int | float] = {
        features.IMAGE: content,
        features.LABEL: path_text(label).encode(),
        features.PATH: path_text(path).encode(),
        features.FORMAT: properties.format.encode(),
        features.WIDTH: properties.width,
        features.HEIGHT: properties.height,
        features.CHANNELS: properties.channels,
        features.BYTES: float(properties.bytes),
        features.BRIGHTNESS: properties.brightness,
        features.CONTRAST: properties.contrast,
        features.SHARPNESS: properties.sharpness,
        features.SHA256: digest,
        features.SPLIT_KEY: digest,
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
