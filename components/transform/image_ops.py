"""Pure tensor functions from encoded bytes to the pixels that a base expects.

They run inside Transform's graph, and so identically in training, evaluation and serving.
"""

import tensorflow as tf

# Channel means of ImageNet as `keras.applications.imagenet_utils.preprocess_input` subtracts them.
CAFFE_BGR_MEANS = (103.939, 116.779, 123.68)
IMAGENET_RGB_MEANS = (0.485, 0.456, 0.406)
IMAGENET_RGB_DEVIATIONS = (0.229, 0.224, 0.225)


def decode(content: tf.Tensor) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF (its first frame) or BMP file.

    Args:
        content: the file's bytes, string scalar.

    Returns:
        RGB values in [0, 255], uint8 [height, width, 3].
    """
    image = tf.io.decode_image(content, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def resize(image: tf.Tensor, size: int, mode: str) -> tf.Tensor:
    """Resizes one image to a square, bilinearly and with antialiasing.

    Args:
        image: [height, width, 3], any numeric dtype.
        size: side of the square, pixels.
        mode: `"stretch"` ignores the aspect ratio, `"crop"` keeps the central square,
            `"pad"` adds black borders.

    Returns:
        float32 [size, size, 3] in the range of the input.

    Raises:
        ValueError: `mode` is none of the three.
    """
    if mode == "crop":
        image = _central_square(image)
    if mode in ("stretch", "crop"):
        resized = tf.image.resize(image, [size, size], antialias=True)
    elif mode == "pad":
        resized = tf.image.resize_with_pad(image, size, size, antialias=True)
    else:
        raise ValueError(f"Expected resize to be stretch, crop or pad. Received: resize={mode!r}.")
    return tf.ensure_shape(resized, [size, size, 3])


def scale(pixels: tf.Tensor, preprocessing: str) -> tf.Tensor:
    """Scales RGB values as a base was trained to see them.

    Args:
        pixels: float32 [..., 3], RGB in [0, 255].
        preprocessing: `"rescale_0_1"`, `"rescale_-1_1"`, `"imagenet_mean_std"` (PyTorch's),
            `"caffe"` (BGR, ImageNet's means subtracted) or `"none"`.

    Returns:
        float32 of the same shape.

    Raises:
        ValueError: `preprocessing` is none of the five.
    """
    if preprocessing == "none":
        return pixels
    if preprocessing == "rescale_0_1":
        return pixels / 255.0
    if preprocessing == "rescale_-1_1":
        return pixels / 127.5 - 1.0
    if preprocessing == "imagenet_mean_std":
        return (pixels / 255.0 - IMAGENET_RGB_MEANS) / IMAGENET_RGB_DEVIATIONS
    if preprocessing == "caffe":
        return pixels[..., ::-1] - CAFFE_BGR_MEANS
    raise ValueError(
        "Expected preprocessing to be one of rescale_0_1, rescale_-1_1, imagenet_mean_std, caffe, "
        f"none. Received: preprocessing={preprocessing!r}."
    )


def pixels_from_bytes(
    contents: tf.Tensor, size: int, resize_mode: str, preprocessing: str
) -> tf.Tensor:
    """Decodes, resizes and scales a batch of files.

    Args:
        contents: the files' bytes, string [batch].
        size: side of the square, pixels.
        resize_mode: see `resize`.
        preprocessing: see `scale`.

    Returns:
        float32 [batch, size, size, 3].
    """
    # Each image is shrunk inside the map, so that a batch never holds full-size pixels.
    resized = tf.map_fn(
        lambda content: resize(decode(content), size, resize_mode),
        contents,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
    )
    return scale(resized, preprocessing)


def _central_square(image: tf.Tensor) -> tf.Tensor:
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]
