"""Puts the fingerprint of the source's content into the cache key before ingestion may run.

TFX's own ExampleGen looks at file count, total bytes and whole seconds of modification time, so
an edit can pass unseen and a touched file re-runs everything. The launcher builds the cache key
after the driver has run.
"""

import copy

from tfx.dsl.components.base import base_driver
from tfx.orchestration import data_types_utils
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.digests import FINGERPRINT
from components.image_example_gen.executor import EXAMPLES, SETTINGS
from components.image_example_gen.known_files import KnownFiles, digest_files, fingerprint_source
from components.image_example_gen.listing import SourceSettings
from components.image_example_gen.sources import check_source


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Adds `fingerprint` to the parameters and to the examples artifact."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the parameters and the examples artifact with the source's fingerprint.

        Only files that are not known by their stamp are read.

        Raises:
            InputError: if the source cannot be trained on.
        """
        settings = SourceSettings.from_json(execution_info.exec_properties[SETTINGS])
        listing = check_source(settings)
        digests = digest_files(listing, KnownFiles(settings.cache))
        fingerprint = fingerprint_source(listing, digests)
        output = driver_output_pb2.DriverOutput()
        for name, value in {**execution_info.exec_properties, FINGERPRINT: fingerprint}.items():
            if value is not None:
                data_types_utils.set_metadata_value(output.exec_properties[name], value)
        artifact = copy.deepcopy(execution_info.output_dict[EXAMPLES][0].mlmd_artifact)
        artifact.custom_properties[FINGERPRINT].string_value = fingerprint
        output.output_artifacts[EXAMPLES].artifacts.append(artifact)
        return output
