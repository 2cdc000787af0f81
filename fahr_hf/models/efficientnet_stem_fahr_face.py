"""A stem that others have trained: EfficientNet-Lite0 down to a sixteenth of the image's side (Tan & Le 2019).

The "Lite" networks have no squeeze-and-excitation and ReLU6 in place of swish. Shapes, names of layers apart, are those
of the published network, so that its weights fit: a convolution, then eleven inverted residual blocks (Sandler et al.
2018).
"""

import torch
from torch import nn

STRIDE = 16
"""Pixels of the image for one place of the features."""

CHANNELS = 112
"""Of the features."""

# Of each stage: blocks, side of the depthwise kernel, stride of the first block, growth inside, channels.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, CHANNELS))
_FIRST = 32


class FahrFaceEfficientNetStem(nn.Sequential):
    """Image (batch, channels, height, width) to features (batch, 112, height / 16, width / 16).

    Args:
        channels: Of the image.
    """

    def __init__(self, channels: int):
        layers: list[nn.Module] = [FahrFaceConvolution(channels, _FIRST, kernel=3, stride=2), nn.ReLU6(inplace=True)]
        inputs = _FIRST
        for blocks, kernel, stride, growth, outputs in _STAGES:
            for block in range(blocks):
                layers.append(FahrFaceInvertedResidual(inputs, outputs, kernel, stride if block == 0 else 1, growth))
                inputs = outputs
        super().__init__(*layers)


class FahrFaceInvertedResidual(nn.Module):
    """Widen, convolve each channel for itself, narrow; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, growth: int):
        super().__init__()
        inside = growth * inputs
        widen = [FahrFaceConvolution(inputs, inside, kernel=1), nn.ReLU6(inplace=True)] if growth > 1 else []
        self.inner = nn.Sequential(
            *widen,
            FahrFaceConvolution(inside, inside, kernel, stride, groups=inside),
            nn.ReLU6(inplace=True),
            FahrFaceConvolution(inside, outputs, kernel=1),
        )
        self.keeps_shape = stride == 1 and inputs == outputs

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        return image + self.inner(image) if self.keeps_shape else self.inner(image)


class FahrFaceConvolution(nn.Module):
    """A convolution and its normalisation; where it strides, the right and lower edges get the odd pixel of padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        # For sides that the stride divides, TensorFlow's padding "same".
        before = (kernel - stride) // 2
        self.odd = (kernel - stride) % 2
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=before, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        if self.odd:
            image = nn.functional.pad(image, (0, self.odd, 0, self.odd))
        return self.norm(self.convolution(image))
