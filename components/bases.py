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

GRAPH_FILE = "saved_model.pb"  # by which a SavedModel's folder is known


@dataclass(frozen=True)
class Blocks:
    """Where the blocks of a family's bases begin, told by names of layers.

    Only names that Keras's source gives are looked at: automatic ones, such as `conv2d_94`, count
    on from whatever was built before in the same process.

    Attributes:
        pattern: regular expression, matched at the start of a layer's name; its group 1 is the
            name of the layer's block.
        named_last: whether such a layer ends its block, as Inception's `mixed7` does, or is one
            of its layers from the first one on.
    """

    pattern: str
    named_last: bool = False


@dataclass(frozen=True)
class Base:
    """One base of `keras.applications`.

    Attributes:
        name: the constructor in `keras.applications`, e.g. `"MobileNetV2"`.
        size: default height and width of its input, pixels.
        preprocessing: one of `PREPROCESSINGS`, what its `preprocess_input` does.
        parameters: numbers in its weights, without its top.
        width: features after global pooling.
        blocks: where its blocks begin.
        min_size: the least height and width that it takes without its top, pixels.
    """

    name: str
    size: int
    preprocessing: str
    parameters: int
    width: int
    blocks: Blocks
    min_size: int = 32


_MOBILENET = Blocks(r"(conv_dw_\d+)")
_MOBILENET_V2 = Blocks(r"(expanded_conv|block_\d+|Conv_1)(?:_|$)")
_MOBILENET_V3 = Blocks(r"(expanded_conv(?:_\d+)?|conv_1)(?:_[a-z]|$)")
_RESNET = Blocks(r"(conv\d_block\d+)_")
_NUMBERED = Blocks(r"(block\d+)_")  # VGG, Xception
_INCEPTION = Blocks(r"(mixed\d+)$", named_last=True)
_INCEPTION_RESNET = Blocks(r"(mixed_\d[a-z]|block\d+_\d+|conv_7b)(?:_[a-z]+)?$", named_last=True)
_DENSENET = Blocks(r"(conv\d_block\d+|pool\d)_")
_EFFICIENTNET = Blocks(r"(block\d+[a-z]|top)_")
_CONVNEXT = Blocks(r"convnext_[a-z]+_(stage_\d_block_\d+)_")
_NASNET = Blocks(r"(normal_concat_\d+|reduction_concat_(?:stem|reduce)_\d+)$", named_last=True)

_TABLE = (
    Base("MobileNetV2", 224, RESCALE_1_1, 2_257_984, 1280, _MOBILENET_V2),
    Base("MobileNet", 224, RESCALE_1_1, 3_228_864, 1024, _MOBILENET),
    Base("MobileNetV3Small", 224, NONE, 939_120, 576, _MOBILENET_V3),
    Base("MobileNetV3Large", 224, NONE, 2_996_352, 960, _MOBILENET_V3),
    Base("ResNet50", 224, CAFFE, 23_587_712, 2048, _RESNET),
    Base("ResNet101", 224, CAFFE, 42_658_176, 2048, _RESNET),
    Base("ResNet152", 224, CAFFE, 58_370_944, 2048, _RESNET),
    Base("ResNet50V2", 224, RESCALE_1_1, 23_564_800, 2048, _RESNET),
    Base("ResNet101V2", 224, RESCALE_1_1, 42_626_560, 2048, _RESNET),
    Base("ResNet152V2", 224, RESCALE_1_1, 58_331_648, 2048, _RESNET),
    Base("VGG16", 224, CAFFE, 14_714_688, 512, _NUMBERED),
    Base("VGG19", 224, CAFFE, 20_024_384, 512, _NUMBERED),
    Base("InceptionV3", 299, RESCALE_1_1, 21_802_784, 2048, _INCEPTION, 75),
    Base("InceptionResNetV2", 299, RESCALE_1_1, 54_336_736, 1536, _INCEPTION_RESNET, 75),
    Base("Xception", 299, RESCALE_1_1, 20_861_480, 2048, _NUMBERED, 71),
    Base("DenseNet121", 224, IMAGENET_MEAN_STD, 7_037_504, 1024, _DENSENET),
    Base("DenseNet169", 224, IMAGENET_MEAN_STD, 12_642_880, 1664, _DENSENET),
    Base("DenseNet201", 224, IMAGENET_MEAN_STD, 18_321_984, 1920, _DENSENET),
    Base("EfficientNetB0", 224, NONE, 4_049_571, 1280, _EFFICIENTNET),
    Base("EfficientNetB1", 240, NONE, 6_575_239, 1280, _EFFICIENTNET),
    Base("EfficientNetB2", 260, NONE, 7_768_569, 1408, _EFFICIENTNET),
    Base("EfficientNetB3", 300, NONE, 10_783_535, 1536, _EFFICIENTNET),
    Base("EfficientNetB4", 380, NONE, 17_673_823, 1792, _EFFICIENTNET),
    Base("EfficientNetB5", 456, NONE, 28_513_527, 2048, _EFFICIENTNET),
    Base("EfficientNetB6", 528, NONE, 40_960_143, 2304, _EFFICIENTNET),
    Base("EfficientNetB7", 600, NONE, 64_097_687, 2560, _EFFICIENTNET),
    Base("EfficientNetV2B0", 224, NONE, 5_919_312, 1280, _EFFICIENTNET),
    Base("EfficientNetV2B1", 240, NONE, 6_931_124, 1280, _EFFICIENTNET),
    Base("EfficientNetV2B2", 260, NONE, 8_769_374, 1408, _EFFICIENTNET),
    Base("EfficientNetV2B3", 300, NONE, 12_930_622, 1536, _EFFICIENTNET),
    Base("EfficientNetV2S", 384, NONE, 20_331_360, 1280, _EFFICIENTNET),
    Base("EfficientNetV2M", 480, NONE, 53_150_388, 1280, _EFFICIENTNET),
    Base("EfficientNetV2L", 480, NONE, 117_746_848, 1280, _EFFICIENTNET),
    Base("ConvNeXtTiny", 224, NONE, 27_820_128, 768, _CONVNEXT),
    Base("ConvNeXtSmall", 224, NONE, 49_454_688, 768, _CONVNEXT),
    Base("ConvNeXtBase", 224, NONE, 87_566_464, 1024, _CONVNEXT),
    Base("ConvNeXtLarge", 224, NONE, 196_230_336, 1536, _CONVNEXT),
    Base("ConvNeXtXLarge", 224, NONE, 348_147_968, 2048, _CONVNEXT),
    Base("NASNetMobile", 224, RESCALE_1_1, 4_269_716, 1056, _NASNET),
    Base("NASNetLarge", 331, RESCALE_1_1, 84_916_818, 4032, _NASNET),
)
BASES: dict[str, Base] = {base.name: base for base in _TABLE}


def nearest_base(name: str) -> str | None:
    """Returns the name in `BASES` that is nearest to `name`, letter case aside, or None."""
    names = {base.lower(): base for base in BASES}
    longer = [base for base in names if base.startswith(name.lower())]
    near = longer or difflib.get_close_matches(name.lower(), names, n=1)
    return names[near[0]] if near else None
