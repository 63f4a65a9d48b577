import gc
import os

import pytest

from components.errors import InputError
from components.image_example_gen.sources import list_images
from components.image_example_gen.splits import Dealer


def test_every_listing_is_sorted_and_names_no_path_twice(tmp_path, write_tar, settings):
    rows = b"path,label\nb,x\na,y\na,x\nb,x\n,z\nb,\ngone,x\ngone,x\n../c,z\n._d,x\n"
    members = {"t.csv": rows, "b": b"1", "a": b"2", "._d": b"3", "../c": b"4", "e": b"5"}
    for number, name in enumerate(("b", "a")):
        members[f"./{'/' * number}{name}"] = b"again"
    listing = list_images(settings(write_tar(tmp_path / "p.tar", members)))
    candidates = [one.path for one in listing.candidates]
    refused = [one.path for one in listing.refused]
    assert candidates == ["b"]
    assert refused == sorted(refused)
    assert len({*candidates, *refused}) == len(candidates) + len(refused)
    # Ten rows, one of which names the refused `../c`; `e`; and the two names that are there twice.
    assert listing.found == 10 + 1 + 2


def test_the_collector_runs_again_after_a_listing_and_after_an_error(tmp_path, fill, settings):
    list_images(settings(fill(tmp_path / "photos", "a/1", "b/2")))
    assert gc.isenabled()
    (tmp_path / "t.csv").write_text("path,label\n")
    with pytest.raises(InputError):
        list_images(settings(tmp_path / "t.csv"))
    assert gc.isenabled()
    gc.disable()
    try:
        list_images(settings(tmp_path / "photos"))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_listing_of_an_untouched_source_is_the_same_twice(tmp_path, fill, settings):
    photos = fill(tmp_path / "photos", "a/1", "b/2", "loose", ".x")
    os.mkfifo(photos / "a" / "pipe")
    assert list_images(settings(photos)) == list_images(settings(photos))


def splits_given(listing):
    return {one.path: one.split for one in listing.candidates}


def test_explicit_train_without_validation_is_dealt_where_no_image_is_open(
    tmp_path, fill, settings
):
    photos = fill(tmp_path / "photos", "1", "2", "3")
    (photos / "t.csv").write_text("path,label,split\n1,x,train\n2,y,train\n3,x,test\n")
    listing = list_images(settings(photos / "t.csv"))
    assert splits_given(listing) == {"1": None, "2": None, "3": "test"}
    assert listing.predefined == {"test"}


def test_explicit_train_stays_train_where_validation_can_be_dealt_out_of_open_images(
    tmp_path, fill, settings
):
    photos = fill(tmp_path / "photos", "1", "2", "3")
    (photos / "t.csv").write_text("path,label,split\n1,x,train\n2,y,\n3,x,test\n")
    listing = list_images(settings(photos / "t.csv"))
    assert splits_given(listing) == {"1": "train", "2": None, "3": "test"}
    assert listing.predefined == {"train", "test"}
    dealer = Dealer({"train": 0.5, "validation": 0.5}, "", listing.predefined)
    assert dealer.shares == {"train": 0.5, "validation": 0.5}
    assert dealer.split_of(listing.candidates[0], "0" * 64) == "train"
    dealt = {dealer.split_of(listing.candidates[1], f"{number:064x}") for number in range(20)}
    assert dealt == {"train", "validation"}
