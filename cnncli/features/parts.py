"""Parts of a set of images that processes and machines compute independently, with `extract --shard I/N`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnncli.dataset.records import ImageRecord
from cnncli.features.extract import FeatureSet


@dataclass(frozen=True)
class ImagePart:
    """Part `number`, counted from 1, of `total` parts.

    The digest of an image decides to which part it belongs, so machines need not agree on a list of images, identical
    images are computed once, and images that are added later do not move others.
    """

    number: int = 1
    total: int = 1

    @classmethod
    def parse(cls, text: str) -> ImagePart:
        """Return the part `i/n`. Raises ValueError unless 1 ≤ i ≤ n.

        >>> ImagePart.parse("3/8")
        ImagePart(number=3, total=8)
        """
        number, total = map(int, text.split("/"))
        if not 1 <= number <= total:
            raise ValueError(f"{number} is not between 1 and {total}")
        return cls(number, total)

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def holds(self, digest: str) -> bool:
        """Return whether the image with a digest belongs to this part."""
        return int(digest[:16], 16) % self.total == self.number - 1

    def images(self, images: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
        """Return the images of this part."""
        return tuple(image for image in images if self.holds(image.digest))

    def features_of(self, features: FeatureSet) -> FeatureSet:
        """Return the features of the images of this part."""
        return replace(features, images=self.images(features.images))
