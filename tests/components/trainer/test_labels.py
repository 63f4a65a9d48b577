"""The check of the classes of a head with one sigmoid."""

import subprocess
import sys

import pytest

from components.errors import InputError
from components.trainer.labels import check_binary


@pytest.mark.parametrize(("binary", "classes"), [(True, 2), (False, 1), (False, 3)])
def test_two_classes_or_no_sigmoid_pass(binary: bool, classes: int) -> None:
    check_binary(binary, classes)


@pytest.mark.parametrize(
    ("classes", "names", "told"),
    [
        (1, ["a"], "1 classes (a)"),
        (5, list("abcde"), "5 classes (a, b, c, d, e)"),
        (6, list("abcdef"), "6 classes (a, b, c, d, e, …)"),
        (3, [], "3 classes"),
    ],
)
def test_other_numbers_are_refused_with_the_first_five_names(
    classes: int, names: list[str], told: str
) -> None:
    with pytest.raises(InputError) as refused:
        check_binary(True, classes, names)
    assert str(refused.value) == (
        f"Expected two classes with head.binary. Received: head.binary=true with {told}. Take "
        "head.binary out, or leave two classes in data.source."
    )


def test_it_is_told_without_importing_keras() -> None:
    code = (
        "import sys; from components.trainer.labels import check_binary; check_binary(True, 2); "
        "sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
