"""What an experiment needs of its models and images, as data: checked in one place, before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass

from .subjects import Material

_PICTURES = (1, 3)  # channels of images that can be drawn


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What an experiment needs.

    Args:
        images: whether it looks at images and models at all; where not, its result does not depend on them.
        labels: true classes of the images.
        several: two models at least, as they are compared.
        bagnets: at least one model with evidence.
        pictures: BagNets whose input can be drawn.
    """

    images: bool = True
    labels: bool = False
    several: bool = False
    bagnets: bool = False
    pictures: bool = False

    def check(self, experiment: str, material: Material) -> None:
        """See that a material has it all.

        Args:
            experiment: its name, for the message.
            material: images and models.

        Raises:
            BadLabels: there are no labels.
            ValueError: too few models, none with evidence, or one whose input cannot be drawn.
        """
        if self.labels:
            _ = material.labels
        if self.bagnets and not material.bagnets:
            raise ValueError(f"{experiment} needs the evidence of windows, which only BagNets have: name one among the models")
        if self.several and len(material.subjects) < 2:
            raise ValueError(f"{experiment} compares models: name two at least")
        for subject in material.bagnets if self.pictures else ():
            if subject.channels not in _PICTURES:
                raise ValueError(
                    f"{experiment} draws images, but those that {subject.name} takes have {subject.channels} channels: no picture"
                )
