"""ImageExampleGen as TFX sees it: its parameters, its outputs and which classes do the work."""

import json
from collections.abc import Mapping

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Quarantine
from components.digests import code_digest
from components.image_example_gen import driver, executor
from components.image_example_gen.examine import Limits
from components.image_example_gen.splits import check_shares


class ImageExampleGenSpec(ComponentSpec):
    """Parameters and outputs; `fingerprint` is filled in by the driver, never by a caller."""

    PARAMETERS = {
        executor.SOURCE: ExecutionParameter(type=str),
        executor.SPLITS: ExecutionParameter(type=str),
        executor.SALT: ExecutionParameter(type=str),
        executor.MAX_PIXELS: ExecutionParameter(type=int),
        executor.MIN_SIZE: ExecutionParameter(type=int),
        executor.CODE_SHA256: ExecutionParameter(type=str),
        executor.FINGERPRINT: ExecutionParameter(type=str, optional=True),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {
        executor.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        executor.QUARANTINE: ChannelParameter(type=Quarantine),
    }


class ImageExampleGen(base_beam_component.BaseBeamComponent):
    """Reads a folder of class folders into `tf.train.Example` splits and a quarantine.

    Outputs: `examples` (`standard_artifacts.Examples`, gzipped TFRecords of raw examples as in
    `components.features`) and `quarantine` (`components.artifacts.Quarantine`). The driver puts
    the fingerprint of the source's content into the cache key, so one changed byte re-runs
    ingestion and a changed time stamp does not.

    Args:
        source: folder whose first-level folders are the classes.
        splits: share of each split, by name in `features.SPLITS`; shares above 0 that sum to 1.
        salt: text mixed into the split key; another salt gives another split.
        max_pixels: images with more pixels are refused before they are decoded; at least 1.
        min_size: images whose shorter side is below this many pixels are refused; at least 1.

    Raises:
        InputError: if `splits`, `max_pixels` or `min_size` cannot work.
    """

    SPEC_CLASS = ImageExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        source: str,
        splits: Mapping[str, float],
        salt: str,
        max_pixels: int,
        min_size: int,
    ):
        limits = Limits(max_pixels, min_size)
        spec = ImageExampleGenSpec(
            source=str(source),
            splits=json.dumps(check_shares(splits)),
            salt=salt,
            max_pixels=limits.max_pixels,
            min_size=limits.min_size,
            code_sha256=code_digest("components.image_example_gen.executor"),
            examples=Channel(type=standard_artifacts.Examples),
            quarantine=Channel(type=Quarantine),
        )
        super().__init__(spec=spec)
