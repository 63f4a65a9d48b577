"""Cron expressions are those that Kubeflow Pipelines reads as they are meant."""

import pytest

from components.errors import InputError
from pipeline.kubeflow.cron import check_cron


@pytest.mark.parametrize(
    "cron",
    [
        "0 0 2 * * *",
        "0 0 9 ? * 2-6",
        "*/30 0-10/2 1,13 1-15 JAN-MAR mon,FRI",
        "0 0 2 31 12 ?",
        "@daily",
        "@every 1h30m",
    ],
)
def test_what_the_server_reads_is_taken_as_it_is(cron: str) -> None:
    assert check_cron(cron) == cron


def test_spaces_do_not_matter() -> None:
    assert check_cron("  0  0 2 * *   * ") == "0 0 2 * * *"


def test_five_fields_are_refused_with_the_six_that_are_meant() -> None:
    with pytest.raises(
        InputError, match=r"Received: --cron '0 2 \* \* \*'. Write '0 0 2 \* \* \*'"
    ):
        check_cron("0 2 * * *")


@pytest.mark.parametrize(
    ("cron", "received"),
    [
        ("", "0 in"),
        ("0 0", "2 in"),
        ("0 0 2 * * * *", "7 in"),
        ("60 0 2 * * *", "'60'"),
        ("0 0 24 * * *", "'24'"),
        ("0 0 2 0 * *", "'0'"),
        ("0 0 2 * 13 *", "'13'"),
        ("0 0 2 * * 7", "'7'"),
        ("0 0 2 * FEBRUARY *", "'FEBRUARY'"),
        ("? 0 2 * * *", "'?'"),
        ("0 */0 2 * * *", "'*/0'"),
        ("0 5-1 2 * * *", "'5-1'"),
        ("0 0 2 L * *", "'L'"),
        ("@reboot", "--cron '@reboot'"),
        ("@every 5s", "--cron '@every 5s'"),
        ("@every soon", "--cron '@every soon'"),
    ],
)
def test_what_the_server_would_not_read_is_told(cron: str, received: str) -> None:
    with pytest.raises(InputError, match="Expected") as error:
        check_cron(cron)
    assert f"Received: {received}" in str(error.value)
