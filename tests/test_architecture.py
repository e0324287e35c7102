"""An architecture says what it is: its window and stride, its name, and what it cannot be."""

from __future__ import annotations

import json

import pytest

from bagnet.architecture import Architecture, ExternalArchitecture


@pytest.mark.parametrize(
    ("shape", "name", "size", "stride"),
    [
        ({"kernel3": (1, 1, 0, 0)}, "bagnet9", 9, 8),
        ({"kernel3": (1, 1, 1, 1)}, "bagnet33", 33, 8),
        ({"kernel3": (1, 2, 1, 0)}, "bagnet25", 25, 8),
        ({"kernel3": (2, 2, 1, 0)}, "bagnet29", 29, 8),
        ({"kernel3": (2, 2, 2, 0)}, "bagnet45", 45, 8),
        ({"kernel3": (1, 1, 1, 3)}, "bagnet65", 65, 8),
        ({"kernel3": (2, 2, 2, 2)}, "bagnet77", 77, 8),
        ({"kernel3": (3, 4, 6, 3)}, "bagnet177", 177, 8),
        ({"kernel3": (1, 1, 1, 0), "strides": (2, 2, 1, 1)}, "bagnet17s4", 17, 4),
        ({"kernel3": (0, 0, 0, 0), "strides": (1, 1, 1, 1)}, "bagnet3s1", 3, 1),
        ({"kernel3": (1, 1, 1, 1), "padded": True}, "bagnet33_padded", 33, 8),
    ],
)
def test_names_state_the_true_window(shape: dict[str, object], name: str, size: int, stride: int) -> None:
    architecture = Architecture(**shape)  # type: ignore[arg-type]
    assert architecture.name == name
    assert (architecture.geometry.size, architecture.geometry.stride) == (size, stride)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kernel3": (1, 1, 1)}, "kernel3 must be four whole numbers"),
        ({"strides": (2, 2, 0, 1)}, "strides must be four whole numbers"),
        ({"kernel3": (4, 1, 1, 1)}, "more 3x3 blocks than layers"),
        ({"width": 0}, "width must be a whole number"),
        ({"num_classes": 2.5}, "num_classes must be a whole number"),
    ],
)
def test_impossible_shapes_are_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Architecture(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("padded", "origin"), [(False, 0), (True, -16)])
def test_windows_of_the_padded_family_are_centred_on_pixels(padded: bool, origin: int) -> None:
    assert Architecture((1, 1, 1, 1), padded=padded).geometry.origin == origin


def test_fields_read_back_from_json() -> None:
    shape = Architecture((1, 2, 1, 0), (2, 2, 1, 1), (2, 3, 2, 2), width=8, padded=True, in_channels=1, num_classes=7)
    fields = json.loads(json.dumps(shape.to_dict()))
    assert fields == {
        "kernel3": [1, 2, 1, 0],
        "strides": [2, 2, 1, 1],
        "layers": [2, 3, 2, 2],
        "width": 8,
        "padded": True,
        "in_channels": 1,
        "num_classes": 7,
    }
    again = Architecture(**fields)
    assert again == shape
    assert hash(again) == hash(shape), "lists have become tuples"


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("timm:resnet18.a1_in1k", "resnet18"),
        ("torchvision:vgg11", "vgg11"),
        ("bagnet.zoo.comparison:small_vgg", "small_vgg"),
    ],
)
def test_another_network_is_named_by_the_last_word_of_who_builds_it(network: str, name: str) -> None:
    shape = ExternalArchitecture(network, 5, 1)
    assert shape.name == name
    assert shape.to_dict() == {"network": network, "num_classes": 5, "in_channels": 1}
    assert ExternalArchitecture(**shape.to_dict()) == shape
