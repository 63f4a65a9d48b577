"""What `graft bases` tells, as text and as JSON."""

import json
import resource
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from components.bases import BASES
from pipeline.bases import describe_base, list_bases
from pipeline.cli import main


def graft(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bases", *arguments])


def test_every_base_is_listed_with_its_figures() -> None:
    listed = list_bases()
    assert [base["name"] for base in listed] == list(BASES)
    assert listed[list(BASES).index("NASNetLarge")] == {
        "name": "NASNetLarge",
        "size": 331,
        "preprocessing": "rescale_-1_1",
        "parameters": 84_916_818,
        "width": 4032,
        "min_size": 32,
    }


def test_the_table_has_a_line_a_base() -> None:
    lines = graft().stdout.splitlines()
    assert lines[0].split() == ["base", "parameters", "size", "least", "width", "preprocessing"]
    assert len(lines) == len(BASES) + 2
    line = next(line for line in lines if line.startswith("InceptionV3"))
    assert line.split() == ["InceptionV3", "21,802,784", "299", "75", "2,048", "rescale_-1_1"]


def test_the_table_is_json_too() -> None:
    assert json.loads(graft("--json").stdout) == {"bases": list_bases()}


def test_the_table_comes_at_once_without_keras() -> None:
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom pipeline.cli import main\n"
        "CliRunner().invoke(main, ['bases'])\n"
        "print({'keras', 'tensorflow', 'pydantic', 'numpy'} & set(sys.modules))"
    )

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert told.stdout == b"set()\n"
    # Processor time, as other processes may hold the machine's cores.
    assert after.ru_utime - before.ru_utime < 1


@pytest.mark.parametrize(
    ("name", "told"), [("vgg", "Did you mean VGG16? "), ("zzz", "NAME=zzz. `graft bases` lists")]
)
def test_an_unknown_base_is_told_with_the_nearest(name: str, told: str) -> None:
    result = graft(name)
    assert result.exit_code == 2
    assert told in result.stderr
    assert json.loads(graft(name, "--json").stdout)["exit_status"] == 2


def test_a_base_is_told_with_its_blocks_and_its_configuration() -> None:
    pytest.importorskip("keras")
    result = describe_base("VGG16")
    assert [block["name"] for block in result["blocks"]] == [f"block{n}" for n in range(1, 6)]
    # Three convolutions of 3 x 3 x 512 x 512 weights and 512 biases, and a pooling.
    last = {"name": "block5", "layers": 4, "parameters": 3 * (3 * 3 * 512 * 512 + 512)}
    assert result["blocks"][-1] == last
    assert result["configuration"] == (
        "base:\n  name: VGG16\n  weights: imagenet\nimage:\n  size: 224\n"
        "fine_tune:\n  layers: block4\n"
    )
    text = graft("VGG16").stdout
    assert "block5       4   7,079,424\n" in text
    assert text.endswith(f"In the configuration:\n{result['configuration']}")
    assert json.loads(graft("VGG16", "--json").stdout) == result


def test_batch_normalization_is_not_counted_as_trained() -> None:
    pytest.importorskip("keras")
    last = describe_base("MobileNet")["blocks"][-1]
    # A depthwise convolution of 3 x 3 x 1024 and a pointwise one of 1024 x 1024, without biases.
    assert last == {"name": "conv_dw_13", "layers": 6, "parameters": 9 * 1024 + 1024 * 1024}
