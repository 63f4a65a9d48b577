"""Names and types of the features that pass from stage to stage; imports nothing of ours.

The raw example is the contract between ingestion and everything after it; its reviewed form is
`schemas/image_examples.pbtxt`.
"""

# Raw example, written by ImageExampleGen.
IMAGE = "image"  # bytes: the file's content, or a PNG made of it, decodable by Transform's graph
LABEL = "label"  # bytes, UTF-8: the class; absent when unlabelled
PATH = "image/path"  # bytes, UTF-8: relative to the source
FORMAT = "image/format"  # bytes: as found in the content, one of FORMATS
ENCODING = "image/encoding"  # bytes: of what `image` holds, one of SERVED_FORMATS
REENCODED = "image/reencoded"  # int64, 1 where `image` is a PNG made at ingestion
WIDTH = "image/width"  # int64, pixels
HEIGHT = "image/height"  # int64, pixels
ASPECT = "image/aspect"  # float: width / height
CHANNELS = "image/channels"  # int64, as stored in the file
BYTES = "image/bytes"  # float, length of the file's content
BRIGHTNESS = "image/brightness"  # float in [0, 1]: mean luma
CONTRAST = "image/contrast"  # float in [0, 0.5]: standard deviation of luma
SHARPNESS = "image/sharpness"  # float >= 0: variance of the Laplacian of luma
ENTROPY = "image/entropy"  # float in [0, 8]: bits of the luma histogram
SHA256 = "image/sha256"  # bytes, 64 hexadecimal digits: digest of the content as found
SPLIT_KEY = "image/split_key"  # bytes, 64 hexadecimal digits: what decides the split

SERVED_FORMATS = ("bmp", "gif", "jpeg", "png")  # what TensorFlow decodes as served
FORMATS = ("avif", "bmp", "gif", "heif", "jpeg", "png", "tiff", "webp")  # what ingestion takes

# Transformed features, made by Transform's graph.
PIXELS = "pixels"  # float32 [batch, size, size, 3], scaled as the base expects
LABEL_INDEX = "label_index"  # int64 [batch], row of the label in the vocabulary; -1 when unknown

LABEL_VOCABULARY = "labels"  # name of Transform's vocabulary asset

# Splits, in the order in which the configuration's shares are laid out.
TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)

# Signatures of the SavedModel and their keys; the serving contract of docs/serving.md.
SERVE_BYTES = "serving_default"  # image_bytes: string [batch]
SERVE_EXAMPLES = "serving_examples"  # examples: serialized tf.Example, string [batch]
CLASSIFY_FEATURES = "classify_features"  # embedding: float32 [batch, width] -> probabilities
EMBED = "embed"  # image_bytes -> embedding: float32 [batch, width]
SERVE_PIXELS = "serving_pixels"  # pixels: uint8 [batch, height, width, 3], RGB
PROBABILITIES = "probabilities"  # float32 [batch, classes], in vocabulary order
DECODED = "decoded"  # bool [batch]: false where a file is no image; the row's rest is empty
