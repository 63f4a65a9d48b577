import json
import subprocess
import sys
from pathlib import Path

from components.trainer import devices

PARTS = """
import json
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
from components.trainer import devices
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1", "CPU:2"])
dataset = tf.data.Dataset.range(12).map(lambda image: (image, 10 * image)).batch(10)
parts = []
for batch in devices.distribute(dataset, strategy):
    images, labels = (strategy.experimental_local_results(tensor) for tensor in batch)
    parts.append([[image.numpy().tolist(), label.numpy().tolist()]
                  for image, label in zip(images, labels)])
print(json.dumps(parts))
"""


def test_each_of_several_devices_gets_an_equal_part_and_never_none() -> None:
    script = [sys.executable, "-c", PARTS]
    folder = Path(devices.__file__).parents[2]
    done = subprocess.run(script, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    whole, last = json.loads(done.stdout.splitlines()[-1])
    assert [images for images, _ in whole] == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]
    # Two images for three devices: one is given twice.
    assert [images for images, _ in last] == [[10], [10], [11]]
    for images, labels in (*whole, *last):
        assert labels == [10 * image for image in images]
