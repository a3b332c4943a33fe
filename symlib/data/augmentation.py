"""Random flips, shifts and cutouts of images, decided per image and applied as one gather.

Deciding is kept apart from doing: decisions are small integers drawn from a generator, so a network sees the same
images whether it is trained alone or in a population, on any device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from symlib.data.images import CIFAR10_MEAN, CIFAR10_STD


@dataclass(frozen=True)
class Augmentation:
    """What may happen to an image: a flip, then a shift, then a cutout.

    Attributes:
        flip: Mirror left and right with probability 1/2.
        shift: Move by whole pixels, uniformly from -shift to shift along each axis; the same as padding by `shift`
            on all sides and cropping at random.
        cutout: Side in pixels of one square at a uniform position inside the image, 0 for none.
        fill: What uncovered and cut pixels hold in standardised units, one number for all channels or one for each,
            or "reflect" to mirror the image at its edges.

    Raises:
        ValueError: If shift or cutout is negative, or cut pixels are to be reflected.
    """

    flip: bool
    shift: int
    cutout: int = 0
    fill: tuple[float, ...] | str = (0.0,)

    def __post_init__(self) -> None:
        if self.shift < 0 or self.cutout < 0:
            raise ValueError(f"shift and cutout are pixels, 0 or more, got {self.shift} and {self.cutout}")
        if isinstance(self.fill, str) and self.fill != "reflect":
            raise ValueError(f"fill must be numbers or 'reflect', got {self.fill!r}")
        if self.fill == "reflect" and self.cutout:
            raise ValueError("a cutout has no reflection: give its colour as fill")

    def draw(self, n: int, image_size: tuple[int, int], source: torch.Generator) -> Tensor:
        """Decide what happens to n images.

        Args:
            n: Number of images.
            image_size: Their height and width in pixels.
            source: Where the random numbers come from.

        Returns:
            Flip (0 or 1), shift down, shift right, and top and left of the cutout, int64, shape (n, 5), on the
            device of the generator.

        Raises:
            ValueError: If the images are too small for the shift or the cutout.
        """
        height, width = image_size
        self._need_room(height, width)
        spans = [  # the first value and how many there are
            (0, 1 + self.flip),
            (-self.shift, 2 * self.shift + 1),
            (-self.shift, 2 * self.shift + 1),
            (0, height - self.cutout + 1 if self.cutout else 1),
            (0, width - self.cutout + 1 if self.cutout else 1),
        ]
        drawn = [torch.randint(low, low + k, (n,), generator=source, device=source.device) for low, k in spans]
        return torch.stack(drawn, dim=1)

    def __call__(self, x: Tensor, decisions: Tensor) -> Tensor:
        """Apply decisions to images.

        Args:
            x: Standardised images, shape (..., channels, height, width).
            decisions: From `draw`, shape (..., 5) with the same leading axes.

        Returns:
            New images of the shape of `x`.

        Raises:
            ValueError: If the shapes do not fit together or the images do not fit the augmentation.
        """
        if x.dim() < 3 or decisions.shape != (*x.shape[:-3], 5):
            raise ValueError(
                "images of shape (..., channels, height, width) need decisions of shape (..., 5) with the same "
                f"leading axes, got {tuple(x.shape)} and {tuple(decisions.shape)}"
            )
        *leading, channels, height, width = x.shape
        self._need_room(height, width)
        if len(self.fill) not in (1, channels) and self.fill != "reflect":
            raise ValueError(
                f"fill has {len(self.fill)} numbers, but the images have {channels} channels; give 1 or all"
            )
        flip, down, right, top, left = decisions.to(x.device).unsqueeze(-1).unbind(-2)
        rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
        from_row, row_exists = self._origin(rows - down, height)
        from_column, column_exists = self._origin(columns - right, width)
        from_column = torch.where(flip == 1, width - 1 - from_column, from_column)
        index = (from_row.unsqueeze(-1) * width + from_column.unsqueeze(-2)).flatten(-2)
        # One gather with an index per pixel, shared by the channels, costs less than cropping a padded copy.
        index = index.unsqueeze(-2).expand(*leading, channels, height * width)
        moved = x.flatten(-2).gather(-1, index).view(x.shape)
        if self.fill == "reflect" or not (self.shift or self.cutout):
            return moved
        kept = row_exists.unsqueeze(-1) & column_exists.unsqueeze(-2)
        if self.cutout:
            row_cut = (rows >= top) & (rows < top + self.cutout)
            column_cut = (columns >= left) & (columns < left + self.cutout)
            kept &= ~(row_cut.unsqueeze(-1) & column_cut.unsqueeze(-2))
        return torch.where(kept.unsqueeze(-3), moved, x.new_tensor(self.fill)[:, None, None])

    def _origin(self, position: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return an existing pixel for each position along one axis, and whether that is the position itself."""
        mirrored = size - 1 - (size - 1 - position.abs()).abs()  # -1 becomes 1, and size becomes size - 2
        inside = mirrored if self.fill == "reflect" else position.clamp(0, size - 1)
        return inside, inside == position

    def _need_room(self, height: int, width: int) -> None:
        if max(self.shift + 1, self.cutout) > min(height, width):
            raise ValueError(
                f"images of {height} x {width} pixels are too small for a shift of {self.shift} and a cutout of "
                f"{self.cutout}: the shift must be smaller than each side, the cutout no larger"
            )


# Lim et al. (2024), section 5.1, with zeros after standardisation. Their code decides once per batch, so that all
# its images are flipped and cropped alike; here every image has its own decisions.
LIM_CIFAR = Augmentation(flip=True, shift=4)
# Lim et al. (2024), sections 5.3 and 5.4: the colour is (125, 122, 113) of 255, close to the mean of CIFAR-10.
LIM_CLASSIFIERS = Augmentation(
    flip=True,
    shift=2,
    cutout=4,
    fill=tuple((c / 255 - m) / s for c, m, s in zip((125, 122, 113), CIFAR10_MEAN, CIFAR10_STD, strict=True)),
)
# Lim et al. (2024), section 5.2, their code.
LIM_BAYES = Augmentation(flip=True, shift=4, fill="reflect")
