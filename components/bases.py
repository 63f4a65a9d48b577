"""The bases of `keras.applications` as data: what each takes, known without importing Keras.

The configuration is checked and `graft init` answers from this table, in milliseconds; the
trainer builds the same base by the same name. Sizes, least sizes and preprocessing are those of
the Keras source, `keras/src/applications/*.py` (a test reads them there).
"""

import difflib
from dataclasses import dataclass

RESCALE_0_1 = "rescale_0_1"  # x / 255
RESCALE_1_1 = "rescale_-1_1"  # x / 127.5 - 1; Keras calls it mode "tf"
IMAGENET_MEAN_STD = "imagenet_mean_std"  # (x / 255 - mean) / std, RGB; Keras: mode "torch"
CAFFE = "caffe"  # BGR less the ImageNet mean of each channel, not scaled; Keras: mode "caffe"
NONE = "none"  # 0 to 255 as decoded: the base scales by itself
PREPROCESSINGS = (RESCALE_0_1, RESCALE_1_1, IMAGENET_MEAN_STD, CAFFE, NONE)


@dataclass(frozen=True)
class Base:
    """One base of `keras.applications`.

    Attributes:
        name: the constructor in `keras.applications`, e.g. `"MobileNetV2"`.
        size: default height and width of its input, pixels.
        preprocessing: one of `PREPROCESSINGS`, what its `preprocess_input` does.
        min_size: the least height and width that it takes without its top, pixels.
    """

    name: str
    size: int
    preprocessing: str
    min_size: int = 32


_TABLE = (
    Base("MobileNetV2", 224, RESCALE_1_1),
    Base("MobileNet", 224, RESCALE_1_1),
    Base("MobileNetV3Small", 224, NONE),
    Base("MobileNetV3Large", 224, NONE),
    Base("ResNet50", 224, CAFFE),
    Base("ResNet101", 224, CAFFE),
    Base("ResNet152", 224, CAFFE),
    Base("ResNet50V2", 224, RESCALE_1_1),
    Base("ResNet101V2", 224, RESCALE_1_1),
    Base("ResNet152V2", 224, RESCALE_1_1),
    Base("VGG16", 224, CAFFE),
    Base("VGG19", 224, CAFFE),
    Base("InceptionV3", 299, RESCALE_1_1, 75),
    Base("InceptionResNetV2", 299, RESCALE_1_1, 75),
    Base("Xception", 299, RESCALE_1_1, 71),
    Base("DenseNet121", 224, IMAGENET_MEAN_STD),
    Base("DenseNet169", 224, IMAGENET_MEAN_STD),
    Base("DenseNet201", 224, IMAGENET_MEAN_STD),
    Base("EfficientNetB0", 224, NONE),
    Base("EfficientNetB1", 240, NONE),
    Base("EfficientNetB2", 260, NONE),
    Base("EfficientNetB3", 300, NONE),
    Base("EfficientNetB4", 380, NONE),
    Base("EfficientNetB5", 456, NONE),
    Base("EfficientNetB6", 528, NONE),
    Base("EfficientNetB7", 600, NONE),
    Base("EfficientNetV2B0", 224, NONE),
    Base("EfficientNetV2B1", 240, NONE),
    Base("EfficientNetV2B2", 260, NONE),
    Base("EfficientNetV2B3", 300, NONE),
    Base("EfficientNetV2S", 384, NONE),
    Base("EfficientNetV2M", 480, NONE),
    Base("EfficientNetV2L", 480, NONE),
)
BASES: dict[str, Base] = {base.name: base for base in _TABLE}


def nearest_base(name: str) -> str | None:
    """Returns the name in `BASES` that is nearest to `name`, letter case aside, or None."""
    names = {base.lower(): base for base in BASES}
    longer = [base for base in names if base.startswith(name.lower())]
    near = longer or difflib.get_close_matches(name.lower(), names, n=1)
    return names[near[0]] if near else None
