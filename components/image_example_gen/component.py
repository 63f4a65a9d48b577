"""ImageExampleGen as TFX sees it: its parameters, its outputs and which classes do the work."""

import hashlib
import json
from collections.abc import Mapping

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Quarantine
from components.digests import FINGERPRINT, code_digest
from components.image_example_gen import driver, executor
from components.image_example_gen.examine import Limits
from components.image_example_gen.known_files import examination_digest
from components.image_example_gen.listing import SourceSettings
from components.image_example_gen.outcomes import check_leakage
from components.image_example_gen.splits import check_shares


class ImageExampleGenSpec(ComponentSpec):
    """Parameters and outputs; `fingerprint` is filled in by the driver, never by a caller."""

    PARAMETERS = {
        executor.SETTINGS: ExecutionParameter(type=str),
        executor.SPLITS: ExecutionParameter(type=str),
        executor.SALT: ExecutionParameter(type=str),
        executor.MAX_PIXELS: ExecutionParameter(type=int),
        executor.MIN_SIZE: ExecutionParameter(type=int),
        executor.LEAKAGE: ExecutionParameter(type=str),
        executor.CODE_SHA256: ExecutionParameter(type=str),
        FINGERPRINT: ExecutionParameter(type=str, optional=True),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {
        executor.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        executor.QUARANTINE: ChannelParameter(type=Quarantine),
    }


class ImageExampleGen(base_beam_component.BaseBeamComponent):
    """Reads any collection of labelled images into `tf.train.Example` splits and a quarantine.

    Outputs: `examples` (`standard_artifacts.Examples`, gzipped TFRecords of raw examples as in
    `components.features`) and `quarantine` (`components.artifacts.Quarantine`). The driver puts
    the fingerprint of the source's content into the cache key, so one changed byte, class, split or
    group re-runs ingestion and a changed time stamp does not.

    Args:
        settings: where the images are and how they are to be understood.
        splits: share of each split, by name in `features.SPLITS`; shares above 0 that sum to 1.
        salt: text mixed into the split key; another salt gives another split.
        max_pixels: images with more pixels are refused before they are decoded; at least 1.
        min_size: images whose shorter side is below this many pixels are refused; at least 1.
        leakage: what nearly the same picture in two splits leads to: `"remove"` refuses the copy in
            the earlier split and both of a pair of different classes; `"fail"` and `"report"` keep
            both and leave it to the data gate.

    Raises:
        InputError: if `splits`, `max_pixels`, `min_size` or `leakage` cannot work.
    """

    SPEC_CLASS = ImageExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        settings: SourceSettings,
        splits: Mapping[str, float],
        salt: str,
        max_pixels: int,
        min_size: int,
        leakage: str,
    ):
        limits = Limits(max_pixels, min_size)
        spec = ImageExampleGenSpec(
            settings=settings.to_json(),
            splits=json.dumps(check_shares(splits)),
            salt=salt,
            max_pixels=limits.max_pixels,
            min_size=limits.min_size,
            leakage=check_leakage(leakage),
            code_sha256=_code_digest(),
            examples=Channel(type=standard_artifacts.Examples),
            quarantine=Channel(type=Quarantine),
        )
        super().__init__(spec=spec)


def _code_digest() -> str:
    """Returns a digest of what ingestion runs, the decoders' versions included."""
    parts = code_digest("components.image_example_gen.executor") + examination_digest()
    return hashlib.sha256(parts.encode()).hexdigest()
