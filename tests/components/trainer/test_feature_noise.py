"""How far features may be off: little in float32 on a CPU, more everywhere else."""

import pytest

tf = pytest.importorskip("tensorflow")

from components.trainer import feature_noise  # noqa: E402


@pytest.mark.parametrize(
    ("is_float32", "gpus", "expected"),
    [(True, 0, 1e-3), (False, 0, 2e-2), (True, 1, 2e-2), (False, 1, 2e-2)],
)
def test_the_tolerance_follows_precision_and_device(
    is_float32: bool, gpus: int, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [object()] * gpus)
    assert feature_noise.tolerance(is_float32) == expected
