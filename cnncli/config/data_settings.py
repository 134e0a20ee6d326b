"""Settings of `data`: images, labels, groups, splits, and how images are decoded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from cnncli.catalogue.settings import Expected, GrayWindow, Pixels, Settings, Size, ValueRange, as_tuple
from cnncli.config.checked_names import not_empty
from cnncli.shards.places import url_of

if TYPE_CHECKING:
    from cnncli.images.decode import PixelSpec


class SplitFractions(Settings):
    """Fractions of the images for validation and test, for data without split folders."""

    validation: float = Field(default=0.15, ge=0.0, lt=1.0)
    """Fraction of all images for validation; 0: no validation split, and the last epoch is kept."""
    test: float = Field(default=0.15, ge=0.0, lt=1.0)
    """Fraction of all images for the test split; 0: no test split."""


ColumnName = Annotated[str, Field(min_length=1)]


class LabelsConfig(Settings):
    """Labels from a table instead of class folders."""

    path: Annotated[Path, BeforeValidator(not_empty), Expected("a .csv, .tsv or .parquet file")] | None = Field(
        default=None, strict=False
    )
    """Table with a row per image (.csv, .tsv, .parquet); null: labels are the names of class folders."""
    image: ColumnName | None = None
    """Column with paths relative to `data.path`, file names, or file names without suffix; null: by its name."""
    label: Annotated[
        ColumnName | tuple[ColumnName, ...] | None,
        BeforeValidator(as_tuple),
        Expected("the name of a column, or a list of columns"),
    ] = None
    """Column with labels, or a list of columns that contain 0 and 1, one per class; null: by its name. True and yes
    count as 1, and false, no and an empty cell as 0."""
    split: ColumnName | None = None
    """Column with train, validation or test; null: by its name and values, else splits are drawn."""
    separator: str | None = Field(default=None, min_length=1)
    """Text between several labels of an image, e.g. ";" in a table, or "_" in names of class folders such as red_dress:
    makes the data multi-label."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, values: Any) -> Any:
        """Accept a path instead of a mapping."""
        return {"path": values} if isinstance(values, str | Path) else values

    @property
    def is_multi_label(self) -> bool:
        """Whether an image can have any number of labels."""
        return self.separator is not None or isinstance(self.label, tuple)


class GroupsConfig(Settings):
    """Images that belong together, such as those of a patient, a video or a place; exactly one of the settings."""

    column: ColumnName | None = None
    """Column of the table of labels."""
    folder: int | None = Field(default=None, ge=1)
    """Level of the folder that names the group: 1 is the folder of the image, 2 the one above it, and so on."""
    regex: Annotated[str, Expected("a regular expression")] | None = Field(default=None, min_length=1)
    """Regular expression that is searched in the path below `data.path`; its first group, or else all that it matches,
    names the group, e.g. "(patient[0-9]+)"."""

    @field_validator("regex")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class DicomConfig(Settings):
    """DICOM images."""

    window: GrayWindow | None = None
    """Window [center, width] that becomes gray, in units after rescaling: [40, 400] in Hounsfield units shows the soft
    tissue of a CT; default: the window in each file, else all values that it can store."""


class DataConfig(Settings):
    """Images and how they are decoded."""

    path: Annotated[
        Path, BeforeValidator(not_empty), PlainSerializer(url_of, str, when_used="json"), Expected("a folder of images")
    ] = Field(strict=False, json_schema_extra={"minLength": 1})
    """Folder with train/, validation/ and test/, each with class folders, or with class folders only. Or shards:
    WebDataset tars or Parquet files with images, as a folder, a file, or a pattern such as train-{000..099}.tar, also
    in s3://, gs:// or hf://."""
    labels: Annotated[LabelsConfig, Expected("the path of a table, or a group of settings")] = LabelsConfig()
    """Table of labels: its path, or a group with its columns; default: labels are the names of class folders."""
    groups: Annotated[GroupsConfig, Expected("{column: NAME}, {folder: N} or {regex: PATTERN}")] | None = None
    """Images that stay in one split, by a column of the table, a folder, or part of their path; null: none."""
    image_size: Pixels | Size | None = None
    """Size in pixels: one number for a square, or [height, width]; default: that of the backbone, the first of a
    list."""
    color: Literal["rgb", "grayscale", "rgba", "bands"] = "rgb"
    """Channels of decoded images: rgb, grayscale, rgba (alpha is kept instead of blended with white), or the bands of
    multi-band or multi-page TIFF and .npy. Networks from scratch take them as they are; for pretrained networks,
    grayscale is repeated to three channels, and rgba and bands need `backbone.adapter`."""
    bands: int | None = Field(default=None, ge=1, le=512)
    """Number of bands of each image, for `color: bands`."""
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    """Fit an image to the image size: stretch it, crop its center, or pad it with black."""
    splits: SplitFractions = SplitFractions()
    """Random stratified split for data without split folders; identical and similar images stay together."""
    train_images: int | None = Field(default=None, ge=1)
    """Number of training images to use, chosen at random in the proportions of the classes; more images contain those
    of a smaller number; null: all."""
    folds: int | None = Field(default=None, ge=3, le=100)
    """Number of folds of a cross-validation of the head on training and validation images, also in every training;
    null: 5 in `cnncli crossval`, none in training."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weights each class by n / (number of classes · n of the class) in the training objective; if
    multi-label, the images with and without a label equally."""
    on_bad_image: Literal["error", "skip"] = "error"
    """Unreadable images: stop before training and list them, or leave them out and list them in the run."""
    allow_leakage: bool = False
    """Accept identical files in different splits."""
    min_images: int = Field(default=1, ge=1)
    """Minimum number of readable images per class; smaller classes are left out and listed."""
    max_pixels: int = Field(default=178_000_000, ge=1)
    """Maximum number of pixels; larger images are refused without decoding them."""
    range: ValueRange | None = None
    """Values of 16-bit grayscale images, or of bands, that become black and white, e.g. [0, 4095] for 12-bit
    microscopy; default: the range stated in the file, else all values of the data type, for floating-point bands
    [0, 1]."""
    dicom: DicomConfig = DicomConfig()
    """Conversion of the values of DICOM images to gray."""

    @property
    def channels(self) -> int:
        """Number of channels of decoded images."""
        return {"rgb": 3, "grayscale": 1, "rgba": 4, "bands": self.bands or 1}[self.color]

    @property
    def has_validation(self) -> bool:
        """Whether there are validation images; a validation folder together with a fraction of 0 is refused."""
        return self.splits.validation > 0

    def pixel_spec(self, default_size: tuple[int, int]) -> PixelSpec:
        """Return the size, colors and fit of decoded pixels; `default_size` is the backbone's own (height, width)."""
        size = self.image_size or default_size
        height, width = (size, size) if isinstance(size, int) else size
        return self.pixel_spec_of(height, width, self.fit)

    def pixel_spec_of(self, height: int, width: int, fit: Literal["stretch", "crop", "pad"]) -> PixelSpec:
        """Return the colors of decoded pixels, in another size and fit."""
        from cnncli.images.decode import PixelSpec

        colors = (self.color, fit, self.max_pixels, self.range, self.bands)
        return PixelSpec(height, width, *colors, window=self.dicom.window)
